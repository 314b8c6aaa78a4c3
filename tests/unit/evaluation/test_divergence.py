from __future__ import annotations

import math

import numpy as np
import pytest

from wl_onnx.evaluation.divergence import ClassScores, to_rows


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(axis=1, keepdims=True)


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    """By the definition, one row after another."""
    return float(np.mean([sum(a * math.log(a / b) for a, b in zip(*r)) for r in zip(p, q)]))  # noqa: B905


@pytest.fixture
def logits() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    first = 3 * rng.standard_normal((50, 7)).astype(np.float32)
    return first, first + rng.standard_normal((50, 7)).astype(np.float32)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_divergence_is_the_definitions(
    logits: tuple[np.ndarray, np.ndarray], temperature: float
) -> None:
    first, second = logits
    scores = ClassScores([first[:20], first[20:]])
    expected = divergence(softmax(first / temperature), softmax(second / temperature))
    assert expected > 0.01
    got = scores.measure([second[:20], second[20:]], temperature=temperature)
    assert got == pytest.approx(expected, rel=1e-6)
    assert scores.measure([first[:20], first[20:]], temperature=temperature) == 0


def test_probabilities_are_taken_as_they_are(logits: tuple[np.ndarray, np.ndarray]) -> None:
    p, q = (softmax(one).astype(np.float32) for one in logits)
    scores = ClassScores([p])
    assert scores.are_probabilities
    assert scores.measure([q]) == pytest.approx(divergence(p, q), rel=1e-4)
    assert not ClassScores([logits[0]]).are_probabilities


def test_certain_probabilities_stay_finite() -> None:
    p = np.array([[1, 0], [0, 1]], np.float32)
    scores = ClassScores([p])
    assert scores.measure([p]) == 0
    assert 80 < scores.measure([p[::-1]]) < 100
    assert scores.measure([np.full((2, 2), 0.5, np.float32)]) == pytest.approx(math.log(2))


def test_the_temperature_is_a_third_of_the_spread_within_rows() -> None:
    rng = np.random.default_rng(2)
    logits = 5 * rng.standard_normal((400, 10))
    shifted = logits + 100 * rng.standard_normal((400, 1))
    expected = np.sqrt(((logits - logits.mean(axis=1, keepdims=True)) ** 2).mean()) / 3
    assert ClassScores([shifted]).temperature == pytest.approx(expected, rel=1e-9)
    assert ClassScores([logits / 100]).temperature == 1


def test_large_logits_do_not_overflow() -> None:
    rows = np.array([[1e4, 0.0], [-1e4, 0.0]], np.float32)
    assert ClassScores([rows]).measure([rows / 2]) == 0


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((4, 3), (4, 3)),
        ((4, 3, 1, 1), (4, 3)),
        ((2, 5, 3), (10, 3)),
        ((4, 1), None),
        ((4,), None),
        ((), None),
    ],
)
def test_rows_of_class_scores(shape: tuple[int, ...], expected: tuple[int, ...] | None) -> None:
    rows = to_rows(np.zeros(shape))
    assert (None if rows is None else rows.shape) == expected
