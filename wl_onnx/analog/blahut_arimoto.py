"""The capacity of a discrete channel by the algorithm of Blahut and Arimoto."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError

if TYPE_CHECKING:
    from wl_onnx.analog.normal import Array

__all__ = ["ChannelCapacity", "blahut_arimoto"]

_SUM_TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class ChannelCapacity:
    """What a channel carries.

    Attributes:
        bits: information a use at the inputs found, a lower bound of the capacity.
        gap_bits: how much more the capacity can be at most.
        inputs: probability of each input, float64 [num_inputs].
        mean_cost: of the inputs; 0 where no costs were given.
        num_iterations: until the gap was small enough, or there were no more.
    """

    bits: float
    gap_bits: float
    inputs: Array
    mean_cost: float
    num_iterations: int


def blahut_arimoto(
    channel: npt.ArrayLike,
    *,
    costs: npt.ArrayLike | None = None,
    multiplier: float = 0.0,
    tolerance_bits: float = 1e-3,
    max_iterations: int = 20_000,
) -> ChannelCapacity:
    """The capacity of a discrete memoryless channel, or the most information less a cost.

    Ends when the upper bound max_x D(W_x || q) (less the cost of x) is within the tolerance of the
    information reached, q the outputs' distribution.

    Source: Blahut, "Computation of channel capacity and rate-distortion functions", IEEE Trans.
    Information Theory 18, 1972, theorems 1 to 3; Arimoto, ibid., 1972.

    Args:
        channel: P(output | input), rows sum to 1, [num_inputs, num_outputs].
        costs: of each input, [num_inputs]; for a constraint on the mean cost.
        multiplier: bits that a unit of cost is worth; 0 leaves costs out.
        tolerance_bits: the largest gap, positive.
        max_iterations: at least 1; the result says how large the gap is then.

    Raises:
        InputError: rows that are no distributions, or costs of another length.

    Example:
        >>> round(blahut_arimoto([[0.89, 0.11], [0.11, 0.89]]).bits, 3)
        0.5
    """
    rows = np.asarray(channel, np.float64)
    if rows.ndim != 2 or not rows.size or not (rows >= 0).all():
        raise InputError(
            "cannot compute a capacity: the channel must be probabilities [inputs, outputs], got "
            f"an array of shape {list(rows.shape)}"
        )
    worst = float(np.abs(rows.sum(axis=1) - 1).max())
    if not worst <= _SUM_TOLERANCE:
        raise InputError(
            f"cannot compute a capacity: rows must sum to 1, got one that is off by {worst:g}"
        )
    prices = np.zeros(len(rows)) if costs is None else np.asarray(costs, np.float64)
    if prices.shape != (len(rows),) or not np.isfinite(prices).all():
        raise InputError(
            f"cannot compute a capacity: costs must be {len(rows)} finite numbers, got an array "
            f"of shape {list(prices.shape)}"
        )
    rows = rows[:, rows.any(axis=0)]
    negative_entropy = (rows * np.log2(rows, out=np.zeros_like(rows), where=rows > 0)).sum(axis=1)
    inputs = np.full(len(rows), 1 / len(rows))
    for iteration in range(1, max_iterations + 1):
        outputs = np.maximum(inputs @ rows, np.finfo(np.float64).tiny)
        divergence = negative_entropy - rows @ np.log2(outputs)
        merit = divergence - multiplier * prices
        reached = float(inputs @ merit)
        gap = float(merit.max()) - reached
        if gap <= tolerance_bits or iteration == max_iterations:
            break
        inputs = inputs * np.exp2(merit - merit.max())
        inputs /= inputs.sum()
    return ChannelCapacity(
        bits=max(0.0, float(inputs @ divergence)),
        gap_bits=max(0.0, gap) if math.isfinite(gap) else math.inf,
        inputs=inputs,
        mean_cost=float(inputs @ prices),
        num_iterations=iteration,
    )
