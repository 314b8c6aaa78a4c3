"""What a filter and its lossless rivals must cost, and what false positives do."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError

__all__ = [
    "epsilon",
    "expected_false_positive_energy",
    "false_positive_rate",
    "information_bound_bits",
    "lossless_bound_bits",
    "predicted_prefix_size_bits",
    "predicted_size_bits",
    "prefix_level_bits",
    "prefix_plane_bits",
]

# What a blob holds beside its tables; wl_onnx/codecs/FORMAT.md has the fields.
BLOB_BYTES = 16 + 20 + 16
BLOCK_BYTES = 7
KEYS_PER_BLOCK = 4096

# Rows of a ribbon and cells of an xor table: measured on random keys, mean over blocks.
RIBBON_ROWS_PER_KEY = 1.0
RIBBON_ROWS_PER_BLOCK = 62
XOR_CELLS_PER_KEY = 1.23
XOR_CELLS_PER_BLOCK = 35

# Rows of a plane of the layout "prefix", where the plane's keys are those of its level.
LEVEL_ROWS_PER_KEY = 1 + 1 / 160
LEVEL_ROWS_PER_BLOCK = 8
MIN_LEVEL_ROWS = 64
LEVEL_HEADER_BYTES = 3

# What a level is to save at least in the layout "prefix", for the time that reading one takes:
# lenet5's first matrix becomes 0.3 % larger, and a tenth faster to decode.
LEVEL_READING_BITS_PER_KEY = 0.025


def information_bound_bits(num_keys: npt.ArrayLike, bits: npt.ArrayLike) -> int:
    """The fewest bits in which a filter with cells of `bits` can answer for num_keys keys.

    Args:
        num_keys: the stored weights, or numbers `[num_clusters]`: those of each centroid.
        bits: bits of a cell, or integers `[num_clusters]`: of each centroid's code.
    """
    products = np.asarray(num_keys, np.float64) * np.asarray(bits, np.float64)
    return round(float(products.sum()))


def lossless_bound_bits(num_weights: int, counts: npt.ArrayLike) -> float:
    """The entropy of the weights in bits: which are not 0, and what each of those is.

    log2 C(N, n) + n * H, where H is the entropy of the centroids' usage.

    Args:
        num_weights: N, all weights, zeros included.
        counts: integers `[num_clusters]`, how many of the n weights that are not 0 each centroid
            stands for; they may be 0.

    Raises:
        InputError: there are more counted weights than weights.

    Example:
        >>> lossless_bound_bits(4, [1, 1])  # 6 pairs of places, 2 bits of values
        4.584962500721156
    """
    usage = np.asarray(counts, dtype=np.float64)
    usage = usage[usage > 0]
    num_keys = round(float(usage.sum()))
    if num_keys > num_weights:
        raise InputError(
            f"cannot bound a size: counts must add up to at most {num_weights}, got {num_keys}"
        )
    value_bits = float(-(usage * np.log2(usage / num_keys)).sum()) if num_keys else 0.0
    return _log_binomial(num_weights, num_keys) / math.log(2) + abs(value_bits)


def false_positive_rate(num_clusters: int, bits: npt.ArrayLike) -> float:
    """The probability that a zero weight decodes as one of the centroids.

    Args:
        num_clusters: number of centroids.
        bits: bits of a cell, or integers `[num_clusters]`: of each centroid's code.
    """
    return float(np.broadcast_to(_shares(bits), num_clusters).sum())


def expected_false_positive_energy(
    num_weights: int, num_keys: int, codebook: npt.ArrayLike, bits: npt.ArrayLike
) -> float:
    """The expected energy of the centroids that appear in place of zero weights.

    Args:
        num_weights: all weights, zeros included.
        num_keys: the weights that are stored.
        codebook: floats `[num_clusters]`; each appears in a share 2**-bits of the others' places.
        bits: bits of a cell, or integers `[num_clusters]`: of each centroid's code.
    """
    squares = np.asarray(codebook, dtype=np.float64) ** 2
    return (num_weights - num_keys) * float((squares * _shares(bits)).sum())


def epsilon(false_positive_energy: float, weight_energy: float) -> float:
    """The energy of false positives over that of the weights; 0 where there are none."""
    if false_positive_energy == 0:
        return 0.0
    return false_positive_energy / weight_energy if weight_energy > 0 else math.inf


def predicted_size_bits(
    num_keys: int, bits: int, layout: str, num_clusters: int, codebook_bytes_each: int
) -> int:
    """About the size of a blob of cells of equal width, all of it, before it is made.

    Args:
        num_keys: the weights that are stored.
        bits: bits of a cell.
        layout: "ribbon" or "xor".
        num_clusters: entries of the codebook.
        codebook_bytes_each: 2 or 4, bytes of an entry.

    Raises:
        InputError: there is no such layout.
    """
    num_blocks = _num_blocks(num_keys)
    if layout == "ribbon":
        cells = RIBBON_ROWS_PER_KEY * num_keys + RIBBON_ROWS_PER_BLOCK * num_blocks
    elif layout == "xor":
        cells = XOR_CELLS_PER_KEY * num_keys + XOR_CELLS_PER_BLOCK * num_blocks
    else:
        raise InputError(f"cannot predict a size: layout must be ribbon or xor, got {layout}")
    if num_keys == 0:
        cells = 0
    num_bytes = BLOB_BYTES + BLOCK_BYTES * num_blocks + codebook_bytes_each * num_clusters
    return 8 * num_bytes + math.ceil(cells * bits)


def predicted_prefix_size_bits(
    counts: npt.ArrayLike, lengths: npt.ArrayLike, codebook_bytes_each: int
) -> int:
    """About the size of a blob of the layout "prefix", all of it, before it is made.

    Args:
        counts: numbers `[num_clusters]`, the stored weights of each centroid.
        lengths: integers `[num_clusters]`, bits of each centroid's code.
        codebook_bytes_each: 2 or 4, bytes of an entry.
    """
    usage, bits = np.asarray(counts, np.float64), np.asarray(lengths, np.int64)
    num_blocks = _num_blocks(float(usage.sum()))
    levels = np.unique(bits)
    table_bits = 0.0
    for length, num_planes in zip(levels, np.diff(levels, prepend=0), strict=True):
        num_keys = float(usage[bits >= length].sum()) / num_blocks
        rows = max(MIN_LEVEL_ROWS, LEVEL_ROWS_PER_KEY * num_keys + LEVEL_ROWS_PER_BLOCK)
        table_bits += float(num_planes) * rows if num_keys >= 0.5 else 0.0
    num_bytes = BLOB_BYTES + codebook_bytes_each * bits.size + (bits.size + 1) // 2
    block_bytes = 4 + LEVEL_HEADER_BYTES * levels.size
    return 8 * (num_bytes + num_blocks * block_bytes) + math.ceil(num_blocks * table_bits)


def prefix_plane_bits(num_keys: int) -> float:
    """About what a further plane costs in the layout "prefix" beside the codes' own bits."""
    return float(_num_blocks(num_keys) * LEVEL_ROWS_PER_BLOCK)


def prefix_level_bits(num_keys: int) -> float:
    """What a further length of codes costs in the layout "prefix", and what it is to save."""
    header_bits = 8 * LEVEL_HEADER_BYTES * _num_blocks(num_keys)
    return header_bits + LEVEL_READING_BITS_PER_KEY * num_keys


def _num_blocks(num_keys: float) -> int:
    return max(1, round(num_keys / KEYS_PER_BLOCK))


def _shares(bits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.asarray(2.0 ** -np.asarray(bits, np.float64))


def _log_binomial(n: int, k: int) -> float:
    """The natural logarithm of C(n, k), exact to about 1e-10 of it for any size of n."""
    k = min(k, n - k)
    if k <= 64:
        return math.fsum(math.log((n - i) / (k - i)) for i in range(k))
    # Stirling's series of the three factorials, arranged so that no large terms cancel.
    entropy = k * math.log(n / k) - (n - k) * math.log1p(-k / n)
    tail = 0.5 * math.log(n / (2 * math.pi * k * (n - k)))
    series = (1 / n - 1 / k - 1 / (n - k)) / 12 - (
        float(n) ** -3 - float(k) ** -3 - float(n - k) ** -3
    ) / 360
    return entropy + tail + series
