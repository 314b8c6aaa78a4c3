"""One weight tensor into a lossless palette: quantise, encode, measure."""

from __future__ import annotations

import itertools
import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wl_onnx.codecs import bounds, palette
from wl_onnx.evaluation.tensor_report import palette_fields
from wl_onnx.planning.encoding import EncodedWeight
from wl_onnx.recipe import MAX_CLUSTERS
from wl_onnx.simplify import (
    Threshold,
    cluster,
    prune,
    round_codebook,
    threshold_for_sparsity,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wl_onnx.recipe import Recipe

__all__ = ["encode_packed_palette", "encode_palette", "row_lengths"]

# The step is sought on at most so many weights, evenly spread, by so many halvings; then the whole
# tensor decides, with steps that shrink until its error is within the share.
_SAMPLE_SIZE = 1 << 18
_HALVINGS = 20
_MAX_STEPS = 40
_SHRINK = 0.97

# Levels on either side of zero.
_MAX_LEVEL = (MAX_CLUSTERS - 1) // 2


def encode_palette(
    values: npt.NDArray[np.float32],
    shape: Sequence[int],
    recipe: Recipe,
    *,
    threshold: Threshold | None = None,
    threads: int = 1,
) -> EncodedWeight:
    """Encodes a tensor without false positives: every weight is its centroid.

    With a sparsity of "auto", weights are rounded to multiples of the widest step whose error is
    within `error_share` of the tensor's energy: at a given error, equal steps and an entropy coder
    need at most a quarter of a bit more than any quantiser (Gish and Pierce, IEEE Transactions on
    Information Theory, 1968). With a given sparsity, the weights that are left are clustered.
    Centroids are the means of the weights that they stand for.

    Args:
        values: float32 [num_weights], finite.
        shape: the tensor's dimensions; rows and columns of its matrix forms may get classes.
        recipe: sparsity, error_share, clusters (where a sparsity is given) and codebook are used.
        threshold: what to prune instead of the recipe's sparsity.
        threads: threads to use; 0 means one for each core. The result does not depend on it.
    """
    if recipe.sparsity == "auto":
        codes, codebook = _quantize_within(values, recipe)
    else:
        codes, codebook = _prune_and_cluster(values, recipe, threshold, threads)
    return _finish(values, codes, codebook, shape, recipe, threads)


def encode_packed_palette(
    values: npt.NDArray[np.float32],
    shape: Sequence[int],
    recipe: Recipe,
    *,
    threshold: Threshold | None = None,
    threads: int = 1,
) -> EncodedWeight:
    """As `encode_palette`, for indices that take whole bits each and are not entropy-coded.

    With a sparsity of "auto" the weights are clustered by k-means into 2**b centroids, with the
    fewest bits b whose error is within `error_share`; with a given sparsity into `clusters`. Zeros
    stay zeros: where there are any, one of the centroids is 0.

    Args:
        values: float32 [num_weights], finite.
        shape: the tensor's dimensions.
        recipe: sparsity, error_share, clusters (where a sparsity is given) and codebook are used.
        threshold: what to prune instead of the recipe's sparsity.
        threads: threads to use; 0 means one for each core. The result does not depend on it.
    """
    counts, pruned = [recipe.clusters], values
    if recipe.sparsity == "auto":
        counts = [2**bits for bits in range(1, MAX_CLUSTERS.bit_length())]
    else:
        if threshold is None:
            threshold = threshold_for_sparsity(values, float(recipe.sparsity), threads=threads)
        pruned = prune(values, threshold)
    for count in counts:
        codes, codebook = _cluster_with_zero(pruned, count, recipe, threads)
        if _error_share(values, codes, codebook) <= recipe.error_share:
            break
    return _finish(values, codes, codebook, shape, recipe, threads)


def _cluster_with_zero(
    values: npt.NDArray[np.float32], count: int, recipe: Recipe, threads: int
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.floating[Any]]]:
    """Codes and at most so many centroids, one of them 0 where a weight is."""
    kept = np.flatnonzero(values)
    if kept.size == values.size:
        clustering = cluster(values, count, codebook_type=recipe.codebook, threads=threads)
        return clustering.assignments, clustering.codebook
    codes = np.zeros(values.size, np.uint16)
    if kept.size == 0:
        return codes, np.zeros(1)
    clustering = cluster(
        values[kept], max(1, count - 1), codebook_type=recipe.codebook, threads=threads
    )
    codes[kept] = clustering.assignments + 1
    return codes, np.concatenate([[0.0], clustering.codebook])


