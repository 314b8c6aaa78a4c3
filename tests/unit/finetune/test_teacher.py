"""Scores and accuracies of a model in onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.unit.finetune.graphs import make
from wl_onnx.errors import InputError
from wl_onnx.finetune.teacher import compute_scores, measure_accuracy
from wl_onnx.finetune.training_data import TrainingData
from wl_onnx.runtime.opening import open_model

WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def classifier(batch: int | str) -> onnx.ModelProto:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return make([node], {"w": WEIGHTS}, (batch, 4))  # type: ignore[arg-type]


@pytest.mark.parametrize(("batch", "fixed"), [("n", None), (50, 50)])
def test_scores_are_those_of_numpy(batch: int | str, fixed: int | None) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(600, 4)).astype(np.float32)
    labels = rng.integers(3, size=600)
    session = open_model(classifier(batch))
    data = TrainingData({"x": x}, labels, fixed)
    np.testing.assert_allclose(compute_scores(session, data), x @ WEIGHTS, rtol=1e-4, atol=1e-5)
    expected = ((x @ WEIGHTS).argmax(1) == labels).mean()
    assert measure_accuracy(session, data) == expected
    assert measure_accuracy(session, TrainingData({"x": x}, None, fixed)) is None


def test_axes_of_size_1_behind_the_classes_go() -> None:
    data = TrainingData({"x": np.ones((6, 4), np.float32)})
    node = helper.make_node("Unsqueeze", ["x", "a"], ["y"])
    model = make([node], {"a": np.array([2, 3])}, ("n", 4))  # type: ignore[arg-type]
    assert compute_scores(open_model(model), data).shape == (6, 4)


def test_models_without_class_scores() -> None:
    data = TrainingData({"x": np.ones((6, 4), np.float32)}, np.zeros(6, np.int64))
    total = make([helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0)], {}, ("n", 4))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"m: its first output must have a row a sample, got \[\]"):
        compute_scores(open_model(total), data, name="m")
    cubes = make([helper.make_node("Unsqueeze", ["x", "a"], ["y"])], {"a": np.array([1])}, ("n", 4))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"accuracy of m: .*\[n, classes\], got \[6, 1, 4\]$"):
        measure_accuracy(open_model(cubes), data, name="m")
