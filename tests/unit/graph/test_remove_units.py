from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.unit.graph.builders import arrays_of, value
from wl_onnx.graph import (
    RemovedUnits,
    load_model,
    remove_dead_units,
    save_model,
    to_proto,
)

Array = np.ndarray
node = helper.make_node


def draw(*shape: int) -> Array:
    values = np.random.default_rng(sum(shape)).uniform(0.25, 1, shape)
    return values.astype(np.float32)


def network(
    nodes: list[onnx.NodeProto],
    x: list[int | str],
    *,
    ir_version: int = 8,
    opset: int = 17,
    **tensors: Array,
) -> onnx.ModelProto:
    """A model from x to y, all of whose tensors are initializers."""
    inputs = [value("x", *x)]
    given = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    if ir_version < 4:
        inputs += [value(t.name, *t.dims, data_type=t.data_type) for t in given]
    y = ["n", *[None] * (3 if nodes[-1].op_type == "Conv" else 1)]
    graph = helper.make_graph(nodes, "network", inputs, [value("y", *y)], given)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def run(proto: onnx.ModelProto | Path, x: Array) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    source = str(proto) if isinstance(proto, Path) else proto.SerializeToString()
    session = onnxruntime.InferenceSession(source, options, ["CPUExecutionProvider"])
    outputs: list[Array] = session.run(None, {"x": x})
    return outputs


def remove(proto: onnx.ModelProto, *shape: int) -> tuple[onnx.ModelProto, RemovedUnits]:
    """The smaller model, whose outputs for inputs of a shape are those of the given one."""
    model = load_model(proto)
    report = remove_dead_units(model)
    smaller = to_proto(model)
    onnx.checker.check_model(smaller, full_check=True)
    x = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    for before, after in zip(run(proto, x), run(smaller, x), strict=True):
        assert before.shape == after.shape
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-6 * np.abs(before).max())
    return smaller, report


def units(report: RemovedUnits) -> dict[str, int]:
    return {layer.name: layer.units_after for layer in report.layers}


def why(report: RemovedUnits, name: str) -> str | None:
    return next(layer.reason for layer in report.layers if layer.name == name)


def dead_mlp(**kwargs: int) -> onnx.ModelProto:
    """Six hidden units: the second is not read, the fifth has no input and gives relu(0.5)."""
    first, second = draw(4, 6), draw(6, 3)
    second[1] = 0
    first[:, 4] = 0
    bias = np.array([1, 2, 3, 4, 0.5, 6], np.float32)
    return network(
        [
            node("Gemm", ["x", "w1", "b1"], ["h"]),
            node("Relu", ["h"], ["r"]),
            node("Gemm", ["r", "w2", "b2"], ["y"]),
        ],
        ["n", 4],
        w1=first,
        b1=bias,
        w2=second,
        b2=draw(3),
        **kwargs,
    )


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


def name_hidden(proto: onnx.ModelProto) -> None:
    proto.graph.output.append(value("r", "n", 6))


def name_weight(proto: onnx.ModelProto) -> None:
    proto.graph.output.append(value("w2", 6, 3))


def override_bias(proto: onnx.ModelProto) -> None:
    proto.graph.input.append(value("b1", 6))


def override_weight(proto: onnx.ModelProto) -> None:
    proto.graph.input.append(value("w1", 4, 6))


def use_weight_twice(proto: onnx.ModelProto) -> None:
    proto.graph.node.add().CopyFrom(node("Gemm", ["x", "w1"], ["other"]))


def use_bias_twice(proto: onnx.ModelProto) -> None:
    proto.graph.node.add().CopyFrom(node("Neg", ["b1"], ["other"]))


def read_in_subgraph(proto: onnx.ModelProto) -> None:
    branches = {}
    for key in ("then_branch", "else_branch"):
        inside = [node("Neg" if key == "then_branch" else "Abs", ["r"], ["inside"])]
        branches[key] = helper.make_graph(inside, key, [], [value("inside", "n", 6)])
    proto.graph.initializer.append(numpy_helper.from_array(np.array(True), "flag"))
    proto.graph.node.add().CopyFrom(node("If", ["flag"], ["z"], **branches))
    proto.graph.output.append(value("z", "n", 6))


def give_from_subgraph(proto: onnx.ModelProto) -> None:
    read_in_subgraph(proto)
    for attribute in proto.graph.node[-1].attribute:
        del attribute.g.node[:]
        attribute.g.node.append(node("Identity", ["w2"], ["inside"]))
        attribute.g.output[0].CopyFrom(value("inside", 6, 3))