def _finish(
    values: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint16],
    codebook: npt.NDArray[np.floating[Any]],
    shape: Sequence[int],
    recipe: Recipe,
    threads: int,
) -> EncodedWeight:
    """The blob of codes and centroids, and what it does to the tensor."""
    _, codebook_type = round_codebook(codebook, recipe.codebook)
    blob = palette.encode(
        codes,
        codebook=codebook,
        row_length=row_lengths(shape),
        codebook_type=codebook_type,
        threads=threads,
    )
    info = palette.inspect(blob)
    counts = np.bincount(codes, minlength=info.num_clusters)
    error_share = _error_share(values, codes, info.codebook)
    return EncodedWeight(
        blob,
        {
            **palette_fields(info, counts),
            "error_share": error_share,
            "epsilon": 0.0,
            "meets_share": error_share <= recipe.error_share if recipe.sparsity == "auto" else None,
        },
        codec="palette",
    )


def _quantize_within(
    values: npt.NDArray[np.float32], recipe: Recipe
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float64]]:
    """The codes and centroids of the widest step that is found to keep within the share."""
    error_share = recipe.error_share
    largest = float(np.max(np.abs(values)))
    if largest == 0:
        return np.zeros(values.size, np.uint16), np.zeros(1)
    sample = values[:: max(1, values.size // _SAMPLE_SIZE)]
    low, high = largest / _MAX_LEVEL, 2 * largest
    for _ in range(_HALVINGS):
        step = float(np.sqrt(low * high))
        if _error_share(sample, *_quantize(sample, step)) <= error_share:
            low = step
        else:
            high = step
    step = low
    for _ in range(_MAX_STEPS):
        codes, codebook = _quantize(values, step)
        _, codebook_type = round_codebook(codebook, recipe.codebook)
        if _error_share(values, codes, codebook.astype(codebook_type)) <= error_share:
            break
        step = max(_SHRINK * step, largest / _MAX_LEVEL)
    return codes, codebook


def _quantize(
    values: npt.NDArray[np.float32], step: float
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float64]]:
    """The multiple of the step that is next to each weight, and the mean of each one's weights."""
    levels = np.rint(values / np.float32(step)).astype(np.int32)
    lowest = int(levels.min())
    levels -= lowest
    counts = np.bincount(levels)
    sums = np.bincount(levels, weights=values)
    means = sums / np.maximum(counts, 1)
    if 0 <= -lowest < means.size:
        means[-lowest] = 0  # weights near zero stay zeros
    used = counts > 0
    codes = (np.cumsum(used) - 1).astype(np.uint16)[levels]
    return codes, means[used]


def _prune_and_cluster(
    values: npt.NDArray[np.float32], recipe: Recipe, threshold: Threshold | None, threads: int
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float64]]:
    if threshold is None:
        threshold = threshold_for_sparsity(values, float(recipe.sparsity), threads=threads)
    pruned = prune(values, threshold)
    kept = np.flatnonzero(pruned)
    clusters = min(recipe.clusters, MAX_CLUSTERS - 1)
    clustering = cluster(pruned[kept], clusters, codebook_type=recipe.codebook, threads=threads)
    codes = np.zeros(values.size, np.uint16)
    codes[kept] = clustering.assignments + 1
    return codes, np.concatenate([[0.0], clustering.codebook])


def _error_share(
    values: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint16],
    codebook: npt.NDArray[np.floating],
) -> float:
    """Error energy over weight energy."""
    error = energy = 0.0
    for at in range(0, values.size, 1 << 20):
        part = values[at : at + (1 << 20)].astype(np.float64)
        centroids = codebook.astype(np.float64)[codes[at : at + (1 << 20)]]
        error += float(np.square(part - centroids).sum())
        energy += float(np.square(part).sum())
    return bounds.epsilon(error, energy)


def row_lengths(shape: Sequence[int]) -> list[int]:
    """The lengths of the rows of the matrix forms that a tensor has: all its trailing products."""
    products = itertools.accumulate(reversed(tuple(shape)[1:]), operator.mul)
    return sorted({length for length in products if length > 1})
