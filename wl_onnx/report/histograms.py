"""The values of weights before and after, counted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wl_onnx.report.facts import Histogram

__all__ = ["NUM_BINS", "count_values"]

NUM_BINS = 80
MAX_LEVELS = 80


def count_values(
    name: str,
    codec: str,
    before: npt.NDArray[np.float32] | None,
    after: npt.NDArray[np.float32],
) -> Histogram:
    """A histogram of a tensor's values, over the range of both.

    Args:
        name: the weight's key.
        codec: its codec.
        before: float32 of any shape; None where there is nothing to compare with. What is not
            finite is left out.
        after: float32 of any shape, likewise.
    """
    some = after.ravel() if before is None else np.concatenate([before.ravel(), after.ravel()])
    finite = some[np.isfinite(some)].astype(np.float64)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if low == high:
        margin = max(0.5, abs(low) / 2)
        low, high = low - margin, high + margin
    edges = np.linspace(low, high, NUM_BINS + 1)
    levels, counts = np.unique(after[np.isfinite(after)], return_counts=True)
    is_discrete = levels.size <= MAX_LEVELS
    return Histogram(
        name=name,
        num_weights=after.size,
        edges=edges,
        before=None if before is None else _count(before, edges),
        after=_count(after, edges),
        levels=levels.astype(np.float64) if is_discrete else None,
        level_counts=counts.astype(np.int64) if is_discrete else None,
        codec=codec,
    )


def _count(
    values: npt.NDArray[np.float32], edges: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    finite = values[np.isfinite(values)]
    return np.histogram(finite, edges)[0].astype(np.int64)
