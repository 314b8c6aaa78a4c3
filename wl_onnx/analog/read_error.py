"""What a read does to a weight on average: its bias and its deviation, by place in its range."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wl_onnx.analog.curve import apply_curve, invert_curve

if TYPE_CHECKING:
    from wl_onnx.analog.device import Device

__all__ = ["ReadError", "find_reference_level", "predict_read"]

Float64 = npt.NDArray[np.float64]

_NUM_KNOTS = 257


@dataclasses.dataclass(frozen=True)
class ReadError:
    """Mean error and deviation of a position that is read back, both as a share of its range.

    Attributes:
        positions: where they are known, ascending from 0 to 1, float64 [n].
        bias: what is read on average less what was stored.
        deviation: of a read by one cell.
    """

    positions: Float64
    bias: Float64
    deviation: Float64

    def energy(self, positions: Float64, cells: npt.ArrayLike = 1) -> Float64:
        """The mean squared error of positions that are averaged over cells.

        Args:
            positions: 0..1, any shape.
            cells: how many cells each has, broadcast against the positions.
        """
        noise = np.interp(positions, self.positions, self.deviation**2)
        bias = np.interp(positions, self.positions, self.bias)
        energy: Float64 = noise / np.asarray(cells, np.float64) + bias**2
        return energy


def predict_read(
    device: Device,
    time_s: float,
    *,
    curve: float,
    inverts_response: bool = True,
    compensates_drift: bool = True,
    reference_level: float = 0.5,
) -> ReadError:
    """The error of a read, to first order in the noise.

    Args:
        device: the cells.
        time_s: time since programming.
        curve: how positions are laid on targets, see `apply_curve`.
        inverts_response: whether reads go back through the device's mean response.
        compensates_drift: whether a reference read tells how far the cells have drifted.
        reference_level: the target that the reference read stands for.
    """
    targets = np.linspace(0.0, 1.0, _NUM_KNOTS)
    mean, deviation = device.moments(targets, time_s)
    if inverts_response:
        response = device.mean_response(targets, time_s if compensates_drift else 0.0)
        read = _invert(response, targets, mean if not compensates_drift else response)
        slope = np.gradient(response, targets)
    else:
        scale = device.g_max_usiemens
        if compensates_drift:
            reference = np.array([reference_level])
            now = device.mean_response(reference, time_s)[0]
            scale *= now / device.mean_response(reference, 0.0)[0]
        read, slope = mean / scale, np.full(_NUM_KNOTS, scale)
    noise = deviation / np.maximum(slope, 1e-6 * device.g_max_usiemens)
    positions = np.linspace(0.0, 1.0, _NUM_KNOTS)
    stored = apply_curve(positions, curve)
    # A step of the target moves the position by so much.
    steepness = np.gradient(invert_curve(targets, curve), targets)
    bias = invert_curve(np.interp(stored, targets, read), curve) - positions
    spread = np.interp(stored, targets, noise * steepness)
    return ReadError(positions, bias, spread)


def find_reference_level(device: Device, targets: npt.ArrayLike, time_s: float) -> float:
    """The target whose mean response falls by the same factor as the sum over cells.

    Args:
        device: the cells.
        targets: of the cells that are read for reference, shares of the range.
        time_s: the time at which the two are the same.

    Returns:
        A share of the range, one of 257; 0.5 where the device does not drift.
    """
    if not device.has_drift:
        return 0.5
    levels = np.linspace(0.0, 1.0, _NUM_KNOTS)
    now, before = device.mean_response(levels, time_s), device.mean_response(levels, 0.0)
    chosen = np.asarray(targets, np.float64).reshape(-1)
    total = np.interp(chosen, levels, now).sum() / np.interp(chosen, levels, before).sum()
    return float(levels[np.abs(now / before - total).argmin()])


def _invert(response: Float64, targets: Float64, values: Float64) -> Float64:
    """The targets of mean responses, extended at both ends as reads are."""
    inner = np.interp(values, response, targets)
    low = (values - response[0]) * (targets[1] / (response[1] - response[0]))
    high = 1 + (values - response[-1]) * (targets[1] / (response[-1] - response[-2]))
    result: Float64 = np.where(
        values < response[0], low, np.where(values > response[-1], high, inner)
    )
    return result
