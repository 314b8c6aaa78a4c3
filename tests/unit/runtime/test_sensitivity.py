from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from wl_onnx.errors import InputError
from wl_onnx.graph import find_layers, load_model
from wl_onnx.runtime.observe import observe_moments
from wl_onnx.runtime.sensitivity import measure_sensitivity

RNG = np.random.default_rng(0)
FIRST = RNG.standard_normal((6, 5)).astype(np.float32)
SECOND = (RNG.standard_normal((4, 6)) * [0, 0.1, 1, 2, 1, 1]).astype(np.float32)


def make_model(*, constant: bool = False) -> onnx.ModelProto:
    """Two linear layers; the first output of the first reaches nothing."""
    tensors = [numpy_helper.from_array(FIRST, "a"), numpy_helper.from_array(SECOND, "b")]
    nodes = [
        helper.make_node("Gemm", ["x", "a"], ["h"], transB=1),
        helper.make_node("Gemm", ["h", "b"], ["y"], transB=1),
    ]
    if constant:
        nodes.insert(0, helper.make_node("Constant", [], ["a"], value=tensors.pop(0)))
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def measure(proto: onnx.ModelProto, x: np.ndarray, **settings: Any) -> dict[str, np.ndarray]:
    model = load_model(proto)
    feeds = [{"x": x[:50]}, {"x": x[50:]}] if len(x) else []
    layers = find_layers(model)
    moments = {key: one for keys, one in observe_moments(model, [{"x": x}]) for key in keys}
    return dict(measure_sensitivity(model, feeds, layers, moments, **settings))


@pytest.mark.parametrize("constant", [False, True])
def test_linear_layers_have_the_gain_of_what_follows(constant: bool) -> None:
    x = RNG.standard_normal((120, 5)).astype(np.float32)
    result = measure(make_model(constant=constant), x)
    energy = ((x @ FIRST.T @ SECOND.T) ** 2).sum() / len(x)
    np.testing.assert_allclose(result["a"][0], (SECOND**2).sum(axis=0) / energy, rtol=1e-3)
    np.testing.assert_allclose(result["b"][0], np.ones(4) / energy, rtol=1e-3)


def test_divergence_of_small_changes_is_half_the_variance_of_logits() -> None:
    x = 0.01 * RNG.standard_normal((400, 5)).astype(np.float32)  # so that all classes are alike
    result = measure(make_model(), x, metric="kl", temperature=2.0)
    centred = SECOND - SECOND.mean(axis=0)
    expected = (centred**2).sum(axis=0) / 4 / 2 / 2**2
    np.testing.assert_allclose(result["a"][0], expected, rtol=0.05, atol=1e-6)


def test_rows_are_disturbed_together_where_runs_are_few() -> None:
    x = RNG.standard_normal((120, 5)).astype(np.float32)
    result = measure(make_model(), x, max_runs=2)
    assert len(set(result["a"][0].tolist())) == 2
    assert result["a"][0, 3] > result["a"][0, 0] > 0


def test_no_feed() -> None:
    model = load_model(make_model())
    with pytest.raises(InputError, match="there must be a feed, got none"):
        next(measure_sensitivity(model, [], find_layers(model), {}))
