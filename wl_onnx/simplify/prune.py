"""Magnitude pruning: the smallest weights become 0, an exact number of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError
from wl_onnx.kernels import clustering

__all__ = ["Threshold", "global_thresholds", "prune", "threshold_for_sparsity"]

_LOWER_BITS = 16


@dataclasses.dataclass(frozen=True)
class Threshold:
    """Which weights of a tensor become 0.

    Attributes:
        magnitude: weights below it do; a float32 number, infinity where all do.
        num_ties: of the weights at it, how many do as well, the first ones in row-major order.
    """

    magnitude: float
    num_ties: int = 0


def threshold_for_sparsity(
    values: npt.NDArray[np.float32], sparsity: float, *, threads: int = 1
) -> Threshold:
    """The threshold that leaves round(sparsity * N) zeros in a tensor of N weights.

    Weights that are 0 already count; where there are more of them, nothing is pruned.

    Args:
        values: float32, any shape, finite.
        sparsity: share of zeros, in [0, 1).
        threads: threads to use; 0 means one for each core.

    Raises:
        InputError: the sparsity is out of range.

    Example:
        >>> weights = np.array([0.1, -3.0, 0.5, 2.0], np.float32)
        >>> prune(weights, threshold_for_sparsity(weights, 0.5))
        array([ 0., -3.,  0.,  2.], dtype=float32)
    """
    return global_thresholds([values], sparsity, threads=threads)[0]


def global_thresholds(
    arrays: Sequence[npt.NDArray[np.float32]], sparsity: float, *, threads: int = 1
) -> list[Threshold]:
    """One threshold over several tensors that leaves round(sparsity * N) zeros of all N weights.

    Args:
        arrays: float32 tensors, finite. They are gone through two or three times, one at a time,
            so that a sequence which reads them when asked keeps one in memory.
        sparsity: share of zeros over all tensors, in [0, 1).
        threads: threads to use; 0 means one for each core.

    Returns:
        A threshold for each tensor: the same magnitude in all, ties given to the first tensors.

    Raises:
        InputError: the sparsity is out of range.
    """
    if not 0 <= sparsity < 1:
        raise InputError(f"cannot prune weights: sparsity must be in [0, 1), got {sparsity}")
    counts = np.zeros(clustering.NUM_UPPER_KEYS, np.uint64)
    for array in arrays:
        clustering.count_magnitudes(array, counts, threads=threads)
    num_pruned = round(sparsity * int(counts.sum()))
    if num_pruned == 0:
        return [Threshold(0.0)] * len(arrays)
    upper_key, num_below = _select(counts, num_pruned)
    lower = np.zeros(clustering.NUM_LOWER_KEYS, np.uint64)
    for array in arrays:
        clustering.count_magnitudes(array, lower, upper_key=upper_key, threads=threads)
    lower_key, num_below_lower = _select(lower, num_pruned - num_below)
    num_ties = num_pruned - num_below - num_below_lower
    bits = upper_key << _LOWER_BITS | lower_key
    if bits == 0:  # the zeros that are there are enough
        return [Threshold(0.0)] * len(arrays)
    if num_ties == int(lower[lower_key]):
        return [Threshold(_magnitude(bits + 1))] * len(arrays)
    thresholds = []
    for array in arrays:
        lower[:] = 0
        clustering.count_magnitudes(array, lower, upper_key=upper_key, threads=threads)
        given = min(num_ties, int(lower[lower_key]))
        num_ties -= given
        thresholds.append(Threshold(_magnitude(bits), given))
    return thresholds


def prune(values: npt.NDArray[np.float32], threshold: Threshold) -> npt.NDArray[np.float32]:
    """A copy of the weights in which those that the threshold names are 0.

    Args:
        values: float32, any shape.
        threshold: as `threshold_for_sparsity` or `global_thresholds` give for this tensor.
    """
    return clustering.prune_values(values, threshold.magnitude, threshold.num_ties)


def _select(counts: npt.NDArray[np.uint64], rank: int) -> tuple[int, int]:
    """The key that holds the value of this rank, counted from 1, and the number of those below."""
    cumulated = np.cumsum(counts)
    key = int(np.searchsorted(cumulated, np.uint64(rank)))
    return key, int(cumulated[key] - counts[key])


def _magnitude(bits: int) -> float:
    return float(np.uint32(bits).view(np.float32))
