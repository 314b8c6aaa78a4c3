from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import helper

from tests.unit.graph.builders import value
from wl_onnx.graph.unit_constants import BINARY, UNARY, pass_constants

X = np.linspace(-3, 3, 13, dtype=np.float32)[:, np.newaxis]
FORMS: dict[str, list[dict[str, object]]] = {
    "Celu": [{}, {"alpha": 0.5}],
    "Elu": [{}, {"alpha": 0.5}],
    "Gelu": [{}, {"approximate": "tanh"}],
    "HardSigmoid": [{}, {"alpha": 0.4, "beta": 0.3}],
    "LeakyRelu": [{}, {"alpha": -0.5}],
    "Selu": [{}, {"alpha": 0.5, "gamma": 2.0}],
}


def run(op_type: str, *arrays: np.ndarray, **attributes: object) -> np.ndarray:
    names = [f"x{index}" for index in range(len(arrays))]
    graph = helper.make_graph(
        [helper.make_node(op_type, names, ["y"], **attributes)],
        "one",
        [value(name, *array.shape) for name, array in zip(names, arrays, strict=True)],
        [value("y", *arrays[0].shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    output: np.ndarray = session.run(None, dict(zip(names, arrays, strict=True)))[0]
    return output


@pytest.mark.parametrize("op_type", sorted(UNARY))
def test_one_value_is_what_the_runtime_gives_or_is_not_known(op_type: str) -> None:
    for attributes in FORMS.get(op_type, [{}]):
        node = helper.make_node(op_type, ["x"], ["y"], **attributes)
        given = pass_constants(node, [X.astype(np.float64)])
        if not np.isnan(given).all():
            np.testing.assert_allclose(given, run(op_type, X, **attributes), rtol=3e-6, atol=3e-7)
        assert np.isnan(pass_constants(node, [np.full((2, 1), np.nan)])).all()


def test_what_jumps_is_not_known() -> None:
    for op_type in ("Ceil", "Floor", "Round", "Sign", "ThresholdedRelu"):
        assert np.isnan(pass_constants(helper.make_node(op_type, ["x"], ["y"]), [X])).all()


@pytest.mark.parametrize("op_type", sorted(BINARY))
def test_two_values_are_what_the_runtime_gives(op_type: str) -> None:
    other = np.linspace(2, -1, 13, dtype=np.float32)[:, np.newaxis]
    node = helper.make_node(op_type, ["x", "o"], ["y"])
    given = pass_constants(node, [X.astype(np.float64), other.astype(np.float64)])
    np.testing.assert_allclose(given, run(op_type, X, other), rtol=1e-6)
    given = pass_constants(node, [np.array([[np.nan], [1.0]]), np.array([[2.0]])])
    assert list(np.isnan(given[:, 0])) == [True, False]


def test_nothing_is_left_of_what_is_multiplied_by_0() -> None:
    unknown = np.full((2, 1), np.nan)
    factor = np.array([[0.0], [1.0]])
    node = helper.make_node("Mul", ["x", "f"], ["y"])
    for operands in ([unknown, factor], [factor, unknown]):
        np.testing.assert_array_equal(pass_constants(node, operands), [[0], [np.nan]])
    ones = np.ones((2, 1))
    node = helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"])
    given = pass_constants(node, [unknown, factor, 3 * ones, ones, ones])
    np.testing.assert_array_equal(given, [[3], [np.nan]])


def test_limits_of_clip_stand_in_attributes_or_inputs() -> None:
    node = helper.make_node("Clip", ["x"], ["y"], min=-1.0, max=2.0)
    np.testing.assert_array_equal(pass_constants(node, [X]), np.clip(X, -1, 2))
    node = helper.make_node("Clip", ["x", "", "high"], ["y"])
    given = pass_constants(node, [X, None, np.array([[0.5]])])
    np.testing.assert_array_equal(given, np.minimum(X, 0.5))
