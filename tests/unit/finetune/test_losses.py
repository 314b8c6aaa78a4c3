"""The losses against NumPy, and objectives that cannot be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from wl_onnx.errors import InputError
from wl_onnx.finetune.losses import Objective, make_loss


def log_softmax(values: np.ndarray) -> np.ndarray:
    shifted = values - values.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


@pytest.mark.parametrize(
    "objective",
    [Objective(), Objective(0, 1.5, 4.0), Objective(0.5, 2.0, 3.0), Objective(0.5, 0.0)],
)
def test_losses_are_those_of_numpy(objective: Objective) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    rng = np.random.default_rng(0)
    logits, teacher = rng.normal(size=(2, 7, 5)) * 3
    labels = rng.integers(5, size=7)
    t = objective.temperature
    mine, theirs = log_softmax(logits / t), log_softmax(teacher / t)
    distance = (np.exp(theirs) * (theirs - mine)).sum(1).mean()
    task = -log_softmax(logits)[np.arange(7), labels].mean()
    expected = objective.task_weight * task + objective.distill_weight * t**2 * distance

    result = make_loss(objective)(*map(torch.from_numpy, (logits, labels, teacher)))
    assert float(result) == pytest.approx(expected, rel=1e-12)


def test_the_distance_from_a_teacher_of_the_same_opinion_is_zero() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    logits = torch.tensor([[1.0, -2.0, 40.0]], requires_grad=True)
    loss = make_loss(Objective(0, 1))(logits, None, logits.detach() + 3)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert float(logits.grad.abs().max()) == pytest.approx(0, abs=1e-6)


def test_labels_and_teachers_are_needed_where_they_have_weight() -> None:
    assert [Objective().needs_labels, Objective().needs_teacher] == [True, False]
    assert [Objective(0, 1).needs_labels, Objective(0, 1).needs_teacher] == [False, True]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task_weight": -1}, "task_weight must be a number of at least 0, got -1"),
        ({"distill_weight": math.inf}, "distill_weight must be a number of at least 0, got inf"),
        ({"task_weight": "1"}, "task_weight must be a number of at least 0, got '1'"),
        ({"task_weight": 0}, "task_weight or distill_weight must be above 0, got 0"),
        ({"temperature": 0}, "temperature must be a number above 0, got 0"),
    ],
)
def test_objectives_that_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^cannot use objective: {message}$"):
        Objective(**values)
