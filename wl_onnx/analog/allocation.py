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

__all__ = ["MAX_CELLS", "LineExponents", "allocate_lines", "spread_lines"]

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

MAX_CELLS = 64
"""Most cells of a weight."""

_MAX_EXPONENT = 15
_MIDDLE = 16
# At the first each weight has one cell, at the last each of at least 2^-30 of the mean cost has 64.
_LEVELS = (-64.0, 64.0)
_BISECTIONS = 40


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


def allocate_lines(costs: Float64, kept: npt.NDArray[np.bool_], budget: float) -> LineExponents:
    """Exponents of rows and columns for about the least loss in a budget.

    Args:
        costs: the loss that the noise of one cell causes, `[num_rows, num_columns]`.
        kept: which weights are stored, in the same shape.
        budget: most cells of all stored weights together.

    Raises:
        InputError: the budget is below one cell a weight that is stored.
    """
    num_kept = int(kept.sum())
    if budget < num_kept:
        raise InputError(
            f"cannot allocate cells: the budget must be at least {num_kept}, one for each weight "
            f"that is stored, got {budget:.6g}"
        )
    own = np.where(kept, costs, 0.0)
    if own.sum() <= 0:
        own = kept.astype(np.float64)
    # The product with the same means along both axes, of the weights that are stored.
    mean = own.sum() / max(1, num_kept) or 1.0
    shares = [own.sum(axis=axis) / (np.maximum(1, kept.sum(axis=axis)) * mean) for axis in (1, 0)]
    # The level rises in small steps where it is rounded in many lines, each at a level of its own.
    longer = int(len(shares[1]) > len(shares[0]))

    def form(level: float, num_raised: int = 0) -> LineExponents:
        """Exponents for a water level, log2(1 / mu) for a weight of mean cost."""
        half = np.rint(level / 2)
        logs = [_find_logs(share, half) for share in shares]
        logs[longer] = _find_logs(shares[longer], level - half)
        exponents = [np.rint(one) for one in logs]
        nearest = np.argsort(exponents[longer] - logs[longer], kind="stable")
        exponents[longer][nearest[:num_raised]] += 1
        rows, columns = (np.clip(one, 0, _MAX_EXPONENT).astype(np.uint8) for one in exponents)
        return LineExponents(rows, columns)

    def fits(lines: LineExponents) -> bool:
        return bool(spread_lines(lines)[kept].sum() <= budget)

    level = _bisect(lambda middle: fits(form(middle)), *_LEVELS)
    # Lines that are rounded at the same level rise together or not at all: some of them still fit.
    raised = _bisect(lambda middle: fits(form(level, int(middle))), 0, len(shares[longer]))
    return form(level, int(raised))


def _find_logs(shares: Float64, level: float) -> Float64:
    with np.errstate(divide="ignore"):
        logs: Float64 = np.clip(np.log2(shares) + level + _MIDDLE / 2, -1e3, 1e3)
    return logs


def _bisect(holds: Callable[[float], bool], low: float, high: float) -> float:
    """About the highest number for which something holds, which holds at low."""
    if holds(high):
        return high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
