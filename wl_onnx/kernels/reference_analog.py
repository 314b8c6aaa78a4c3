"""A read of analog cells in NumPy: codecs/FORMAT.md in code, what the core is held to.

All in float64 where the core has float32, so that weights agree but for rounding. Nothing but
tests calls it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wl_onnx.kernels import reference_noise

if TYPE_CHECKING:
    from wl_onnx.kernels.reference_cells import Cells

__all__ = ["decode", "mean_response", "program", "read"]

Float64 = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

INTERVALS = 128
MEAN_KNOTS = 257
REFERENCE_CELLS = 16384


def decode(cells: Cells) -> Float64:
    """The weights as they were meant, float64 [n]."""
    targets = cells.levels / (2**cells.write_bits - 1)
    positions = np.array([_invert_curve(cells.curve, row) for row in targets])
    return _to_weights(cells, positions)


def read(
    cells: Cells,
    *,
    read_seed: int,
    write_seed: int | None = None,
    time_s: float | None = None,
) -> Float64:
    """One read, float64 [n].

    Args:
        cells: of `reference_cells.parse`.
        read_seed: 0 to 2**64 - 1.
        write_seed: None: the blob's.
        time_s: seconds since programming; None: the blob's.
    """
    seed = cells.write_seed if write_seed is None else write_seed
    time = cells.time_s if time_s is None else time_s
    signs, weights = _order(cells)
    conductances, deviations = program(cells, write_seed=seed, time_s=time)
    reads = reference_noise.read_cells(read_seed, 2, cells.tensor, conductances, deviations, 0)
    means = np.zeros((cells.signs, cells.num_weights))
    np.add.at(means, (signs, weights), reads)
    means /= np.maximum(cells.cells, 1)
    device = reference_noise.parse_device(cells.record)
    log_time, gain = _estimate_drift(cells, device, seed, time)
    positions = np.zeros_like(means)
    for curve in np.unique(cells.curve):
        chosen = cells.curve == curve
        position = _position(cells, device, log_time, gain, float(curve))
        positions[:, chosen] = position(means[:, chosen])
    return _to_weights(cells, positions)


def program(cells: Cells, *, write_seed: int, time_s: float) -> tuple[Float64, Float64]:
    """Conductances and read deviations of all cells in their order, uS, float64 [cells] each.

    Args:
        cells: of `reference_cells.parse`.
        write_seed: 0 to 2**64 - 1.
        time_s: seconds since programming.
    """
    return reference_noise.program_cells(
        reference_noise.parse_device(cells.record),
        cells.write_bits,
        cells.levels[_order(cells)].astype(np.uint16),
        write_seed=write_seed,
        tensor=cells.tensor,
        time_s=time_s,
    )


def mean_response(device: reference_noise.Device, x: float, log_time: float) -> float:
    """The expectation of a cell's conductance without the read noise, uS.

    Args:
        device: of `reference_noise.parse_device`.
        x: the cell's target, 0 to 1.
        log_time: ln((time + t0) / t0).
    """
    if device.table is not None:
        mean, deviation = (float(np.interp(x, device.table[0], row)) for row in device.table[1:3])
        return _clipped_mean(mean, deviation)
    p0, p1, p2 = device.programming
    programmed = _clipped_mean(device.g_max * x, max(0.0, p0 + p1 * x + p2 * x * x))
    mu, spread = (
        min(max(slope * math.log(max(x, 1e-7)) + intercept, low), high)
        for slope, intercept, low, high in (device.drift_mean, device.drift_deviation)
    )
    if spread == 0:
        return programmed * math.exp(-abs(mu) * log_time)
    share = sum(
        math.exp(sign * mu * log_time + (spread * log_time) ** 2 / 2)
        * _cumulative(-sign * mu / spread - spread * log_time)
        for sign in (-1, 1)
    )
    return programmed * share


def _order(cells: Cells) -> tuple[Integers, Integers]:
    """Sign and weight of each cell: planes of the first sign, then those of the second."""
    planes = [np.flatnonzero(cells.cells > plane) for plane in range(64)]
    weights = np.concatenate(planes * cells.signs)
    per_sign = sum(len(plane) for plane in planes)
    return np.repeat(np.arange(cells.signs), per_sign), weights


def _to_weights(cells: Cells, positions: Float64) -> Float64:
    position = positions[0] - positions[1] if cells.signs == 2 else positions[0]
    position = np.where(cells.cells > 0, position, 0)
    weights: Float64 = cells.factors * (cells.low + (cells.high - cells.low) * position)
    return weights


def _estimate_drift(
    cells: Cells, device: reference_noise.Device, write_seed: int, time_s: float
) -> tuple[float, float]:
    """The log time at which the response is inverted, and the gain without the inverse."""
    has_drift = any(device.drift_mean) or any(device.drift_deviation)
    if not cells.compensates_drift or not has_drift or not cells.cells.any():
        return 0.0, 1.0
    sums = []
    for stream, time in ((3, time_s), (4, 0.0)):
        conductances, deviations = program(cells, write_seed=write_seed, time_s=time)
        reads = reference_noise.read_cells(
            write_seed, stream, cells.tensor, conductances[:REFERENCE_CELLS],
            deviations[:REFERENCE_CELLS], 0,
        )  # fmt: skip
        sums.append(reads.sum())
    gain = min(max(sums[0] / sums[1], 1e-6), 1e6) if sums[1] > 0 else 1.0
    if not cells.inverts_response:
        return 0.0, gain
    x = cells.reference_level

    def is_too_early(log_time: float) -> bool:
        before = mean_response(device, x, 0)
        return mean_response(device, x, log_time) > gain * before

    if gain >= 1:
        return 0.0, gain
    low, high = 0.0, 1.0
    while is_too_early(high) and high < 4096:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if is_too_early(middle) else (low, middle)
    return high, gain


def _position(
    cells: Cells, device: reference_noise.Device, log_time: float, gain: float, curve: float
) -> Callable[[Float64], Float64]:
    """The position that a conductance stands for: straight between knots, and behind the last."""
    knots = np.linspace(0, 1.5 * mean_response(device, 1.0, 0), INTERVALS + 1)
    if cells.inverts_response:
        targets = np.linspace(0, 1, MEAN_KNOTS)
        means = np.array([mean_response(device, x, log_time) for x in targets])
        before = np.maximum.accumulate(np.append(-np.inf, means[:-1]))
        rising = (means > before * (1 + 1e-9)) | (np.arange(MEAN_KNOTS) == 0)
        x = _interpolate(knots, means[rising], targets[rising])
    else:
        x = knots / device.g_max / gain
    positions = _invert_curve(np.full(x.shape, curve), x)
    return lambda conductances: _interpolate(conductances, knots, positions)


def _interpolate(x: Float64, knots: Float64, values: Float64) -> Float64:
    """Linear through rising knots, straight on at both ends."""
    place = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)
    slope = np.diff(values) / np.diff(knots)
    result: Float64 = values[place] + slope[place] * (x - knots[place])
    return result


def _invert_curve(curves: Float64, x: Float64) -> Float64:
    """The inverse of x = (exp(beta u) - 1) / (exp(beta) - 1), straight on outside of 0 to 1."""
    positions = np.array(x, np.float64)
    for index in np.flatnonzero(abs(curves) >= 1e-6):
        beta, value = float(curves[index]), float(x[index])
        rise = math.exp(beta) - 1
        inside = min(max(value, 0.0), 1.0)
        slope = rise / beta / (1 + inside * rise)  # of the inverse, at the nearer end
        positions[index] = math.log(1 + inside * rise) / beta + slope * (value - inside)
    return positions


def _clipped_mean(mean: float, deviation: float) -> float:
    """The mean of a normal variable of which negative values count as 0."""
    if deviation == 0:
        return mean
    density = math.exp(-((mean / deviation) ** 2) / 2) / math.sqrt(2 * math.pi)
    return mean * _cumulative(mean / deviation) + deviation * density


def _cumulative(z: float) -> float:
    return math.erfc(-z / math.sqrt(2)) / 2
