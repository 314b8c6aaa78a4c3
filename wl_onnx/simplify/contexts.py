"""What symbols of a matrix cost once its rows and columns are told apart by how they are used.

Whole columns of a matrix may belong to inputs that are always 0, and some rows hold more than
others. Each row and each column has a class, and each pair of classes its own shares of symbols.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

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
    codes: npt.NDArray[np.integer], num_symbols: int, *, max_classes: int = 8
) -> SymbolCosts:
    """Chooses classes of rows and columns for a matrix, and measures what its symbols cost.

    Args:
        codes: integers `[num_rows, num_columns]`, 0 to num_symbols - 1.
        num_symbols: number of symbols.
        max_classes: most classes of an axis. Fewer are taken where they cost less.
    """
    whole = np.zeros(len(codes), np.int64), np.zeros(codes.shape[1], np.int64)
    best = _measure(codes, num_symbols, *whole)
    by_row = _count(codes, num_symbols, whole[1], axis=1)
    num_classes = 2
    while num_classes <= max_classes:
        rows = _classify(by_row, num_classes)
        columns = _classify(_count(codes, num_symbols, rows, axis=0), num_classes)
        rows = _classify(_count(codes, num_symbols, columns, axis=1), num_classes)
        for one in ((rows, columns), (whole[0], columns), (rows, whole[1])):
            tried = _measure(codes, num_symbols, *one)
            best = min(best, tried, key=lambda costs: costs.total_bits)
        num_classes *= 2
    return best


def _count(
    codes: npt.NDArray[np.integer], num_symbols: int, classes: Int64, *, axis: int
) -> Float64:
    """Symbols counted by the other axis's lines and by classes of the lines along this axis.

    Returns:
        float64 `[line, class, symbol]`; lines are columns for axis 0, rows for axis 1.
    """
    lines = codes if axis else codes.T
    members = np.zeros((lines.shape[1], int(classes.max()) + 1), np.float32)
    members[np.arange(len(classes)), classes] = 1
    # One symbol at a time: all of them at once are many times the matrix.
    counted = [(lines == symbol).astype(np.float32) @ members for symbol in range(num_symbols)]
    return np.stack(counted, axis=-1).astype(np.float64)


def _classify(lines: Float64, num_classes: int) -> Int64:
    """Classes of lines: counts `[line, class of the other axis, symbol]` to int64 `[line]`."""
    totals = lines.sum(axis=(1, 2))
    symbols = lines.sum(axis=(0, 1))
    density = 1 - lines[:, :, int(np.argmax(symbols))].sum(axis=1) / np.maximum(totals, 1)
    classes = np.empty(len(lines), np.int64)
    classes[np.argsort(density, kind="stable")] = np.arange(len(lines)) * num_classes // len(lines)
    flat = lines.reshape(len(lines), -1)
    for _ in range(_LLOYD_ROUNDS):
        sums = np.zeros((num_classes, *lines.shape[1:]))
        np.add.at(sums, classes, lines)
        costs = flat @ _cost_bits(sums).reshape(num_classes, -1).T
        classes = np.argmin(costs, axis=1)
    return np.unique(classes, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _cost_bits(counts: Float64) -> Float64:
    """Bits of each symbol along the last axis, by its share; half a count is given to each."""
    smooth = counts + 0.5 / max(1, counts.shape[-1])
    bits: Float64 = -np.log2(smooth / smooth.sum(axis=-1, keepdims=True))
    return bits


def _measure(
    codes: npt.NDArray[np.integer], num_symbols: int, rows: Int64, columns: Int64
) -> SymbolCosts:
    sums = np.zeros((int(rows.max()) + 1, int(columns.max()) + 1, num_symbols))
    np.add.at(sums, rows, _count(codes, num_symbols, columns, axis=1))
    bits = _cost_bits(sums)
    side = _BITS_PER_SHARE * np.count_nonzero(sums)
    for classes in (rows, columns):
        occupied = np.bincount(classes)
        side += float((occupied * -np.log2(occupied / len(classes))).sum())
    return SymbolCosts(rows, columns, bits, float((sums * bits).sum() + side))
