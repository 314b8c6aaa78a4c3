"""What symbols of a matrix cost once its rows and columns are told apart by how they are used.

Whole columns of a matrix may belong to inputs that are always 0, and some rows hold more than
others. Each row and each column has a class, and each pair of classes its own shares of symbols.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from wl_onnx.kernels.compensation import classify_lines, count_symbols

__all__ = ["SymbolCosts", "measure_symbols"]

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

# Bits that a coder spends on one share of a context's table; measured, it is 5 to 9.
_BITS_PER_SHARE = 7.0
_LLOYD_ROUNDS = 4


@dataclasses.dataclass(frozen=True)
class SymbolCosts:
    """Bits of each symbol at each place of a matrix.

    Attributes:
        row_classes: int64 `[num_rows]`.
        column_classes: int64 `[num_columns]`.
        bits: float64 `[row class, column class, symbol]`; finite for symbols that do not occur.
        total_bits: what the codes cost that this was measured on, classes and tables included.
    """

    row_classes: Int64
    column_classes: Int64
    bits: Float64
    total_bits: float

    def of_column(self, column: int) -> Float64:
        """Bits of each symbol in one column: float64 `[num_rows, num_symbols]`."""
        costs: Float64 = self.bits[self.row_classes, self.column_classes[column]]
        return costs


def measure_symbols(
    codes: npt.NDArray[np.integer], num_symbols: int, *, max_classes: int = 8, threads: int = 0
) -> SymbolCosts:
    """Chooses classes of rows and columns for a matrix, and measures what its symbols cost.

    Args:
        codes: integers `[num_rows, num_columns]`, 0 to num_symbols - 1.
        num_symbols: number of symbols.
        max_classes: most classes of an axis. Fewer are taken where they cost less.
        threads: threads to use; 0 means one for each core.

    Raises:
        InputError: a code is out of range.
    """
    matrix = np.ascontiguousarray(codes, np.int32)

    def count(classes: Int64, *, axis: int) -> Float64:
        num_classes = int(classes.max()) + 1
        return count_symbols(matrix, classes, num_classes, num_symbols, axis=axis, threads=threads)

    whole = np.zeros(len(matrix), np.int64), np.zeros(matrix.shape[1], np.int64)
    by_row = count(whole[1], axis=1)
    best = _measure(by_row, *whole)
    num_classes = 2
    while num_classes <= max_classes:
        rows = _classify(by_row, num_classes, threads)
        columns = _classify(count(rows, axis=0), num_classes, threads)
        by_both = count(columns, axis=1)
        rows = _classify(by_both, num_classes, threads)
        for one in (
            (by_both, rows, columns),
            (by_both, whole[0], columns),
            (by_row, rows, whole[1]),
        ):
            best = min(best, _measure(*one), key=lambda costs: costs.total_bits)
        num_classes *= 2
    return best


def _classify(lines: Float64, num_classes: int, threads: int) -> Int64:
    """Classes of lines: counts `[line, class of the other axis, symbol]` to int64 `[line]`."""
    totals = lines.sum(axis=(1, 2))
    symbols = lines.sum(axis=(0, 1))
    density = 1 - lines[:, :, int(np.argmax(symbols))].sum(axis=1) / np.maximum(totals, 1)
    classes = np.empty(len(lines), np.int64)
    classes[np.argsort(density, kind="stable")] = np.arange(len(lines)) * num_classes // len(lines)
    classes = classify_lines(lines, classes, num_classes, rounds=_LLOYD_ROUNDS, threads=threads)
    return np.unique(classes, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _cost_bits(counts: Float64) -> Float64:
    """Bits of each symbol along the last axis, by its share; half a count is given to each."""
    smooth = counts + 0.5 / max(1, counts.shape[-1])
    bits: Float64 = -np.log2(smooth / smooth.sum(axis=-1, keepdims=True))
    return bits


def _measure(by_row: Float64, rows: Int64, columns: Int64) -> SymbolCosts:
    """Costs from the counts of each row by its columns' classes."""
    num_classes = int(rows.max()) + 1
    sums = np.stack([by_row[rows == label].sum(axis=0) for label in range(num_classes)])
    bits = _cost_bits(sums)
    side = _BITS_PER_SHARE * np.count_nonzero(sums)
    for classes in (rows, columns):
        occupied = np.bincount(classes)
        side += float((occupied * -np.log2(occupied / len(classes))).sum())
    return SymbolCosts(rows, columns, bits, float((sums * bits).sum() + side))