def add_residual(proto: onnx.ModelProto) -> None:
    proto.graph.initializer.append(numpy_helper.from_array(draw(4, 6), "w0"))
    proto.graph.node.insert(0, node("MatMul", ["x", "w0"], ["skip"]))
    proto.graph.node[3].input[0] = "sum"
    proto.graph.node.insert(3, node("Add", ["r", "skip"], ["sum"]))


def mix(proto: onnx.ModelProto) -> None:
    proto.graph.node[1].op_type = "Softmax"


def transpose(proto: onnx.ModelProto) -> None:
    proto.graph.node[1].op_type = "Transpose"
    del proto.graph.node[2].input[2]
    proto.graph.node[2].attribute.append(helper.make_attribute("transA", 1))


def feed_to_the_right(proto: onnx.ModelProto) -> None:
    proto.graph.initializer.append(numpy_helper.from_array(draw(2, 5), "left"))
    proto.graph.node[2].CopyFrom(node("MatMul", ["left", "r"], ["y"]))


def annotate(proto: onnx.ModelProto) -> None:
    proto.graph.quantization_annotation.add(tensor_name="r")


def train(proto: onnx.ModelProto) -> None:
    binding = proto.training_info.add().update_binding.add()
    binding.key, binding.value = "w2", "w2"


def redefine(proto: onnx.ModelProto) -> None:
    body = [node("Sum", ["a", "a"], ["b"])]
    opsets = [helper.make_opsetid("", 17)]
    proto.functions.append(helper.make_function("own", "Relu", ["a"], ["b"], body, opsets))
    proto.opset_import.append(helper.make_opsetid("own", 1))
    proto.graph.node[1].domain = "own"


def widen_bias(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[1].CopyFrom(numpy_helper.from_array(draw(5, 6), "b1"))


def use_no_layer(proto: onnx.ModelProto) -> None:
    proto.graph.node[2].CopyFrom(node("ReduceSum", ["r"], ["y"]))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (name_hidden, "gives an output of the model"),
        (name_weight, "goes to Gemm"),
        (override_bias, "has the bias b1, which is no vector of its own"),
        (override_weight, None),
        (use_weight_twice, None),
        (use_bias_twice, "has the bias b1, which is no vector of its own"),
        (read_in_subgraph, "goes to a subgraph"),
        (give_from_subgraph, "goes to Gemm"),
        (add_residual, "goes to Add with skip, which is not constant"),
        (mix, "goes to Softmax"),
        (transpose, "goes to Transpose"),
        (feed_to_the_right, "goes to MatMul"),
        (annotate, "gives an output of the model"),
        (train, None),
        (redefine, "goes to Relu"),
        (widen_bias, "has the bias b1, which is no vector of its own"),
        (use_no_layer, "goes to ReduceSum"),
    ],
)
def test_what_goes_elsewhere_stays(
    change: Callable[[onnx.ModelProto], None], reason: str | None
) -> None:
    proto = dead_mlp()
    change(proto)
    model = load_model(proto)
    report = remove_dead_units(model)
    assert to_proto(model) == proto
    assert report.num_units == report.num_weights == 0
    if reason is None:
        assert "w1" not in units(report)
    else:
        assert why(report, "w1") == reason


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


def test_a_constant_without_a_bias_to_go_to_stays() -> None:
    proto = dead_mlp()
    proto.graph.node[2].CopyFrom(node("MatMul", ["r", "w2"], ["y"]))
    assert units(remove(proto, 5, 4)[1]) == {"w1": 5, "w2": 3}
    proto = dead_mlp()
    proto.graph.node[2].attribute.append(helper.make_attribute("beta", 0.0))
    assert units(remove(proto, 5, 4)[1]) == {"w1": 5, "w2": 3}


def image_network(pads: int, *between: onnx.NodeProto, **tensors: Array) -> onnx.ModelProto:
    """Channel 0 is constant 0 after Relu, 1 constant 0.5, 2 is not read, the others are alive."""
    first, second = draw(6, 2, 3, 3), draw(3, 6, 3, 3)
    first[:2] = 0
    second[:, 2] = 0
    return network(
        [
            node("Conv", ["x", "w1", "b1"], ["h"]),
            node("Relu", ["h"], ["r"]),
            *between,
            node("Conv", [between[-1].output[0] if between else "r", "w2"], ["y"], pads=[pads] * 4),
        ],
        ["n", 2, 9, 9],
        w1=first,
        b1=np.array([-1, 0.5, 1, 2, 3, 4], np.float32),
        w2=second,
        **tensors,
    )


