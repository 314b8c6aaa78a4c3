from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.unit.graph.builders import arrays_of, value
from tests.unit.graph.unit_networks import dead_mlp, draw, network, node, remove, run, units, why
from wl_onnx.graph import load_model, remove_dead_units, save_model, to_proto

Array = np.ndarray


def test_rows_columns_and_biases_go_and_constants_are_folded() -> None:
    proto = dead_mlp()
    before = arrays_of(proto)
    smaller, report = remove(proto, 5, 4)
    after = arrays_of(smaller)
    left = [0, 2, 3, 5]
    np.testing.assert_array_equal(after["w1"], before["w1"][:, left])
    np.testing.assert_array_equal(after["b1"], before["b1"][left])
    np.testing.assert_array_equal(after["w2"], before["w2"][left])
    np.testing.assert_allclose(after["b2"], before["b2"] + 0.5 * before["w2"][4], rtol=1e-7)
    first, second = report.layers
    assert (first.name, first.units_before, first.units_after) == ("w1", 6, 4)
    assert (first.weights_before, first.weights_after, first.reason) == (24, 16, None)
    assert (second.units_before, second.units_after, second.weights_after) == (3, 3, 12)
    assert second.reason == "gives an output of the model"
    assert (report.num_units, report.num_weights) == (2, 8 + 6)


def test_one_unit_stays() -> None:
    proto = dead_mlp()
    for tensor in (proto.graph.initializer[0], proto.graph.initializer[2]):
        zeros = np.zeros(tuple(tensor.dims), np.float32)
        tensor.CopyFrom(numpy_helper.from_array(zeros, tensor.name))
    smaller, report = remove(proto, 5, 4)
    assert units(report) == {"w1": 1, "w2": 3}
    assert arrays_of(smaller)["b1"] == [1]


def test_what_only_dead_units_read_is_dead() -> None:
    weights = [draw(4, 5), draw(5, 5), draw(5, 5), draw(5, 2)]
    weights[3][2] = 0  # unit 2 of the third layer is not read
    weights[2][1, [0, 1, 3, 4]] = 0  # so that unit 1 of the second is not
    weights[1][3, [0, 2, 3, 4]] = 0  # so that unit 3 of the first is not
    names = ["x", "a", "b", "c", "y"]
    nodes = [node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(4)]
    proto = network(nodes, ["n", 4], **{f"w{i}": weight for i, weight in enumerate(weights)})
    smaller, report = remove(proto, 3, 4)
    assert units(report) == {"w0": 4, "w1": 4, "w2": 4, "w3": 2}
    left = [0, 2, 3, 4], [0, 1, 3, 4], [0, 1, 2, 4]
    np.testing.assert_array_equal(arrays_of(smaller)["w2"], weights[2][np.ix_(left[0], left[1])])


def test_constants_go_on_through_layers() -> None:
    first, second, third = draw(4, 5), draw(5, 5), draw(5, 2)
    first[:, 1] = 0
    second[[0, 2, 3, 4], 3] = 0  # of the second layer, unit 3 reads unit 1 alone
    proto = network(
        [
            node("Gemm", ["x", "w1", "b1"], ["h"]),
            node("Tanh", ["h"], ["t"]),
            node("Gemm", ["t", "w2"], ["h2"]),  # no bias: it is given one
            node("Sigmoid", ["h2"], ["s"]),
            node("MatMul", ["s", "w3"], ["p"]),
            node("Add", ["b3", "p"], ["y"]),
        ],
        ["n", 4],
        w1=first,
        b1=draw(5),
        w2=second,
        w3=third,
        b3=draw(1, 2),
    )
    smaller, report = remove(proto, 3, 4)
    assert units(report) == {"w1": 4, "w2": 4, "w3": 2}
    inner = np.tanh(draw(5)[1]) * second[1]
    outer = draw(1, 2) + third[3] / (1 + np.exp(-inner[3]))
    np.testing.assert_allclose(arrays_of(smaller)["b3"], outer, rtol=1e-6)
    np.testing.assert_allclose(arrays_of(smaller)["w2.bias"], inner[[0, 1, 2, 4]], rtol=1e-6)


def test_scales_of_gemm_count() -> None:
    proto = dead_mlp()
    proto.graph.node[0].attribute.append(helper.make_attribute("beta", 3.0))
    for name, factor in (("alpha", 0.5), ("beta", -2.0)):
        proto.graph.node[2].attribute.append(helper.make_attribute(name, factor))
    smaller, report = remove(proto, 5, 4)
    assert units(report) == {"w1": 4, "w2": 3}
    before = arrays_of(proto)
    wanted = before["b2"] - 0.25 * 1.5 * before["w2"][4]
    np.testing.assert_allclose(arrays_of(smaller)["b2"], wanted, rtol=1e-6)


def test_every_reader_has_a_say() -> None:
    first, left, right = draw(4, 5), draw(5, 3), draw(2, 5)
    left[1] = left[2] = 0
    right[:, 2] = right[:, 3] = 0
    proto = network(
        [
            node("Gemm", ["x", "w1"], ["h"]),
            node("Relu", ["h"], ["r"]),
            node("Gemm", ["r", "left"], ["y"]),
            node("Neg", ["r"], ["m"]),
            node("Gemm", ["m", "right"], ["z"], transB=1),
        ],
        ["n", 4],
        w1=first,
        left=left,
        right=right,
    )
    proto.graph.output.append(value("z", "n", 2))
    smaller, report = remove(proto, 3, 4)
    assert units(report) == {"w1": 4, "left": 3, "right": 2}
    np.testing.assert_array_equal(arrays_of(smaller)["right"], right[:, [0, 1, 3, 4]])


