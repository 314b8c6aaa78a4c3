"""Counting, pruning and clustering of float32 weights by the compiled core."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError
from wl_onnx.kernels.native import core, resolve_threads

__all__ = [
    "NUM_LOWER_KEYS",
    "NUM_UPPER_KEYS",
    "MagnitudeHistogram",
    "all_finite",
    "assign_clusters",
    "cluster_points",
    "count_magnitudes",
    "magnitude_histogram",
    "prune_values",
]

NUM_UPPER_KEYS = 1 << 15  # of a magnitude's float32 bits without the sign, the upper 15
NUM_LOWER_KEYS = 1 << 16  # and the lower 16


@dataclasses.dataclass(frozen=True)
class MagnitudeHistogram:
    """Weights counted by magnitude and sign.

    Attributes:
        num_zeros: weights that are 0; they stand in no bin.
        counts: int64 `[2, num_bins]`, negative weights first; bins ascend in magnitude.
        means: float64 `[2, num_bins]`, mean magnitudes, 0 where there is no weight.
        exact: whether every bin holds one magnitude only.
    """

    num_zeros: int
    counts: npt.NDArray[np.int64]
    means: npt.NDArray[np.float64]
    exact: bool

    @property
    def num_weights(self) -> int:
        """How many weights were counted, zeros included."""
        return self.num_zeros + int(self.counts.sum())

    def points(
        self, num_skipped: int = 0
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The bins as points with masses, without the weights of the least magnitudes.

        Args:
            num_skipped: how many weights to leave out, zeros first; of a bin that is left out in
                part, both signs lose the same share.

        Returns:
            Means with their sign, ascending, and the number of weights of each, above 0.
        """
        skipped_bins = max(0, num_skipped - self.num_zeros)
        before = np.concatenate(([0], np.cumsum(self.counts.sum(axis=0))))
        first = min(int(np.searchsorted(before, skipped_bins, side="right")) - 1, len(before) - 2)
        first = max(first, 0)
        masses = self.counts[:, first:].astype(np.float64)
        if masses.size > 0:
            inside = int(before[first + 1] - before[first])
            masses[:, 0] *= 1 - min(1.0, (skipped_bins - int(before[first])) / inside)
        num_zeros = max(0, self.num_zeros - num_skipped)
        means = self.means[:, first:]
        points = np.concatenate((-means[0, ::-1], [0.0], means[1]))
        masses = np.concatenate((masses[0, ::-1], [float(num_zeros)], masses[1]))
        return points[masses > 0], masses[masses > 0]


def all_finite(values: npt.NDArray[np.float32], *, threads: int = 1) -> bool:
    """Whether no value is NaN or infinite.

    Args:
        values: float32, any shape.
        threads: threads to use; 0 means one for each core.

    Example:
        >>> all_finite(np.array([1.0, np.inf], np.float32))
        False
    """
    flat = _flat(values)
    return int(core().find_non_finite(flat, resolve_threads(threads))) == flat.size


def magnitude_histogram(
    values: npt.NDArray[np.float32], max_bins: int, *, threads: int = 1
) -> MagnitudeHistogram:
    """Counts weights in a bin for each magnitude, or in about max_bins where there are more.

    Args:
        values: float32, any shape, fewer than 2**32.
        max_bins: 1 to 2**20. Bins of several magnitudes are at most 1/128 of the magnitude wide,
            and their widths follow the cube root of the density.
        threads: threads to use; 0 means one for each core. The result does not depend on it.

    Raises:
        InputError: a value is NaN or infinite.
    """
    try:
        num_zeros, negative, positive, negative_means, positive_means, exact = (
            core().magnitude_histogram(_flat(values), max_bins, resolve_threads(threads))
        )
    except ValueError as error:
        raise InputError(f"cannot count weights: {error}") from error
    return MagnitudeHistogram(
        num_zeros=num_zeros,
        counts=np.stack((negative, positive)),
        means=np.stack((negative_means, positive_means)),
        exact=exact,
    )


def count_magnitudes(
    values: npt.NDArray[np.float32],
    counts: npt.NDArray[np.uint64],
    *,
    upper_key: int | None = None,
    threads: int = 1,
) -> None:
    """Adds the weights to counts by the bits of their magnitudes, which order as they do.

    Args:
        values: float32, any shape.
        counts: uint64 `[NUM_UPPER_KEYS]`, by the upper bits; or `[NUM_LOWER_KEYS]` where an
            `upper_key` is given: by the lower bits, of the magnitudes that have these upper bits.
        upper_key: upper bits, 0 to NUM_UPPER_KEYS - 1, or None.
        threads: threads to use; 0 means one for each core.
    """
    key = -1 if upper_key is None else upper_key
    core().count_magnitudes(_flat(values), key, resolve_threads(threads), counts)


def prune_values(
    values: npt.NDArray[np.float32], threshold: float, num_ties: int
) -> npt.NDArray[np.float32]:
    """A copy with 0 for small magnitudes.

    Args:
        values: float32, any shape.
        threshold: magnitudes below it become 0.
        num_ties: of the magnitudes at it, the first so many in row-major order do as well.
    """
    pruned = np.empty(values.shape, np.float32)
    core().prune_values(_flat(values), threshold, num_ties, pruned.reshape(-1))
    return pruned


def cluster_points(
    points: npt.NDArray[np.float64], masses: npt.NDArray[np.float64], max_clusters: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    """Optimal 1-D k-means of points with masses.

    Args:
        points: float64 `[n]`, strictly ascending.
        masses: float64 `[n]`, above 0.
        max_clusters: at least 1; there are min(max_clusters, n) clusters.

    Returns:
        Centroids, ascending, the mass of each, and the sum of mass * distance**2.

    Raises:
        InputError: there is no point, or the points do not ascend.
    """
    try:
        centroids, cluster_masses, error = core().cluster_points(points, masses, max_clusters)
    except ValueError as failure:
        raise InputError(f"cannot cluster points: {failure}") from failure
    return centroids, cluster_masses, error


def assign_clusters(
    values: npt.NDArray[np.float32], codebook: npt.NDArray[np.float32], *, threads: int = 1
) -> tuple[npt.NDArray[np.uint16], float]:
    """The nearest centroid of each value, the lower one where two are as near.

    Args:
        values: float32, any shape.
        codebook: float32 `[1 to 65536]`, strictly ascending.
        threads: threads to use; 0 means one for each core. The result does not depend on it.

    Returns:
        uint16 indices in the shape of the values, and the sum of distance**2.

    Raises:
        InputError: a value is NaN or infinite, or the centroids do not ascend.
    """
    assignments = np.empty(values.shape, np.uint16)
    try:
        error = core().assign_clusters(
            _flat(values), codebook, resolve_threads(threads), assignments.reshape(-1)
        )
    except ValueError as failure:
        raise InputError(f"cannot assign weights to centroids: {failure}") from failure
    return assignments, error


def _flat(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if values.dtype != np.float32:
        raise InputError(f"cannot read weights: they must be float32, got {values.dtype}")
    return np.ascontiguousarray(values).reshape(-1)