def test_a_padded_convolution_takes_up_no_constant_but_0() -> None:
    smaller, report = remove(image_network(1), 2, 2, 9, 9)
    assert units(report) == {"w1": 4, "w2": 3}
    assert [len(n.input) for n in smaller.graph.node] == [3, 1, 2]
    smaller, report = remove(image_network(0), 2, 2, 9, 9)
    assert units(report) == {"w1": 3, "w2": 3}
    wanted = 0.5 * draw(3, 6, 3, 3)[:, 1].sum(axis=(1, 2))
    np.testing.assert_allclose(arrays_of(smaller)["w2.bias"], wanted, rtol=1e-6)
    proto = image_network(0)
    del proto.graph.node[2].attribute[:]
    proto.graph.node[2].attribute.append(helper.make_attribute("auto_pad", "SAME_UPPER"))
    assert units(remove(proto, 2, 2, 9, 9)[1]) == {"w1": 4, "w2": 3}


@pytest.mark.parametrize(
    ("attributes", "left"),
    [
        ({"op_type": "MaxPool", "pads": [1, 1, 1, 1]}, 3),
        ({"op_type": "MaxPool", "pads": [1, 1, 1, 1], "ceil_mode": 1}, 5),
        ({"op_type": "AveragePool", "pads": [1, 1, 1, 1]}, 3),
        ({"op_type": "AveragePool", "pads": [1, 1, 1, 1], "count_include_pad": 1}, 4),
        ({"op_type": "AveragePool", "auto_pad": "SAME_LOWER"}, 3),
        ({"op_type": "AveragePool", "auto_pad": "VALID", "count_include_pad": 1}, 3),
    ],
)
def test_pools_pass_constants_unless_their_padding_counts(
    attributes: dict[str, object], left: int
) -> None:
    pool = node(inputs=["r"], outputs=["p"], kernel_shape=[2, 2], **attributes)
    assert units(remove(image_network(0, pool), 2, 2, 9, 9)[1])["w1"] == left


def test_used_indices_of_a_pool_keep_units() -> None:
    pool = node("MaxPool", ["r"], ["p", "where"], kernel_shape=[2, 2])
    proto = image_network(0, pool)
    assert units(remove(proto, 2, 2, 9, 9)[1])["w1"] == 3
    proto.graph.output.append(value("where", "n", 6, 6, 6, data_type=TensorProto.INT64))
    assert (
        why(remove(proto, 2, 2, 9, 9)[1], "w1") == "goes to MaxPool, whose other outputs are used"
    )


# Padding hides what the normalisation makes of the two constants, not what has no kernel.
@pytest.mark.parametrize(("pads", "kept"), [(0, [3, 4]), (1, [0, 1, 3, 4])])
def test_what_belongs_to_a_channel_goes_along(pads: int, kept: list[int]) -> None:
    kernels = draw(6, 1, 3, 3)
    kernels[5] = 0  # whatever it reads, it gives its bias
    between = [
        node("BatchNormalization", ["r", "scale", "shift", "mean", "var"], ["n"]),
        node("Conv", ["n", "dw", "db"], ["d"], group=6, pads=[pads] * 4),
        node("PRelu", ["d", "slope"], ["p"]),
    ]
    four = {name: draw(6) for name in ("scale", "shift", "mean", "var")}
    proto = image_network(0, *between, **four, dw=kernels, db=draw(6), slope=draw(6, 1, 1))
    smaller, report = remove(proto, 2, 2, 9, 9)
    assert units(report) == {"w1": len(kept), "dw": len(kept), "w2": 3}
    after = arrays_of(smaller)
    for name in (*four, "db"):
        np.testing.assert_array_equal(after[name], draw(6)[kept])
    np.testing.assert_array_equal(after["slope"], draw(6, 1, 1)[kept])
    np.testing.assert_array_equal(after["dw"], kernels[kept])
    group = next(a for a in smaller.graph.node[3].attribute if a.name == "group")
    assert group.i == len(kept)


def test_grouped_convolutions_keep_units() -> None:
    proto = image_network(0, node("Conv", ["r", "g"], ["p"], group=3), g=draw(6, 2, 1, 1))
    assert why(remove(proto, 2, 2, 9, 9)[1], "w1") == "goes to Conv with several groups"


