"""The sweeps that quantise a layer in NumPy, a column at a time: what the core is held to.

Clear rather than fast. Nothing but tests and benchmarks calls it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from wl_onnx.kernels.compensation import SymbolRates

__all__ = ["classify_lines", "codebook_products", "count_symbols", "sweep_again", "sweep_forward"]

Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

_BLOCK = 64


def sweep_forward(weight: Float64, upper: Float64, symbols: SymbolRates) -> Int32:
    """Decides columns in order, the error of each pushed into those after it.

    Args:
        weight: `[num_groups, num_rows, k]`, columns in the order in which they are decided.
        upper: `[num_groups, k, k]`, the upper Cholesky factor of the inverse covariance.
        symbols: codebook, rates and classes.
    """
    k = weight.shape[2]
    left = weight.copy()
    codes = np.empty(weight.shape, np.int32)
    for start in range(0, k, _BLOCK):
        stop = min(start + _BLOCK, k)
        errors = np.empty((*weight.shape[:2], stop - start))
        for j in range(start, stop):
            pivot = upper[:, j, j]
            chosen = _choose(left[:, :, j], 1 / pivot**2, symbols, j)
            codes[:, :, j] = chosen
            error = (left[:, :, j] - symbols.codebook[chosen]) / pivot[:, None]
            errors[:, :, j - start] = error
            left[:, :, j + 1 : stop] -= error[..., None] * upper[:, None, j, j + 1 : stop]
        left[:, :, stop:] -= errors @ upper[:, start:stop, stop:]
    return codes


def sweep_again(weight: Float64, covariance: Float64, symbols: SymbolRates, codes: Int32) -> Int32:
    """Chooses each column again with all others as they are.

    Args:
        weight: `[num_groups, num_rows, k]`.
        covariance: `[num_groups, k, k]`, the diagonal above 0.
        symbols: codebook, rates and classes.
        codes: int32 in the shape of the weight.
    """
    k = weight.shape[2]
    codes = codes.copy()
    error = symbols.codebook[codes] - weight
    for start in range(0, k, _BLOCK):
        stop = min(start + _BLOCK, k)
        square = covariance[:, start:stop, start:stop]
        gradient = error @ covariance[:, :, start:stop]
        for j in range(start, stop):
            curvature = covariance[:, j, j]
            old = symbols.codebook[codes[:, :, j]]
            best = old - gradient[:, :, j - start] / curvature[:, None]
            chosen = _choose(best, curvature, symbols, j)
            change = symbols.codebook[chosen] - old
            codes[:, :, j] = chosen
            error[:, :, j] += change
            gradient += change[..., None] * square[:, None, j - start]
    return codes


def count_symbols(
    codes: Int32, classes: Int64, num_classes: int, num_symbols: int, *, axis: int
) -> Float64:
    """Symbols counted by line and class, as by `wl_onnx.kernels.compensation.count_symbols`.

    Args:
        codes: int32 `[num_rows, num_columns]`.
        classes: of the columns for axis 1, of the rows for axis 0.
        num_classes: above all classes.
        num_symbols: above all codes.
        axis: along which is counted.
    """
    lines = codes if axis else codes.T
    members = np.zeros((lines.shape[1], num_classes), np.float32)
    members[np.arange(len(classes)), classes] = 1
    # One symbol at a time: all of them at once are many times the matrix.
    counted = [(lines == symbol).astype(np.float32) @ members for symbol in range(num_symbols)]
    return np.stack(counted, axis=-1).astype(np.float64)


def classify_lines(counts: Float64, classes: Int64, num_classes: int, *, rounds: int) -> Int64:
    """Classes of lines, as by `wl_onnx.kernels.compensation.classify_lines`.

    Args:
        counts: float64 `[line, context, symbol]`.
        classes: int64 `[line]`, what to begin with.
        num_classes: number of classes.
        rounds: how often lines go to the cheapest class.
    """
    flat = counts.reshape(len(counts), -1)
    for _ in range(rounds):
        sums = np.zeros((num_classes, *counts.shape[1:]))
        np.add.at(sums, classes, counts)
        smooth = sums + 0.5 / counts.shape[2]
        bits = -np.log2(smooth / smooth.sum(axis=-1, keepdims=True))
        classes = np.argmin(flat @ bits.reshape(num_classes, -1).T, axis=1)
    return classes


def codebook_products(
    codes: Int32, row_weights: Float64, covariance: Float64, num_symbols: int
) -> Float64:
    """The normal equations, as by `wl_onnx.kernels.compensation.codebook_products`.

    Args:
        codes: int32 `[num_groups, num_rows, k]`, negative for weights that are left out.
        row_weights: float64 `[num_groups * num_rows]`.
        covariance: float64 `[num_groups, k, k]`.
        num_symbols: above all codes.
    """
    scale = row_weights.reshape(codes.shape[:2])[..., None]
    products = np.zeros((num_symbols, num_symbols))
    for first in range(num_symbols):
        product = (codes == first).astype(np.float64) @ covariance * scale
        for second in range(num_symbols):
            products[first, second] = product[codes == second].sum()
    return products


def _choose(values: Float64, curvature: Float64, symbols: SymbolRates, column: int) -> Int32:
    """Symbols for one column.

    Args:
        values: where the error would be 0 `[num_groups, num_rows]`.
        curvature: damage of a squared error `[num_groups]`.
        symbols: codebook, rates and classes.
        column: which one.
    """
    rates = symbols.rates[symbols.row_classes, symbols.column_classes[column]]
    weights = curvature[:, None] * symbols.row_weights.reshape(values.shape)
    costs = (values[..., None] - symbols.codebook) ** 2
    costs *= weights[..., None]
    costs += rates.reshape(*values.shape, -1)
    chosen: Int32 = np.argmin(costs, axis=-1).astype(np.int32)
    return chosen