def test_paths_that_meet_again_keep_nothing() -> None:
    proto = dead_mlp()
    proto.graph.node[1].op_type = "Sigmoid"
    proto.graph.node.insert(2, node("Mul", ["h", "r"], ["swish"]))
    proto.graph.node[3].input[0] = "swish"
    assert units(remove(proto, 5, 4)[1]) == {"w1": 4, "w2": 3}


def test_shapes_that_are_written_down_follow() -> None:
    proto = dead_mlp()
    infos = [value("h", "n", 6), value("r", "n", "hidden"), value("w2", 6, 3), value("b2", 3)]
    proto.graph.value_info.extend(infos)
    smaller, _ = remove(proto, 5, 4)
    infos = [value("h", "n", 4), value("w2", 4, 3), value("b2", 3)]
    assert list(smaller.graph.value_info) == infos


def test_inputs_of_old_models_follow() -> None:
    proto = dead_mlp(ir_version=3, opset=11)
    del proto.graph.node[2].input[2]
    del proto.graph.initializer[3], proto.graph.input[4]
    smaller, report = remove(proto, 5, 4)
    assert units(report) == {"w1": 4, "w2": 3}
    shapes = [value("w1", 4, 4), value("b1", 4), value("w2", 4, 3), value("w2.bias", 3)]
    assert list(smaller.graph.input)[1:] == shapes


def test_a_transformer_s_inner_layer_is_cut() -> None:
    first, second = draw(4, 8), draw(8, 4)
    first[:, :3] = 0
    second[6] = 0
    proto = network(
        [
            node("MatMul", ["x", "w1"], ["p"]),
            node("Add", ["p", "b1"], ["h"]),
            node("Div", ["h", "root"], ["d"]),
            node("Erf", ["d"], ["e"]),
            node("Add", ["one", "e"], ["s"]),
            node("Mul", ["h", "s"], ["m"]),
            node("Mul", ["m", "half"], ["g"]),
            node("MatMul", ["g", "w2"], ["q"]),
            node("Add", ["q", "b2"], ["z"]),
            node("Add", ["x", "z"], ["y"]),
        ],
        ["n", "t", 4],
        w1=first,
        b1=draw(8),
        w2=second,
        b2=draw(4),
        root=np.float32(np.sqrt(2)),
        one=np.float32(1),
        half=np.array([0.5], np.float32),
    )
    proto.graph.output[0].CopyFrom(value("y", "n", "t", 4))
    smaller, report = remove(proto, 2, 5, 4)
    assert units(report) == {"w1": 4, "w2": 4}
    assert why(report, "w2") == "goes to Add with x, which is not constant"
    np.testing.assert_array_equal(arrays_of(smaller)["b1"], draw(8)[[3, 4, 5, 7]])


def test_weights_of_constant_nodes_are_cut() -> None:
    proto = dead_mlp()
    for index in (2, 0):
        tensor = proto.graph.initializer[index]
        proto.graph.node.insert(0, node("Constant", [], [tensor.name], value=tensor))
        del proto.graph.initializer[index]
    smaller, report = remove(proto, 5, 4)
    assert units(report) == {"w1": 4, "w2": 3}
    assert [list(n.attribute[0].t.dims) for n in smaller.graph.node[:2]] == [[4, 4], [4, 3]]


def test_external_data_is_cut_when_it_is_saved(tmp_path: Path) -> None:
    first, second = draw(40, 50), draw(50, 40)
    second[7:12] = 0
    proto = network(
        [node("MatMul", ["x", "w1"], ["h"]), node("MatMul", ["h", "w2"], ["y"])],
        ["n", 40],
        w1=first,
        w2=second,
    )
    external = onnx.ModelProto()
    external.CopyFrom(proto)
    onnx.save_model(
        external,
        tmp_path / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
        convert_attribute=False,
    )
    model = load_model(tmp_path / "model.onnx")
    model.proto.graph.initializer[0].external_data.add(key="checksum", value="of what was there")
    assert units(remove_dead_units(model)) == {"w1": 45, "w2": 40}
    for tensor in model.proto.graph.initializer:
        assert tensor.data_location == TensorProto.EXTERNAL
        assert not tensor.raw_data
        assert [e.key for e in tensor.external_data] == ["location", "offset", "length"]
    (tmp_path / "out").mkdir()
    save_model(model, tmp_path / "out" / "smaller.onnx")
    x = draw(3, 40)
    after = run(tmp_path / "out" / "smaller.onnx", x)[0]
    np.testing.assert_allclose(after, run(proto, x)[0], rtol=1e-6)
    left = [i for i in range(50) if not 7 <= i < 12]
    again = arrays_of(to_proto(load_model(tmp_path / "out" / "smaller.onnx")))
    np.testing.assert_array_equal(again["w1"], first[:, left])
    np.testing.assert_array_equal(again["w2"], second[left])


def test_a_large_bias_is_folded_into_external_data(tmp_path: Path) -> None:
    first, second = draw(4, 5), draw(5, 400)
    first[:, 2] = 0
    proto = network(
        [node("Gemm", ["x", "w1", "b1"], ["h"]), node("Gemm", ["h", "w2", "b2"], ["y"])],
        ["n", 4],
        w1=first,
        b1=draw(5),
        w2=second,
        b2=draw(400),
    )
    path = tmp_path / "model.onnx"
    onnx.save_model(proto, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    model = load_model(path)
    assert units(remove_dead_units(model)) == {"w1": 4, "w2": 400}
    given = arrays_of(to_proto(model))
    np.testing.assert_allclose(given["b2"], draw(400) + draw(5)[2] * second[2], rtol=1e-6)
    np.testing.assert_array_equal(given["w2"], second[[0, 1, 3, 4]])