def flat_network(
    shape: list[int], *, batch: int | str = "n", typed: bool = False
) -> onnx.ModelProto:
    first, second = draw(4, 1, 3, 3), draw(16, 3)
    first[1] = 0
    second[8:12] = 0
    proto = network(
        [
            node("Conv", ["x", "w1", "b1"], ["h"]),
            node("MaxPool", ["h"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
            node("Reshape", ["p", "shape"], ["f"]),
            node("Sigmoid", ["f"], ["s"]),
            node("Gemm", ["s", "w2", "b2"], ["y"]),
        ],
        [batch, 1, 6, 6],
        w1=first,
        b1=draw(4),
        w2=second,
        b2=draw(3),
        shape=np.array(shape),
    )
    if typed:
        given = helper.make_tensor("shape", TensorProto.INT64, [len(shape)], shape)
        proto.graph.initializer[4].CopyFrom(given)
    return proto


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize(
    ("shape", "after"), [([0, -1], [0, -1]), ([0, 16], [0, 8]), ([-1, 16], [-1, 8])]
)
def test_shapes_of_images_as_rows_follow(shape: list[int], after: list[int], typed: bool) -> None:
    smaller, report = remove(flat_network(shape, typed=typed), 3, 1, 6, 6)
    assert units(report) == {"w1": 2, "w2": 3}
    assert list(arrays_of(smaller)["shape"]) == after
    np.testing.assert_array_equal(
        arrays_of(smaller)["w2"], draw(16, 3)[[0, 1, 2, 3, 12, 13, 14, 15]]
    )


def test_a_reshape_that_may_mix_images_keeps_units() -> None:
    assert units(remove(flat_network([1, -1], batch=1), 1, 1, 6, 6)[1])["w1"] == 2
    # For a batch of 2, a row of 16 numbers is what this makes of two images of 8.
    proto = flat_network([1, -1])
    proto.graph.input[0].CopyFrom(value("x", "n", 1, 6, 4))
    reason = "goes to Reshape to a shape that is not known"
    assert why(remove(proto, 2, 1, 6, 4)[1], "w1") == reason
    proto = flat_network([-1, 16])
    proto.graph.input[0].CopyFrom(value("x", "n", 1, "height", "width"))
    assert why(remove(proto, 2, 1, 6, 4)[1], "w1") == reason


def test_a_shape_that_two_use_keeps_units() -> None:
    proto = flat_network([0, 16])
    proto.graph.node.append(node("Identity", ["shape"], ["z"]))
    reason = "goes to Reshape with shape, which is used elsewhere too"
    assert why(remove(proto, 3, 1, 6, 6)[1], "w1") == reason


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


def test_paths_that_meet_at_another_axis_keep_units() -> None:
    proto = network(
        [
            node("Conv", ["x", "w1"], ["h"]),
            node("GlobalAveragePool", ["h"], ["p"]),
            node("Flatten", ["p"], ["f"]),
            node("Mul", ["h", "f"], ["m"]),  # of as many columns as channels, rows as images
            node("Conv", ["m", "w2"], ["y"]),
        ],
        [6, 2, 8, 8],
        w1=draw(6, 2, 3, 3),
        w2=np.zeros((3, 6, 1, 1), np.float32),
    )
    assert why(remove(proto, 6, 2, 8, 8)[1], "w1") == "goes to Mul"


def rows_network(*between: onnx.NodeProto, **tensors: Array) -> onnx.ModelProto:
    """Six units along the last axis of three, none of which is read."""
    last = between[-1].output[0]
    return network(
        [node("MatMul", ["x", "w1"], ["h"]), *between, node("MatMul", [last, "w2"], ["y"])],
        ["n", 6, 4],
        w1=draw(4, 6),
        w2=np.zeros((6, 3), np.float32),
        **tensors,
    )


@pytest.mark.parametrize(
    ("between", "tensors", "reason"),
    [
        (
            [node("BatchNormalization", ["h", "s", "s2", "s3", "s4"], ["z"])],
            {"s": draw(6), "s2": draw(6), "s3": draw(6), "s4": draw(6)},
            "goes to BatchNormalization in a form that is not known",
        ),
        ([node("Add", ["h", "s"], ["z"])], {"s": draw(6, 6)}, "is not one for a unit"),
        ([node("Add", ["h", "s"], ["z"])], {"s": draw(6, 1)}, "is not one for a unit"),
        ([node("Add", ["h", "s"], ["z"])], {"s": draw(1, 1, 1, 1)}, "which adds axes"),
        (
            [node("Mul", ["h", "s"], ["m"]), node("Add", ["m", "s"], ["z"])],
            {"s": draw(6)},
            "depends on s, which is used elsewhere too",
        ),
        ([node("PRelu", ["s", "h"], ["z"])], {"s": draw(6)}, "goes to PRelu as its second input"),
        ([node("Flatten", ["h"], ["z"])], {}, "goes to Flatten with other axes"),
    ],
)
def test_what_is_no_tensor_of_units_keeps_them(
    between: list[onnx.NodeProto], tensors: dict[str, Array], reason: str
) -> None:
    model = load_model(rows_network(*between, **tensors))
    report = remove_dead_units(model)
    assert report.num_units == 0
    assert str(why(report, "w1")).endswith(reason)
    kept = [node("Add", ["h", "s"], ["z"])]
    report = remove_dead_units(load_model(rows_network(*kept, s=draw(1, 6))))
    assert units(report)["w1"] == 1


def test_a_gemm_of_turned_rows_keeps_units() -> None:
    proto = dead_mlp()
    proto.graph.node[2].attribute.append(helper.make_attribute("transA", 1))
    assert why(remove(proto, 6, 4)[1], "w1") == "goes to Gemm along another axis"


def test_paths_that_meet_again_keep_nothing() -> None:
    proto = dead_mlp()
    proto.graph.node[1].op_type = "Sigmoid"
    proto.graph.node.insert(2, node("Mul", ["h", "r"], ["swish"]))
    proto.graph.node[3].input[0] = "swish"
    assert units(remove(proto, 5, 4)[1]) == {"w1": 4, "w2": 3}


def test_a_dropout_that_may_train_keeps_units() -> None:
    for training, left in ((False, 4), (True, 6)):
        proto = dead_mlp()
        proto.graph.node[1].CopyFrom(node("Dropout", ["h", "ratio", "training"], ["r"]))
        for name, array in (("ratio", np.float32(0)), ("training", np.array(training))):
            proto.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        assert units(remove(proto, 5, 4)[1])["w1"] == left


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


def test_a_constant_that_a_bias_cannot_hold_stays() -> None:
    for bias, left in ((40, 4), (40_000, 5)):
        proto = dead_mlp()
        arrays = {name: array.astype(np.float16) for name, array in arrays_of(proto).items()}
        arrays["b1"][4] = bias
        arrays["w2"][4] = 2
        for tensor in proto.graph.initializer:
            tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name], tensor.name))
        for info in (*proto.graph.input, *proto.graph.output):
            info.type.tensor_type.elem_type = TensorProto.FLOAT16
        model = load_model(proto)
        assert units(remove_dead_units(model))["w1"] == left
        if left == 4:
            after = arrays_of(to_proto(model))["b2"]
            assert after.dtype == np.float16
            np.testing.assert_array_equal(after, (arrays["b2"] + 80.0).astype(np.float16))


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


