"""One-dimensional k-means: weights to a codebook and an index for each."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError
from wl_onnx.kernels import clustering
from wl_onnx.recipe import MAX_CLUSTERS

__all__ = ["Clustering", "cluster", "round_codebook"]

# Measured on Gaussian, Laplace and Student weights: 256 bins for each cluster cost less than 1e-4
# of the error; 2**15 bins hold every float16 magnitude apart.
_BINS_PER_CLUSTER = 256
_MIN_BINS = 1 << 15
_MAX_BINS = 1 << 18

_FLOAT16_LARGEST = float(np.finfo(np.float16).max)
_FLOAT16_SMALLEST_NORMAL = float(np.finfo(np.float16).smallest_normal)


@dataclasses.dataclass(frozen=True)
class Clustering:
    """Weights as indices into a codebook.

    Attributes:
        codebook: float32 `[num_clusters]`, strictly ascending, as it will be stored.
        assignments: uint16, an index for each weight, in the weights' shape.
        error_energy: sum of (weight - centroid)**2.
        codebook_type: "float16" or "float32": what holds every centroid exactly.
    """

    codebook: npt.NDArray[np.float32]
    assignments: npt.NDArray[np.uint16]
    error_energy: float
    codebook_type: str


def cluster(
    values: npt.NDArray[np.float32],
    num_clusters: int,
    *,
    codebook_type: str = "float32",
    threads: int = 1,
) -> Clustering:
    """Clusters weights with the least squared error, up to 0.1 %.

    The error is the least possible before centroids are rounded where there are at most
    max(2**15, 256 * num_clusters) distinct magnitudes (and no more than 2**18); where there are
    more, weights of nearly the same magnitude stay together while centroids are sought.

    Args:
        values: float32, any shape, finite, fewer than 2**32; mostly what pruning left.
        num_clusters: 1 to 4096. There are fewer clusters where there are fewer distinct values, or
            where centroids become equal when rounded. Of no value at all the codebook is [0].
        codebook_type: "float16" or "float32", see `round_codebook`.
        threads: threads to use; 0 means one for each core. The result does not depend on it.

    Raises:
        InputError: a value is NaN or infinite, or an argument is out of range.

    Example:
        >>> result = cluster(np.array([1.0, 5.0, 1.0, 3.0, 5.0], np.float32), 2)
        >>> result.codebook.tolist(), result.assignments.tolist()
        ([1.0, 4.333333492279053], [0, 1, 0, 1, 1])
    """
    if not 1 <= num_clusters <= MAX_CLUSTERS:
        raise InputError(
            f"cannot cluster weights: clusters must be from 1 to {MAX_CLUSTERS}, got {num_clusters}"
        )
    max_bins = min(max(_BINS_PER_CLUSTER * num_clusters, _MIN_BINS), _MAX_BINS)
    histogram = clustering.magnitude_histogram(values, max_bins, threads=threads)
    centroids = np.zeros(1)
    if values.size > 0:
        centroids, _, _ = clustering.cluster_points(*histogram.points(), num_clusters)
    codebook, stored_type = round_codebook(centroids, codebook_type)
    assignments, error_energy = clustering.assign_clusters(values, codebook, threads=threads)
    return Clustering(codebook, assignments, error_energy, stored_type)


def round_codebook(
    centroids: npt.NDArray[np.floating], codebook_type: str
) -> tuple[npt.NDArray[np.float32], str]:
    """Centroids as they will be stored, each once, and the type that holds them.

    float16 gives way to float32 for a codebook that it cannot hold: one with a centroid beyond
    65504, or with none of at least 2**-14, where float16 loses precision. A smaller centroid
    beside larger ones is off by at most 2**-11 of the largest, and may become 0.

    Args:
        centroids: floats `[num_clusters]`, finite, in any order.
        codebook_type: the wanted type, "float16" or "float32".

    Returns:
        float32 `[at most num_clusters]`, strictly ascending, and "float16" or "float32".

    Raises:
        InputError: there is no such type.

    Example:
        >>> round_codebook(np.array([0.1, 70000.0]), "float16")[1]
        'float32'
    """
    if codebook_type not in ("float16", "float32"):
        raise InputError(
            f"cannot round centroids: the codebook must be float16 or float32, got {codebook_type}"
        )
    if codebook_type == "float16":
        largest = float(np.max(np.abs(centroids)))
        if largest != 0 and not _FLOAT16_SMALLEST_NORMAL <= largest <= _FLOAT16_LARGEST:
            codebook_type = "float32"
    rounded = centroids.astype(codebook_type).astype(np.float32)
    return np.unique(rounded + np.float32(0)), codebook_type  # + 0 turns -0 into 0
