"""How many bits a cell of a device holds: its channel, cut into levels and bins."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from wl_onnx.analog.blahut_arimoto import ChannelCapacity, blahut_arimoto
from wl_onnx.errors import InputError

if TYPE_CHECKING:
    from wl_onnx.analog.device import Device
    from wl_onnx.analog.normal import Array

__all__ = ["MAX_CELLS", "cell_capacity", "tabulate_channel"]

MAX_CELLS = 64

_LEVELS_PER_DEVIATION = 1
_BINS_PER_DEVIATION = 5
_LEVELS = (129, 1025)
_BINS = (512, 8192)
_NUM_MOMENTS = 65


def cell_capacity(
    device: Device,
    time_s: float = 0.0,
    *,
    cells: int = 1,
    tolerance_bits: float = 2e-3,
    max_iterations: int = 20_000,
) -> ChannelCapacity:
    """The bits that a cell, or several that are averaged, hold at a time.

    The time is known to whoever reads: scaling the mean drift away is a function of the read and
    changes nothing. What remains is that cells drift differently; `device.without_drift()` gives
    the capacity with a perfect compensation of each cell's own drift, an upper bound. Targets are
    on 129 to 1,025 even levels and reads in 512 to 8,192 bins, finer where the noise is smaller
    (which costs less than 0.002 bits of a preset's capacity), so that a device without noise is
    given 10 bits.

    Args:
        device: whose channel it is.
        time_s: seconds since programming.
        cells: how many hold the same target and are averaged, 1 to 64.
        tolerance_bits: how far the result may lie below the capacity of the levels and bins.
        max_iterations: of Blahut and Arimoto's algorithm.

    Returns:
        Bits of all the cells together, and the targets' distribution over even levels 0..1.

    Raises:
        InputError: a number of cells or a time that cannot be.
    """
    channel = tabulate_channel(device, time_s, cells=cells)
    return blahut_arimoto(channel, tolerance_bits=tolerance_bits, max_iterations=max_iterations)


def tabulate_channel(device: Device, time_s: float = 0.0, *, cells: int = 1) -> Array:
    """P(bin of the mean of several reads | level), float64 [levels, bins].

    The distribution of a single read is the device's own; that of a sum of independent cells
    follows from it by convolution.

    Args:
        device: whose channel it is.
        time_s: seconds since programming.
        cells: how many are averaged, 1 to 64.

    Raises:
        InputError: a number of cells or a time that cannot be.
    """
    if not 1 <= cells <= MAX_CELLS:
        raise InputError(f"cannot compute a capacity: cells must be in 1..{MAX_CELLS}, got {cells}")
    mean, deviation = device.moments(np.linspace(0, 1, _NUM_MOMENTS), time_s)
    top = float((mean + 8 * deviation).max())
    narrowest = max(float(deviation.min()) / top, 1e-9)
    num_levels = _within(_LEVELS_PER_DEVIATION * math.sqrt(cells) / narrowest, _LEVELS)
    num_bins = _within(_BINS_PER_DEVIATION / narrowest, _BINS)
    edges = np.linspace(0, top, num_bins + 1)[1:]
    levels = np.linspace(0, 1, num_levels)
    below = np.clip(device.read_cdf(levels, time_s, edges), 0, 1)
    below[:, -1] = 1
    single = np.maximum(np.diff(below, axis=1, prepend=0), 0)
    single /= single.sum(axis=1, keepdims=True)
    if cells == 1:
        return single
    length = cells * (num_bins - 1) + 1
    summed = np.fft.irfft(np.fft.rfft(single, length) ** cells, length)
    # A mean of n cells is sqrt(n) times finer than one cell.
    width = max(1, math.isqrt(cells))
    padded = np.pad(np.maximum(summed, 0), ((0, 0), (0, -length % width)))
    merged = padded.reshape(num_levels, -1, width).sum(axis=2)
    return np.asarray(merged / merged.sum(axis=1, keepdims=True))


def _within(value: float, bounds: tuple[int, int]) -> int:
    return int(min(max(math.ceil(value), bounds[0]), bounds[1]))