def test_lenet5_with_nine_tenths_of_its_units_dead(
    find_model: Callable[[str], Path], digits: dict[str, Array]
) -> None:
    proto = onnx.load(find_model("lenet5"))
    arrays = {name: np.array(array) for name, array in arrays_of(proto).items()}
    rng = np.random.default_rng(2)
    wanted = {}
    names = ["conv1.weight", "conv2.weight", "fc1.weight", "fc2.weight"]
    for name, reader in itertools.pairwise(names):
        rows = len(arrays[name])
        dead = rng.permutation(rows)[: rows * 9 // 10]
        half = len(dead) // 2
        arrays[name][dead[:half]] = 0
        columns = arrays[reader].reshape(len(arrays[reader]), rows, -1)
        columns[:, dead[half:]] = 0
        wanted[name] = rows - len(dead)
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name], tensor.name))
    model = load_model(proto)
    report = remove_dead_units(model)
    assert units(report) == {**wanted, "fc2.weight": 10}
    assert wanted == {"conv1.weight": 2, "conv2.weight": 5, "fc1.weight": 50}
    sizes = {layer.name: layer.weights_after for layer in report.layers}
    assert sizes == dict(zip(names, (2 * 25, 5 * 2 * 25, 50 * 5 * 16, 10 * 50), strict=True))
    smaller = to_proto(model)
    onnx.checker.check_model(smaller, full_check=True)
    before, after = (session_run(one, digits["input"][:100]) for one in (proto, smaller))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-6 * np.abs(before).max())


def session_run(proto: onnx.ModelProto, images: Array) -> Array:
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    logits: Array = session.run(None, {"input": images})[0]
    return logits
