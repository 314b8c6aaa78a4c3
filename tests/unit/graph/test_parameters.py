from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.unit.graph import builders
from tests.unit.graph.builders import value, weight
from wl_onnx.graph import find_parameters, find_weights, load_model


def graph_of(*nodes: onnx.NodeProto, weights: list[TensorProto], **kwargs) -> onnx.ModelProto:
    """A model around nodes that lead from x to y."""
    graph = helper.make_graph(
        list(nodes), "g", [value("x", 1, 4, 8, 8)], [value("y", "a", "b", "c", "d")], weights
    )
    return builders.model(graph, **kwargs)


def kinds_of(proto: onnx.ModelProto) -> dict[str, tuple[str, str | None]]:
    return {one.key: (one.kind, one.layer) for one in find_parameters(load_model(proto))}


def test_biases_know_their_layers():
    (parameter,) = find_parameters(load_model(builders.mlp()))
    assert (parameter.key, parameter.name) == ("b1", "b1")
    assert (parameter.kind, parameter.layer) == ("bias", "w1")
    assert (parameter.shape, parameter.num_weights, parameter.size_bytes) == ((16,), 16, 64)
    assert parameter.data_type == TensorProto.FLOAT
    expected = builders.arrays_of(builders.mlp())["b1"]
    np.testing.assert_array_equal(parameter.numpy(), expected)


@pytest.mark.parametrize("flipped", [False, True])
def test_a_bias_behind_a_product_is_found(flipped):
    add = ["b", "p"] if flipped else ["p", "b"]
    proto = graph_of(
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Add", add, ["y"]),
        weights=[weight("w", 8, 6), weight("b", 6)],
    )
    assert kinds_of(proto) == {"b": ("bias", "w")}


def test_normalisations_and_slopes_are_found():
    proto = graph_of(
        helper.make_node("Conv", ["x", "w", "bias"], ["c"], kernel_shape=[3, 3]),
        helper.make_node("BatchNormalization", ["c", "s", "t", "m", "v"], ["n"]),
        helper.make_node("InstanceNormalization", ["n", "is", "ib"], ["i"]),
        helper.make_node("LayerNormalization", ["i", "ls", "lb"], ["l"]),
        helper.make_node("PRelu", ["l", "slope"], ["y"]),
        weights=[
            weight("w", 4, 4, 3, 3),
            *(weight(name, 4) for name in ("bias", "s", "t", "m", "v", "is", "ib")),
            weight("ls", 6),
            weight("lb", 6),
            weight("slope", 4, 1, 1),
        ],
    )
    found = kinds_of(proto)
    norms = dict.fromkeys(["s", "t", "m", "v", "is", "ib", "ls", "lb"], ("norm", None))
    assert found == {"bias": ("bias", "w"), **norms, "slope": ("slope", None)}


def test_operators_of_onnxruntime_are_known():
    node = helper.make_node(
        "SkipLayerNormalization", ["x", "x", "g", "b", "bias"], ["y"], domain="com.microsoft"
    )
    proto = graph_of(node, weights=[weight("g", 8), weight("b", 8), weight("bias", 8)])
    assert kinds_of(proto) == {
        "g": ("norm", None),
        "b": ("norm", None),
        "bias": ("bias", None),
    }


def test_biases_of_recurrent_layers_are_found():
    node = helper.make_node("LSTM", ["x", "w", "r", "b", "", "h", "", "p"], ["y"], hidden_size=2)
    tensors = [weight("w", 1, 8, 8), weight("r", 1, 8, 2), weight("b", 1, 16)]
    others = [weight("h", 1, 1, 2), weight("p", 1, 6)]
    assert list(kinds_of(graph_of(node, weights=[*tensors, *others]))) == ["b"]


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("Add", ["x", "b"], ["y"])],
        [helper.make_node("Mul", ["x", "b"], ["y"])],
        [helper.make_node("Clip", ["x", "b"], ["y"])],
        [helper.make_node("Resize", ["x", "", "b"], ["y"])],
        [helper.make_node("Pad", ["x", "", "b"], ["y"])],
        # In two roles.
        [
            helper.make_node("Conv", ["x", "w", "b"], ["h"]),
            helper.make_node("Mul", ["h", "b"], ["y"]),
        ],
        [
            helper.make_node("Conv", ["x", "w", "b"], ["h"]),
            helper.make_node("InstanceNormalization", ["h", "b", "b"], ["y"]),
        ],
        # A weight elsewhere.
        [
            helper.make_node("Conv", ["x", "w", "b"], ["h"]),
            helper.make_node("Gather", ["b", "i"], ["y"]),
        ],
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], domain="someone.else")],
    ],
)
def test_other_constants_are_not(nodes):
    tensors = [weight("w", 4, 4, 1, 1), weight("b", 4)]
    tensors.append(helper.make_tensor("i", TensorProto.INT64, [1], [0]))
    assert kinds_of(graph_of(*nodes, weights=tensors)) == {}


def test_a_bias_of_two_layers_belongs_to_neither():
    proto = graph_of(
        helper.make_node("Conv", ["x", "w", "b"], ["h"]),
        helper.make_node("Conv", ["h", "v", "b"], ["y"]),
        weights=[weight("w", 4, 4, 1, 1), weight("v", 4, 4, 1, 1), weight("b", 4)],
    )
    assert kinds_of(proto) == {"b": ("bias", None)}


@pytest.mark.parametrize(
    ("tensor", "is_found"),
    [
        (weight("b", 4, dtype=np.float16), True),
        (weight("b", 4, dtype=np.float64), False),
        (weight("b", 1), False),
        (weight("b"), False),
        (helper.make_tensor("b", TensorProto.INT32, [4], [1, 2, 3, 4]), False),
    ],
)
def test_types_and_sizes(tensor, is_found):
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"])
    assert bool(kinds_of(graph_of(node, weights=[weight("w", 4, 4, 1, 1), tensor]))) is is_found


def test_outputs_and_trained_values_are_not_found():
    proto = builders.mlp()
    proto.graph.output.append(value("b1", 16))
    assert kinds_of(proto) == {}
    assert kinds_of(builders.everything_rare()) == {}


@pytest.mark.parametrize("ir_version", [3, 8])
def test_one_that_is_an_input_too_is_found_as_weights_are(ir_version):
    proto = builders.mlp(ir_version=ir_version)
    if ir_version >= 4:
        proto.graph.input.append(value("b1", 16))
    assert list(kinds_of(proto)) == ["b1"]


def test_no_weight_is_a_parameter(find_model):
    for name, count in (("lenet5", 4), ("resnet20", 22), ("slim-320", 42)):
        model = load_model(find_model(name))
        parameters = find_parameters(model)
        assert len(parameters) == count
        assert all(one.kind == "bias" and one.layer is not None for one in parameters)
        assert not {one.key for one in parameters} & {site.key for site in find_weights(model)}
