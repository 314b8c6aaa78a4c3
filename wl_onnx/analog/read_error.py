"""What a read does to a weight on average: its bias and its deviation, by place in its range."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wl_onnx.analog.curve import apply_curve, invert_curve
from wl_onnx.analog.normal import normal_cdf, normal_density, normal_nodes

if TYPE_CHECKING:
    from wl_onnx.analog.device import Device

__all__ = ["ReadError", "ReadPredictor", "find_reference_level"]

Float64 = npt.NDArray[np.float64]

_NUM_KNOTS = 257
_NUM_NODES = 129


@dataclasses.dataclass(frozen=True)
class ReadError:
    """Mean error and deviation of a position that is read back, all as shares of its range.

    Attributes:
        positions: where they are known, ascending from 0 to 1, float64 [n].
        bias: what is read of the mean of many cells, less what was stored.
        bend: what the mean of reads by one cell adds to it, for the way back from conductances to
            positions is no straight line. Of the mean of n cells about 1 / n of it is left.
        deviation: of a read by one cell.
    """

    positions: Float64
    bias: Float64
    bend: Float64
    deviation: Float64

    def energy(self, positions: Float64, cells: npt.ArrayLike = 1) -> Float64:
        """The mean squared error of positions that are averaged over cells.

        Args:
            positions: 0..1, any shape.
            cells: how many cells each has, broadcast against the positions.
        """
        return self._noise(positions, cells) + np.square(self._bias(positions, cells))

    def pair_energy(self, positions: Float64, cells: npt.ArrayLike = 1) -> Float64:
        """The same of pairs: of the difference to cells that hold 0, whose bias it takes away.

        Args:
            positions: magnitudes, 0..1, any shape.
            cells: how many cells of either sign each has, broadcast against the positions.
        """
        zero = np.zeros(1)
        bias = self._bias(positions, cells) - self._bias(zero, cells)
        return self._noise(positions, cells) + self._noise(zero, cells) + np.square(bias)

    def _noise(self, positions: Float64, cells: npt.ArrayLike) -> Float64:
        noise: Float64 = np.interp(positions, self.positions, self.deviation**2)
        return noise / np.asarray(cells, np.float64)

    def _bias(self, positions: Float64, cells: npt.ArrayLike) -> Float64:
        bias: Float64 = np.interp(positions, self.positions, self.bias)
        bend: Float64 = np.interp(positions, self.positions, self.bend)
        return bias + bend / np.asarray(cells, np.float64)


class ReadPredictor:
    """The errors of reads, where conductances are spread as a normal number that is cut at 0.

    Args:
        device: the cells.
        time_s: time since programming.
        inverts_response: whether reads go back through the device's mean response.
        compensates_drift: whether a reference read tells how far the cells have drifted.
        reference_level: the target that the reference read stands for.
    """

    def __init__(
        self,
        device: Device,
        time_s: float,
        *,
        inverts_response: bool = True,
        compensates_drift: bool = True,
        reference_level: float = 0.5,
    ) -> None:
        self._targets = np.linspace(0.0, 1.0, _NUM_KNOTS)
        self._mean, self._deviation = device.moments(self._targets, time_s)
        if inverts_response:
            known_time_s = time_s if compensates_drift else 0.0
            self._response = device.mean_response(self._targets, known_time_s)
            return
        scale = device.g_max_usiemens
        if compensates_drift:
            reference = np.array([reference_level])
            now = device.mean_response(reference, time_s)[0]
            scale *= now / device.mean_response(reference, 0.0)[0]
        self._response = scale * self._targets

    def predict(self, curve: float) -> ReadError:
        """The error of a read.

        Args:
            curve: how positions are laid on targets, see `apply_curve`.
        """
        positions = np.linspace(0.0, 1.0, _NUM_KNOTS)
        stored = apply_curve(positions, curve)
        mean = np.interp(stored, self._targets, self._mean)
        deviation = np.interp(stored, self._targets, self._deviation)
        center, spread = _uncut(mean, deviation)
        nodes, weights = normal_nodes(_NUM_NODES, 6.0)
        cut = np.maximum(0.0, center[:, None] + spread[:, None] * nodes)
        reads = self._find_positions(cut, curve)
        mean_read = reads @ weights
        noise = np.square(reads - mean_read[:, None]) @ weights
        straight = self._find_positions(mean, curve)
        return ReadError(positions, straight - positions, mean_read - straight, np.sqrt(noise))

    def _find_positions(self, conductances: Float64, curve: float) -> Float64:
        return invert_curve(_invert(self._response, self._targets, conductances), curve)


def find_reference_level(device: Device, targets: npt.ArrayLike, time_s: float) -> float:
    """The target whose mean response falls by the same factor as the sum over cells.

    Args:
        device: the cells.
        targets: of the cells that are read for reference, shares of the range.
        time_s: the time at which the two are the same.

    Returns:
        A share of the range, one of 257; 0.5 where there are no cells or the device does not drift.
    """
    chosen = np.asarray(targets, np.float64).reshape(-1)
    if not device.has_drift or not chosen.size:
        return 0.5
    levels = np.linspace(0.0, 1.0, _NUM_KNOTS)
    now, before = device.mean_response(levels, time_s), device.mean_response(levels, 0.0)
    total = np.interp(chosen, levels, now).sum() / np.interp(chosen, levels, before).sum()
    return float(levels[np.abs(now / before - total).argmin()])


def _uncut(mean: Float64, deviation: Float64) -> tuple[Float64, Float64]:
    """Mean and deviation of the normal number that has these once it is cut at 0."""
    levels = np.linspace(-6.0, 8.0, 1401)  # mean over deviation
    above, density = normal_cdf(levels), normal_density(levels)
    means = levels * above + density
    deviations = np.sqrt((levels**2 + 1) * above + levels * density - means**2)
    ratios = mean / np.maximum(deviation, 1e-12 * np.maximum(mean, 1e-12))
    is_cut = ratios < means[-1] / deviations[-1]
    level = np.interp(ratios, means / deviations, levels)
    spread = deviation / np.where(is_cut, np.interp(level, levels, deviations), 1.0)
    return np.where(is_cut, level * spread, mean), spread


def _invert(response: Float64, targets: Float64, values: Float64) -> Float64:
    """The targets of mean responses, extended at both ends as reads are."""
    inner = np.interp(values, response, targets)
    low = (values - response[0]) * (targets[1] / (response[1] - response[0]))
    high = 1 + (values - response[-1]) * (targets[1] / (response[-1] - response[-2]))
    result: Float64 = np.where(
        values < response[0], low, np.where(values > response[-1], high, inner)
    )
    return result
