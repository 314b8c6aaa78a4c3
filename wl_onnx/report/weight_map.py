"""A weight matrix as a picture: stored weights, zeros and false positives, or the error."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from wl_onnx.report.facts import WeightMap
from wl_onnx.report.png import Color, write_png

__all__ = ["draw_error", "draw_filter", "find_stored_weights"]

MAX_WIDTH = 800
MAX_HEIGHT = 512
MIN_WIDTH = 240
MIN_HEIGHT = 96
MAX_ERROR_WIDTH = 320
_MAX_PIXEL = 12
_MAX_SPOTS = 300
_PEAK_QUANTILE = 0.99  # a few large errors would leave all others without colour

_ZERO, _STORED, _FALSE_POSITIVE = range(3)
# Blue and orange, which the colour-blind tell apart, on white and on black alike. Stored weights
# let the page through, so that false positives stand out from them.
_FILTER_COLORS: tuple[Color, ...] = ((0, 0, 0, 0), (94, 139, 214, 150), (224, 92, 0, 255))
_ERROR_COLORS: tuple[Color, ...] = tuple((224, 92, 0, 17 * step) for step in range(16))

# Below it, the original says nothing of what is stored: the weights were trained anew.
_MIN_AGREEMENT = 0.8

# Numbers that look random but are the same in every report.
_SEED = 0x5EED

Array = npt.NDArray[np.float32]


def find_stored_weights(
    original: npt.NDArray[np.floating], is_centroid: npt.NDArray[np.bool_], num_stored: int
) -> tuple[npt.NDArray[np.bool_], float]:
    """Which weights a filter stores: a filter does not say, but the original does.

    Pruning keeps the largest magnitudes, of equal ones the last. So of what decodes to a centroid,
    that which was largest is stored and the others are false positives. If all of the largest
    weights decode to centroids there is no other way how it can have been.

    Args:
        original: floats [n], the weights before.
        is_centroid: bool [n], whether a weight decodes to a centroid.
        num_stored: how many are stored, which the filter says.

    Returns:
        bool [n], what is stored; and the share of the num_stored largest weights that decode to
        a centroid, 1 where nothing is stored.
    """
    order = np.argsort(np.abs(original), kind="stable")
    largest = order[original.size - num_stored :]
    agreement = float(is_centroid[largest].mean()) if largest.size else 1.0
    candidates = order[is_centroid[order]]
    is_stored = np.zeros(original.size, bool)
    is_stored[candidates[max(0, candidates.size - num_stored) :]] = True
    return is_stored, agreement


def draw_filter(
    name: str,
    shape: tuple[int, ...],
    is_centroid: npt.NDArray[np.bool_],
    num_stored: int,
    original: npt.NDArray[np.floating] | None,
) -> WeightMap:
    """What a filter gives for each weight.

    Where the matrix is larger than the picture, each pixel shows one weight of its block, drawn at
    random, so that shares are those of the whole matrix.

    Args:
        name: of the weight.
        shape: of the weight; the first axis is that of the rows.
        is_centroid: bool [n], whether a weight decodes to a centroid.
        num_stored: how many are stored.
        original: floats [n], the weights before; None where they are of another shape.
    """
    kinds = np.where(is_centroid, _STORED, _ZERO).astype(np.uint8)
    agreement = 0.0
    if original is not None:
        is_stored, agreement = find_stored_weights(original, is_centroid, num_stored)
        if agreement >= _MIN_AGREEMENT:
            kinds[is_centroid & ~is_stored] = _FALSE_POSITIVE
    matrix, is_transposed = _as_matrix(kinds, shape)
    block = _block_of(matrix.shape, MAX_WIDTH)
    pixels = _pick(matrix, block)
    rows, columns = np.nonzero(matrix == _FALSE_POSITIVE)
    if rows.size > _MAX_SPOTS:
        rows, columns = rows[:0], columns[:0]
    covered = [block * size for size in pixels.shape]
    spots = zip((columns + 0.5) / covered[1], (rows + 0.5) / covered[0], strict=True)
    num_centroids = int(is_centroid.sum())
    num_stored = min(num_stored, num_centroids)
    return WeightMap(
        name=name,
        kind="filter",
        is_known=agreement >= _MIN_AGREEMENT,
        is_certain=agreement == 1.0,
        counts={
            "zero": is_centroid.size - num_centroids,
            "stored": num_stored,
            "false_positive": num_centroids - num_stored,
        },
        **_layout(matrix, pixels, block, is_transposed),
        spots=tuple((float(x), float(y)) for x, y in spots),
        png=write_png(pixels, _FILTER_COLORS),
        codec="bloomier",
    )


def draw_error(name: str, codec: str, before: Array, after: Array) -> WeightMap:
    """The error of each weight, the mean of a block where the matrix is larger than the picture.

    Args:
        name: of the weight.
        codec: of the weight.
        before: float32, any shape, the weights; the first axis is that of the rows.
        after: float32 of the same shape, what stands for them.
    """
    scale = math.sqrt(float(np.mean(np.square(before, dtype=np.float64)))) or 1.0
    error = np.nan_to_num(np.abs(after.astype(np.float64) - before).ravel() / scale)
    matrix, is_transposed = _as_matrix(error, before.shape)
    block = _block_of(matrix.shape, MAX_ERROR_WIDTH)
    means = _average(matrix, block)
    peak = float(np.quantile(means, _PEAK_QUANTILE)) or float(means.max()) or 1.0
    shades = np.rint(15 * np.minimum(means / peak, 1)).astype(np.uint8)
    zeros = int((after == 0).sum())
    return WeightMap(
        name=name,
        kind="error",
        is_known=True,
        is_certain=True,
        counts={"zero": zeros, "stored": after.size - zeros, "false_positive": 0},
        **_layout(matrix, shades, block, is_transposed),
        spots=(),
        png=write_png(shades, _ERROR_COLORS),
        codec=codec,
        peak=peak,
    )


def _as_matrix(flat: npt.NDArray[Any], shape: tuple[int, ...]) -> tuple[npt.NDArray[Any], bool]:
    """The weight as a matrix that is wider than it is high, and whether it was turned for that."""
    matrix = flat.reshape(shape[0] if len(shape) > 1 else 1, -1)
    is_transposed = matrix.shape[0] > matrix.shape[1]
    return (matrix.T if is_transposed else matrix), is_transposed


def _block_of(shape: tuple[int, ...], max_width: int) -> int:
    return max(1, -(-shape[1] // max_width), -(-shape[0] // (MAX_HEIGHT * max_width // MAX_WIDTH)))


def _pick(matrix: npt.NDArray[np.uint8], block: int) -> npt.NDArray[np.uint8]:
    """One element of each block."""
    if block == 1:
        return matrix
    rng = np.random.default_rng(_SEED)
    starts = [np.arange(0, size, block) for size in matrix.shape]
    extents = [np.minimum(block, n - s) for s, n in zip(starts, matrix.shape, strict=True)]
    grid = starts[0].size, starts[1].size
    rows = starts[0][:, None] + (rng.random(grid) * extents[0][:, None]).astype(np.int64)
    columns = starts[1] + (rng.random(grid) * extents[1]).astype(np.int64)
    return np.asarray(matrix[rows, columns])


def _average(matrix: npt.NDArray[np.float64], block: int) -> npt.NDArray[np.float64]:
    starts = [np.arange(0, size, block) for size in matrix.shape]
    sums = np.add.reduceat(np.add.reduceat(matrix, starts[0], 0), starts[1], 1)
    counts = [np.diff(np.append(s, n)) for s, n in zip(starts, matrix.shape, strict=True)]
    return np.asarray(sums / np.outer(*counts))


def _layout(
    matrix: npt.NDArray[Any], pixels: npt.NDArray[Any], block: int, is_transposed: bool
) -> dict[str, Any]:
    """The fields of a `WeightMap` that say how large it is; small pictures have large pixels."""
    height, width = pixels.shape
    pixel = min(_MAX_PIXEL, max(1, min(MAX_WIDTH // width, MAX_HEIGHT // height)))
    across = max(pixel, min(_MAX_PIXEL, MIN_WIDTH // width))
    down = max(pixel, min(_MAX_PIXEL, MIN_HEIGHT // height))
    rows, columns = matrix.T.shape if is_transposed else matrix.shape
    return {
        "rows": rows,
        "columns": columns,
        "block": block,
        "is_transposed": is_transposed,
        "width": width * across,
        "height": height * down,
    }
