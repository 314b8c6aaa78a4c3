"""How many cells each weight gets: reverse water-filling over the loss that its noise causes.

The mean of n cells has 1/n of the noise's energy. For a budget of cells, the loss sum of c / n is
least where n is proportional to sqrt(c): n = sqrt(c / mu), with the multiplier mu, the loss that a
cell may cost, found by bisection.

Readers must know n. It is not stored for each weight but follows from an exponent for each row and
one for each column, c being nearly a product: sensitivity of an output times energy of an input.

Source: Cover and Thomas, "Elements of information theory", 2006, section 10.3.3, for reverse
water-filling; Shoham and Gersho, 1988, for the one multiplier.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError

__all__ = ["MAX_CELLS", "LineExponents", "allocate_cells", "allocate_lines", "spread_lines"]

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

MAX_CELLS = 64
"""Most cells of a weight."""

_MAX_EXPONENT = 15
_MIDDLE = 16
_BISECTIONS = 60


@dataclasses.dataclass(frozen=True)
class LineExponents:
    """Exponents of the rows and of the columns of a tensor `[shape[0], rest]`.

    Attributes:
        rows: uint8 [num_rows], 0 to 15.
        columns: uint8 [num_columns], 0 to 15.
    """

    rows: npt.NDArray[np.uint8]
    columns: npt.NDArray[np.uint8]


def spread_lines(lines: LineExponents) -> Int64:
    """The cells of each weight, `[num_rows, num_columns]`: round(2^((row + column - 16) / 2)).

    Halves are rounded up; at least 1, at most 64.
    """
    sums = np.arange(2 * _MAX_EXPONENT + 1)
    cells = np.floor(2.0 ** ((sums - _MIDDLE) / 2) + 0.5)
    table = np.clip(cells, 1, MAX_CELLS).astype(np.int64)
    spread: Int64 = table[lines.rows[:, None].astype(np.int64) + lines.columns[None, :]]
    return spread


def allocate_cells(costs: Float64, budget: float) -> Int64:
    """Cells of each weight for the least loss in a budget.

    Args:
        costs: the loss that the noise of one cell causes at each weight, not negative, any shape.
        budget: most cells of all weights together; at least one for each.

    Returns:
        Cells in the shape of the costs, 1 to 64.

    Raises:
        InputError: the budget is below one cell a weight.
    """
    roots = np.sqrt(costs)
    return _fill(
        lambda level: np.clip(np.rint(roots * level), 1, MAX_CELLS).astype(np.int64), roots, budget
    )


def allocate_lines(costs: Float64, kept: npt.NDArray[np.bool_], budget: float) -> LineExponents:
    """Exponents of rows and columns for about the least loss in a budget.

    Args:
        costs: the loss that the noise of one cell causes, `[num_rows, num_columns]`.
        kept: which weights are stored, in the same shape.
        budget: most cells of all stored weights together.

    Raises:
        InputError: the budget is below one cell a weight that is stored.
    """
    own = np.where(kept, costs, 0.0)
    total = own.sum()
    if total <= 0 or not kept.any():
        own, total = np.where(kept, 1.0, 0.0), float(max(1, kept.sum()))
    # The product with the same sums along both axes, for each stored weight.
    row_means = own.sum(axis=1) / np.maximum(1, kept.sum(axis=1))
    column_means = own.sum(axis=0) / np.maximum(1, kept.sum(axis=0))
    mean = total / kept.sum()
    columns = _to_exponents(column_means / mean, 1.0)
    scaled = row_means / mean

    def spread(level: float) -> Int64:
        lines = LineExponents(_to_exponents(scaled, level**2), columns)
        cells: Int64 = spread_lines(lines)[kept]
        return cells

    _, level = _bisect(spread, np.sqrt(own[kept]), budget)
    return LineExponents(_to_exponents(scaled, level**2), columns)


def _to_exponents(shares: Float64, factor: float) -> npt.NDArray[np.uint8]:
    with np.errstate(divide="ignore"):
        logs = np.log2(shares) + np.log2(factor) + _MIDDLE / 2
    exponents: npt.NDArray[np.uint8] = np.clip(np.rint(logs), 0, _MAX_EXPONENT).astype(np.uint8)
    return exponents


def _fill(spread: Callable[[float], Int64], roots: Float64, budget: float) -> Int64:
    return _bisect(spread, roots, budget)[0]


def _bisect(spread: Callable[[float], Int64], roots: Float64, budget: float) -> tuple[Int64, float]:
    """The highest water level, sqrt(1 / mu), whose cells fit in the budget."""
    least = roots.size
    if budget < least:
        raise InputError(
            f"cannot allocate cells: the budget must be at least {least}, one for each weight that "
            f"is stored, got {budget:.6g}"
        )
    low, high = 1e-12, 1.0
    scale = 1.0 / max(float(roots.max(initial=0.0)), 1e-300)
    while int(spread(high * scale).sum()) <= budget and high < MAX_CELLS * 1e12:
        low, high = high, 2 * high
    for _ in range(_BISECTIONS):
        middle = (low * high) ** 0.5
        if int(spread(middle * scale).sum()) <= budget:
            low = middle
        else:
            high = middle
    return spread(low * scale), low * scale
