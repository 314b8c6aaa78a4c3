from __future__ import annotations

import numpy as np
import onnxruntime

from tests.unit.graph.builders import branches, functions, mlp, nested
from wl_onnx.graph import cut_model, load_model


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
    for make, value in ((mlp, "h"), (functions, "h"), (branches, "y"), (nested, "y")):
        proto = make()
        names = [one.name for one in proto.graph.input]
        feed = {"x": x, "c": np.array(True)} if "c" in names else {"x": x}
        part = cut_model(load_model(proto), ["x", value])
        given = onnxruntime.InferenceSession(part.proto.SerializeToString()).run(None, feed)
        if value not in names_of(proto.graph.output):
            proto.graph.output.add(name=value)
        session = onnxruntime.InferenceSession(proto.SerializeToString())
        np.testing.assert_array_equal(given[0], x)
        np.testing.assert_array_equal(given[1], session.run([value], feed)[0])


def test_initializers_that_are_inputs_stay_optional() -> None:
    part = cut_model(load_model(mlp(ir_version=3, opset=8)), ["h"])
    assert names_of(part.proto.graph.input) == ["x", "w1", "b1", "w2"]
    assert names_of(part.proto.graph.initializer) == ["w1", "b1", "w2"]
    session = onnxruntime.InferenceSession(part.proto.SerializeToString())
    assert names_of(session.get_inputs()) == ["x"]
