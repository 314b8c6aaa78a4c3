from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.unit.graph.builders import arrays_of, value
from tests.unit.graph.unit_networks import dead_mlp, draw, network, node, remove, units, why
from wl_onnx.graph import load_model, remove_dead_units, to_proto

Array = np.ndarray


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


def test_a_dropout_that_may_train_keeps_units() -> None:
    for training, left in ((False, 4), (True, 6)):
        proto = dead_mlp()
        proto.graph.node[1].CopyFrom(node("Dropout", ["h", "ratio", "training"], ["r"]))
        for name, array in (("ratio", np.float32(0)), ("training", np.array(training))):
            proto.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        assert units(remove(proto, 5, 4)[1])["w1"] == left


def test_a_constant_without_a_bias_to_go_to_stays() -> None:
    proto = dead_mlp()
    proto.graph.node[2].CopyFrom(node("MatMul", ["r", "w2"], ["y"]))
    assert units(remove(proto, 5, 4)[1]) == {"w1": 5, "w2": 3}
    proto = dead_mlp()
    proto.graph.node[2].attribute.append(helper.make_attribute("beta", 0.0))
    assert units(remove(proto, 5, 4)[1]) == {"w1": 5, "w2": 3}


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
