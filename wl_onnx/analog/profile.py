"""The magnitudes of a tensor as a histogram, with what their errors cost."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

__all__ = ["Profile", "make_profile"]

Float64 = npt.NDArray[np.float64]

_NUM_BINS = 4096


@dataclasses.dataclass(frozen=True)
class Profile:
    """Stored weights by magnitude, in bins of one width.

    Attributes:
        largest: the largest magnitude, above 0.
        counts: weights in each bin.
        costs: in each bin, the sum of the loss that a squared error of each weight causes.
        num_zeros: weights that are not stored.
        num_weights: all weights.
    """

    largest: float
    counts: Float64
    costs: Float64
    num_zeros: int
    num_weights: int

    @property
    def centers(self) -> Float64:
        """The magnitude in the middle of each bin."""
        width = self.largest / self.counts.size
        centers: Float64 = (np.arange(self.counts.size, dtype=np.float64) + 0.5) * np.float64(width)
        return centers

    @property
    def smallest(self) -> float:
        """The lower end of the first bin that is not empty."""
        filled = np.flatnonzero(self.counts)
        return self.largest / self.counts.size * float(filled[0]) if filled.size else 0.0

    @property
    def num_stored(self) -> int:
        """Weights that have cells."""
        return self.num_weights - self.num_zeros

    def quantile(self, share: float) -> float:
        """The magnitude below which a share of the stored weights lies."""
        total = np.cumsum(self.counts)
        index = int(np.searchsorted(total, share * total[-1]))
        return self.largest * min(index + 1, self.counts.size) / self.counts.size

    def measure_labels(self, ranges: npt.NDArray[np.int64], *, with_signs: bool) -> float:
        """The entropy of the symbols in bits, all weights together.

        Args:
            ranges: of each bin, the range that its weights lie in.
            with_signs: whether symbols say the sign as well: one more bit.
        """
        counts = np.append(np.bincount(ranges, self.counts), self.num_zeros)
        counts = counts[counts > 0]
        bits = -float((counts * np.log2(counts / self.num_weights)).sum())
        return bits + (self.num_stored if with_signs else 0)


def make_profile(
    weights: Float64, kept: npt.NDArray[np.bool_], costs: Float64 | None = None
) -> Profile:
    """The histogram of a tensor.

    Args:
        weights: any shape.
        kept: which are stored, in the same shape.
        costs: the loss of a squared error of each, in the same shape; None: all count 1.
    """
    magnitudes = np.abs(weights[kept])
    largest = float(magnitudes.max(initial=0.0)) or 1.0
    places = np.minimum((magnitudes * (_NUM_BINS / largest)).astype(np.int64), _NUM_BINS - 1)
    counts = np.bincount(places, minlength=_NUM_BINS).astype(np.float64)
    sums: Float64 = counts
    if costs is not None:
        sums = np.bincount(places, costs[kept], _NUM_BINS).astype(np.float64)
    return Profile(largest, counts, sums, int(weights.size - kept.sum()), int(weights.size))
