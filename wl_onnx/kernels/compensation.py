"""The sequential parts of quantising a layer, by the compiled core.

Matrices are `[num_groups, num_rows, num_columns]`, C-contiguous; nothing here depends on the number
of threads. `wl_onnx.kernels.reference_compensation` says the same in NumPy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError
from wl_onnx.kernels.native import core, resolve_threads

__all__ = [
    "SymbolRates",
    "classify_lines",
    "codebook_products",
    "count_symbols",
    "decide_block",
    "decide_block_again",
]

Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class SymbolRates:
    """What a weight may become, and what each choice costs beside its error.

    Attributes:
        codebook: float64 `[num_symbols]`, strictly ascending.
        rates: float64 `[row class, column class, symbol]`, in units of the damage; finite.
        row_classes: int64 `[num_groups * num_rows]`.
        column_classes: int64 `[num_columns]`, in the order in which columns are decided.
        row_weights: what the squared error of a row counts, float64 `[num_groups * num_rows]`.
    """

    codebook: Float64
    rates: Float64
    row_classes: Int64
    column_classes: Int64
    row_weights: Float64


def decide_block(
    left: Float64,
    upper: Float64,
    first: int,
    symbols: SymbolRates,
    codes: Int32,
    errors: Float64,
    *,
    threads: int = 1,
) -> None:
    """Decides the columns of a block in order, the error of each pushed into the later ones.

    A weight takes the symbol of the least squared error times row weight / pivot**2 plus rate, the
    first where several cost the same.

    Args:
        left: where the error of each weight would be 0, `[num_groups, num_rows, width]`; used up.
        upper: `[num_groups, width, width]`, the block's part of the upper Cholesky factor of the
            inverse covariance, with the pivots on its diagonal.
        first: the block's first column.
        symbols: see there.
        codes: int32 `[num_groups, num_rows, num_columns]`; the block's columns are written.
        errors: likewise, float64; the errors over the pivots.
        threads: threads to use; 0 means one for each core.
    """
    _decide(core().decide_block, left, upper, first, symbols, codes, errors, threads)


def decide_block_again(
    gradient: Float64,
    square: Float64,
    first: int,
    symbols: SymbolRates,
    codes: Int32,
    errors: Float64,
    *,
    threads: int = 1,
) -> None:
    """Chooses the columns of a block again in order, each weight with all others as they are.

    Args:
        gradient: error times covariance, `[num_groups, num_rows, width]`; used up.
        square: `[num_groups, width, width]`, the block's part of the covariance, its diagonal above
            0.
        first: the block's first column.
        symbols: see there.
        codes: int32 `[num_groups, num_rows, num_columns]`; the block's columns are chosen again.
        errors: likewise, float64: value less weight, kept in step with the codes.
        threads: threads to use; 0 means one for each core.
    """
    _decide(core().decide_block_again, gradient, square, first, symbols, codes, errors, threads)


def count_symbols(
    codes: Int32,
    classes: Int64,
    num_classes: int,
    num_symbols: int,
    *,
    axis: int,
    threads: int = 1,
) -> Float64:
    """Symbols counted by the other axis's lines and by classes of the lines along this axis.

    Args:
        codes: int32 `[num_rows, num_columns]`, 0 to num_symbols - 1.
        classes: int64, of the columns for axis 1, of the rows for axis 0.
        num_classes: above all classes.
        num_symbols: number of symbols.
        axis: along which is counted.
        threads: threads to use; 0 means one for each core.

    Returns:
        float64 `[line, class, symbol]`; lines are columns for axis 0, rows for axis 1.

    Raises:
        InputError: a code is out of range.

    Example:
        >>> codes = np.array([[0, 1, 1]], np.int32)
        >>> count_symbols(codes, np.array([0, 0, 1]), 2, 2, axis=1).tolist()
        [[[1.0, 1.0], [0.0, 1.0]]]
    """
    counts = np.zeros((codes.shape[1 - axis], num_classes, num_symbols))
    try:
        core().count_symbols(codes, classes, axis == 1, resolve_threads(threads), counts)
    except ValueError as error:
        raise InputError(f"cannot count symbols: {error}") from error
    return counts


def classify_lines(
    counts: Float64, classes: Int64, num_classes: int, *, rounds: int, threads: int = 1
) -> Int64:
    """Lloyd's rounds for classes of lines by the bits that their symbols cost.

    The bits of a class follow from the shares of its symbols in each context, where half a count is
    spread over the symbols; then each line goes to the class in which it costs the fewest bits, the
    first of several.

    Args:
        counts: float64 `[line, context, symbol]`, whole numbers.
        classes: int64 `[line]`, 0 to num_classes - 1; what to begin with.
        num_classes: number of classes; one may lose all of its lines.
        rounds: how often lines go to the cheapest class.
        threads: threads to use; 0 means one for each core.

    Returns:
        int64 `[line]`.
    """
    found = classes.copy()
    core().classify_lines(counts, num_classes, rounds, resolve_threads(threads), found)
    return found


def codebook_products(
    codes: Int32, row_weights: Float64, covariance: Float64, num_symbols: int, *, threads: int = 1
) -> Float64:
    """The normal equations of a codebook: products of the outputs that its symbols make.

    Args:
        codes: int32 `[num_groups, num_rows, k]`, below num_symbols; negative for weights that are
            left out.
        row_weights: float64 `[num_groups * num_rows]`.
        covariance: float64 `[num_groups, k, k]`, symmetric.
        num_symbols: number of symbols.
        threads: threads to use; 0 means one for each core.

    Returns:
        float64 `[num_symbols, num_symbols]`, symmetric but for rounding: for symbols s and t, the
        sum of row weight * covariance[a, b] over rows and columns a with s, b with t.

    Raises:
        InputError: a code is out of range.
    """
    products = np.empty((num_symbols, num_symbols))
    try:
        core().codebook_products(codes, row_weights, covariance, resolve_threads(threads), products)
    except ValueError as error:
        raise InputError(f"cannot fit a codebook: {error}") from error
    return products


def _decide(
    decide: Callable[..., None],
    targets: Float64,
    square: Float64,
    first: int,
    symbols: SymbolRates,
    codes: Int32,
    errors: Float64,
    threads: int,
) -> None:
    decide(
        targets,
        square,
        first,
        symbols.codebook,
        symbols.rates,
        symbols.row_classes,
        symbols.column_classes,
        symbols.row_weights,
        resolve_threads(threads),
        codes,
        errors,
    )
