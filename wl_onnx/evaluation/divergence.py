"""How far class scores lie from the original's: Kullback-Leibler divergence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ClassScores", "to_rows"]

# What a probability counts as at least, so that its logarithm is finite: float32's least normal.
_TINY = float(np.finfo(np.float32).tiny)

# Of a row of float16 probabilities, the sum is this close to 1.
_SUM_TOLERANCE = 2e-3

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]


def to_rows(output: Array) -> Array | None:
    """An output as rows of class scores, or None where it has no axis of classes.

    Args:
        output: `[..., classes]`, or `[n, classes, 1, ...]` with nothing but axes of size 1 behind.

    Returns:
        `[rows, classes]`, at least 2 classes.

    Example:
        >>> to_rows(np.zeros((4, 3, 1, 1))).shape, to_rows(np.zeros((4, 5, 3))).shape
        ((4, 3), (20, 3))
        >>> to_rows(np.zeros((4, 1)))
    """
    if output.ndim > 2 and all(size == 1 for size in output.shape[2:]):
        output = output.reshape(output.shape[:2])
    if output.ndim < 2 or output.shape[-1] < 2:
        return None
    return output.reshape(-1, output.shape[-1])


class ClassScores:
    """The original's class scores, from which those of other models are told apart.

    Scores are logits. Where the original's rows are probabilities already, not negative and with
    the sum 1, their logarithms are.

    Args:
        batches: float `[rows, classes]` each, finite, with the same number of classes.

    Attributes:
        num_classes: number of classes.
        num_rows: number of rows.
        are_probabilities: whether the scores are probabilities.
        temperature: max(1, a third of the standard deviation of the logits about their rows'
            means): logits divided by it leave no class out, however sure the model is. Of 1/3, 1
            and no softmax at all, 1/3 gave the smallest files on both LeNets.
    """

    def __init__(self, batches: Sequence[Array]) -> None:
        self._batches = batches
        self.num_classes = int(batches[0].shape[1])
        self.num_rows = sum(map(len, batches))
        self.are_probabilities = all(
            bool((rows >= 0).all())
            and np.allclose(rows.sum(axis=1, dtype=np.float64), 1, atol=_SUM_TOLERANCE)
            for rows in batches
        )
        energy = 0.0
        for rows in batches:
            logits = self._to_logits(rows)
            energy += float(((logits - logits.mean(axis=1, keepdims=True)) ** 2).sum())
        deviation = (energy / (self.num_rows * self.num_classes)) ** 0.5
        self.temperature = max(1.0, deviation / 3)

    def measure(self, batches: Sequence[Array], *, temperature: float = 1.0) -> float:
        """The mean over rows of KL(softmax(original) || softmax(other)), in nats; at least 0.

        Args:
            batches: the other model's scores, of the original's shapes and finite.
            temperature: what both sides' logits are divided by.
        """
        total = 0.0
        for mine, theirs in zip(self._batches, batches, strict=True):
            p, q = (_log_softmax(self._to_logits(rows) / temperature) for rows in (mine, theirs))
            total += float((np.exp(p) * (p - q)).sum())
        return max(0.0, total / self.num_rows)

    def _to_logits(self, rows: Array) -> Float64:
        values: Float64 = rows.astype(np.float64)
        return np.log(np.maximum(values, _TINY)) if self.are_probabilities else values


def _log_softmax(logits: Float64) -> Float64:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: Float64 = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
