from __future__ import annotations

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from tests.unit.graph.builders import (
    arrays_of,
    branches,
    functions,
    mlp,
    model,
    nested,
    value,
    weight,
)
from wl_onnx.graph import cut_model, find_live, follows_from, hash_part, load_model


def names_of(tensors: object) -> list[str]:
    return [tensor.name for tensor in tensors]


def test_what_lies_behind_the_values_is_gone() -> None:
    model = load_model(mlp())
    part = cut_model(model, ["r"])
    assert [node.op_type for node in part.proto.graph.node] == ["Gemm", "Relu"]
    assert names_of(part.proto.graph.initializer) == ["w1", "b1"]
    assert names_of(part.proto.graph.output) == ["r"]
    assert names_of(model.proto.graph.output) == ["y"]
    assert model.proto == mlp()


def test_a_cut_model_gives_the_same_values() -> None:
    x = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
    for make, name in ((mlp, "h"), (functions, "h"), (branches, "y"), (nested, "y")):
        proto = make()
        inputs = names_of(proto.graph.input)
        feed = {"x": x, "c": np.array(True)} if "c" in inputs else {"x": x}
        part = cut_model(load_model(proto), ["x", name])
        given = onnxruntime.InferenceSession(part.proto.SerializeToString()).run(None, feed)
        if name not in names_of(proto.graph.output):
            proto.graph.output.add(name=name)
        session = onnxruntime.InferenceSession(proto.SerializeToString())
        np.testing.assert_array_equal(given[0], x)
        np.testing.assert_array_equal(given[1], session.run([name], feed)[0])


def test_initializers_that_are_inputs_stay_optional() -> None:
    part = cut_model(load_model(mlp(ir_version=3, opset=8)), ["h"])
    assert names_of(part.proto.graph.input) == ["x", "w1", "b1", "w2"]
    assert names_of(part.proto.graph.initializer) == ["w1", "b1", "w2"]
    session = onnxruntime.InferenceSession(part.proto.SerializeToString())
    assert names_of(session.get_inputs()) == ["x"]


def test_left_out_inputs_and_outputs_lead_nowhere() -> None:
    nodes = [
        helper.make_node("Clip", ["x", "", "high"], ["a"]),
        helper.make_node("RNN", ["r", "w", "w"], ["", "state"], hidden_size=4),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    inputs = [value("x", 2, 4), value("r", 2, 1, 4)]
    proto = model(
        helper.make_graph(
            nodes, "graph", inputs, [value("y", 2, 4)], [weight("high"), weight("w", 1, 4, 4)]
        )
    )
    part = cut_model(load_model(proto), ["y"])
    assert [node.op_type for node in part.proto.graph.node] == ["Clip", "Relu"]
    assert names_of(part.proto.graph.initializer) == ["high"]


def test_given_values_take_the_place_of_what_leads_to_them() -> None:
    whole = load_model(mlp())
    part = cut_model(whole, ["y"], given={"h": TensorProto.FLOAT})
    assert [node.op_type for node in part.proto.graph.node] == ["Relu", "Transpose", "MatMul"]
    assert names_of(part.proto.graph.input) == ["h"]
    h = np.random.default_rng(0).standard_normal((3, 16)).astype(np.float32)
    (y,) = onnxruntime.InferenceSession(part.proto.SerializeToString()).run(None, {"h": h})
    expected = np.maximum(h, 0) @ arrays_of(mlp())["w2"].T
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    assert follows_from(whole, ["y"], ["h"])
    assert not follows_from(whole, ["y", "h"], ["r"])


def test_live_values() -> None:
    whole = load_model(mlp())
    assert find_live(whole, "w1") == ["x"]
    assert find_live(whole, "w2") == ["r"]  # at the product, not where the weight is turned
    assert find_live(whole, "b1") == ["x"]
    assert find_live(whole, "nothing") == ["x"]
    # What a subgraph reads is live before the node that holds it.
    assert find_live(load_model(branches()), "outer") == ["c", "x"]


def test_a_hash_is_of_what_values_depend_on() -> None:
    before = hash_part(load_model(mlp()), ["r"])
    for name, matters in (("w1", True), ("b1", True), ("w2", False)):
        proto = mlp()
        for tensor in proto.graph.initializer:
            if tensor.name == name:
                tensor.CopyFrom(numpy_helper.from_array(2 * arrays_of(proto)[name], name))
        assert (hash_part(load_model(proto), ["r"]) != before) == matters
