"""Moments of a layer's input."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

__all__ = ["Moments"]

_ARRAYS = ("second", "mean", "cross", "reference_mean", "skip_cross", "skip_shift")

Float64 = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Moments:
    """Moments of a layer's input x, over samples and places.

    Attributes:
        second: mean of x x^T, float64 `[num_groups, k, k]`; `[num_groups, k]`, its diagonal,
            where x is one-hot (Gather).
        mean: mean of x, float64 `[num_groups, k]`.
        num_samples: how many inputs x were seen, in each group.
        cross: mean of r x^T with r the input in the reference model, `[num_groups, k, k]`; None
            where there is no reference.
        reference_mean: mean of r, `[num_groups, k]`, or None.
        skip_cross: mean of d x^T, `[num_groups, num_rows, k]`, with d what the layer's skip value
            is in the reference model minus what it is now, at the same samples and places; None
            where there is no reference, or no skip value of the shape of the layer's output.
        skip_shift: mean of d, `[num_groups, num_rows]`, which the bias makes up for, or None.
    """

    second: Float64
    mean: Float64
    num_samples: int
    cross: Float64 | None = None
    reference_mean: Float64 | None = None
    skip_cross: Float64 | None = None
    skip_shift: Float64 | None = None

    @property
    def is_diagonal(self) -> bool:
        """Whether `second` is a diagonal."""
        return self.second.ndim == 2

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (getattr(self, name) for name in _ARRAYS)
        return sum(array.nbytes for array in arrays if array is not None)
