"""How far one array lies from another, summed over as many pieces as it comes in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Accumulator", "top1"]

_CHUNK = 1 << 20


class Accumulator:
    """Cosine, relative L2 and SNR of an output, pooled over all elements of all samples.

    Sums are kept in float64. Elements that are not finite count as equal where both sides hold
    the same (NaN and NaN, +inf and +inf); otherwise the error is infinite.

    Example:
        >>> accumulator = Accumulator()
        >>> accumulator.add(np.array([3.0, 0.0]), np.array([3.0, 4.0]))
        >>> accumulator.add(np.array([4.0]), np.array([4.0]))
        >>> round(accumulator.relative_l2, 6), round(accumulator.snr_db, 4)
        (0.8, 1.9382)
    """

    def __init__(self) -> None:
        self.num_elements = 0
        self.num_nonfinite_mismatches = 0
        self._reference_energy = 0.0
        self._value_energy = 0.0
        self._product = 0.0
        self._error_energy = 0.0
        self._max_difference = 0.0

    def add(self, reference: npt.NDArray[Any], value: npt.NDArray[Any]) -> None:
        """Adds one piece of the output.

        Args:
            reference: float, integer or bool, any shape.
            value: what is compared with it, of the same shape.

        Raises:
            ValueError: the shapes differ.
        """
        if reference.shape != value.shape:
            raise ValueError(
                f"cannot compare arrays: shapes must be equal, got {reference.shape} and "
                f"{value.shape}"
            )
        self.num_elements += reference.size
        flat_reference, flat_value = reference.reshape(-1), value.reshape(-1)
        for start in range(0, reference.size, _CHUNK):
            self._add_chunk(
                flat_reference[start : start + _CHUNK].astype(np.float64),
                flat_value[start : start + _CHUNK].astype(np.float64),
            )

    def _add_chunk(self, r: npt.NDArray[np.float64], v: npt.NDArray[np.float64]) -> None:
        finite = np.isfinite(r) & np.isfinite(v)
        if not finite.all():
            odd_r, odd_v = r[~finite], v[~finite]
            same = (odd_r == odd_v) | (np.isnan(odd_r) & np.isnan(odd_v))
            self.num_nonfinite_mismatches += int(same.size - same.sum())
            r, v = r[finite], v[finite]
        error = v - r
        self._reference_energy += float(r @ r)
        self._value_energy += float(v @ v)
        self._product += float(r @ v)
        self._error_energy += float(error @ error)
        self._max_difference = max(self._max_difference, float(np.abs(error).max(initial=0.0)))

    @property
    def cosine(self) -> float:
        """Cosine of the angle between the two, in -1..1; 1 if both are zero, 0 if one is.

        NaN where elements that are not finite differ.
        """
        if self.num_nonfinite_mismatches:
            return math.nan
        if self._reference_energy == 0 or self._value_energy == 0:
            return float(self._reference_energy == self._value_energy)
        norms = math.sqrt(self._reference_energy) * math.sqrt(self._value_energy)
        return 1.0 if self._error_energy == 0 else max(-1.0, min(1.0, self._product / norms))

    @property
    def relative_l2(self) -> float:
        """Norm of the difference over the norm of the reference; 0 where they are identical."""
        if self.num_nonfinite_mismatches:
            return math.inf
        if self._error_energy == 0:
            return 0.0
        if self._reference_energy == 0:
            return math.inf
        return math.sqrt(self._error_energy / self._reference_energy)

    @property
    def snr_db(self) -> float:
        """Energy of the reference over that of the difference, in dB; inf where identical."""
        relative = self.relative_l2
        if relative == 0:
            return math.inf
        return -20 * math.log10(relative)

    @property
    def max_difference(self) -> float:
        """The largest absolute difference of an element."""
        return math.inf if self.num_nonfinite_mismatches else self._max_difference


def top1(logits: npt.NDArray[Any], labels: npt.NDArray[Any]) -> int:
    """How many rows have their largest value at the label.

    Args:
        logits: `[n, classes]`, or more axes of size 1 behind; the first of equal values counts.
        labels: integers, `[n]`.

    Raises:
        ValueError: the shapes do not fit together.
    """
    rows = logits.reshape(len(logits), -1) if logits.ndim >= 2 else logits
    if rows.ndim != 2 or rows.shape[1] != logits.shape[1] or labels.shape != rows.shape[:1]:
        raise ValueError(
            f"cannot count top-1: logits must be [n, classes] and labels [n], got "
            f"{list(logits.shape)} and {list(labels.shape)}"
        )
    return int((rows.argmax(axis=1) == labels).sum())
