"""Noisy memory cells in NumPy: the sections on draws and devices of codecs/FORMAT.md in code.

Words agree with the compiled core bit for bit. Everything behind them is in float64 where the core
has float32, so that normals agree within 4 ulp of float32. Nothing but tests calls it.
"""

from __future__ import annotations

import dataclasses
import struct

import numpy as np
import numpy.typing as npt

__all__ = ["Device", "draw_normals", "parse_device", "philox", "program_cells", "read_cells"]

Float64 = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]  # 32-bit numbers; products of two of them fit

_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_KEY_STEPS = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


@dataclasses.dataclass(frozen=True)
class Device:
    """A device of kind 1, or one of kind 2 where `table` is given.

    Attributes:
        g_max: uS.
        programming: p0, p1, p2, uS: deviation p0 + p1 x + p2 x**2, at least 0.
        drift_mean: slope, intercept, low, high of the exponent's mean:
            clip(slope ln(max(x, 1e-7)) + intercept, low, high).
        drift_deviation: likewise.
        t0_s: the time at which the drift law begins.
        read: scale, exponent, floor, cap.
        t_read_s: duration of a read.
        read_deviation: uS.
        table: float64 `[4, n]`: levels, means, deviations and read deviations, or None.
    """

    g_max: float
    programming: tuple[float, ...] = (0.0, 0.0, 0.0)
    drift_mean: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    drift_deviation: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    t0_s: float = 1.0
    read: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    t_read_s: float = 1.0
    read_deviation: float = 0.0
    table: Float64 | None = None


def parse_device(record: bytes) -> Device:
    """A device record that is known to be whole."""
    if record[0] == 2:
        (num_levels,) = struct.unpack_from("<I", record, 1)
        table = np.frombuffer(record, "<f4", offset=5).reshape(4, num_levels).astype(np.float64)
        return Device(g_max=float(table[1].max()), table=table)
    values = struct.unpack("<19f", record[1:])
    return Device(
        values[0], values[1:4], values[4:8], values[8:12], values[12], values[13:17],
        values[17], values[18],
    )  # fmt: skip


def philox(counters: Words, key: tuple[int, int]) -> Words:
    """Philox4x32-10 of Salmon, Moraes, Dror and Shaw (SC 2011).

    Args:
        counters: uint64 `[n, 4]` of 32-bit numbers.
        key: two 32-bit numbers.

    Returns:
        uint64 `[n, 4]` of 32-bit numbers.
    """
    c0, c1, c2, c3 = (counters[:, i].astype(np.uint64) for i in range(4))
    key0, key1 = key
    for _ in range(_ROUNDS):
        product0 = c0 * np.uint64(_MULTIPLIERS[0])
        product1 = c2 * np.uint64(_MULTIPLIERS[1])
        c0 = (product1 >> _SHIFT) ^ c1 ^ np.uint64(key0)
        c1 = product1 & _LOW
        c2 = (product0 >> _SHIFT) ^ c3 ^ np.uint64(key1)
        c3 = product0 & _LOW
        key0 = (key0 + _KEY_STEPS[0]) & 0xFFFFFFFF
        key1 = (key1 + _KEY_STEPS[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1)


def draw_normals(seed: int, stream: int, tensor: int, first: int, count: int) -> Float64:
    """The standard normals of cells first .. first + count - 1, in float64.

    Args:
        seed: 0 to 2**64 - 1.
        stream: 0 to 2**32 - 1.
        tensor: likewise.
        first: number of the first cell.
        count: number of cells.
    """
    cells = np.uint64(first) + np.arange(count, dtype=np.uint64)
    blocks = cells // np.uint64(64) * np.uint64(16) + cells % np.uint64(16)
    part = cells // np.uint64(16) % np.uint64(4)
    counters = np.empty((count, 4), np.uint64)
    counters[:, 0] = blocks & _LOW
    counters[:, 1] = blocks >> _SHIFT
    counters[:, 2] = stream
    counters[:, 3] = tensor
    words = philox(counters, (seed & 0xFFFFFFFF, seed >> 32))
    rows = np.arange(count)
    pair = (part // np.uint64(2) * np.uint64(2)).astype(np.int64)
    radius = _radius(words[rows, pair])
    angle_words = words[rows, pair + 1]
    return radius * np.where(part % np.uint64(2) == 0, *_cosine_and_sine(angle_words))


def program_cells(
    device: Device,
    write_bits: int,
    levels: npt.NDArray[np.uint16],
    *,
    write_seed: int,
    tensor: int,
    time_s: float,
    first: int = 0,
) -> tuple[Float64, Float64]:
    """Conductances of cells some time after programming, and the deviations of their reads, uS.

    Args:
        device: of `parse_device`.
        write_bits: levels are below 2**write_bits.
        levels: uint16 `[n]`.
        write_seed: 0 to 2**64 - 1.
        tensor: number of the tensor.
        time_s: seconds since programming.
        first: number of the first cell.
    """
    x = levels / (2**write_bits - 1)
    z0 = draw_normals(write_seed, 0, tensor, first, levels.size)
    if device.table is not None:
        mean, deviation, read_deviation = (
            np.interp(x, device.table[0], row) for row in device.table[1:]
        )
        return np.maximum(0, mean + deviation * z0), read_deviation
    p0, p1, p2 = device.programming
    programmed = np.maximum(0, device.g_max * x + np.maximum(0, p0 + p1 * x + p2 * x * x) * z0)
    z1 = draw_normals(write_seed, 1, tensor, first, levels.size)
    exponent = abs(
        _clipped_log(device.drift_mean, x) + _clipped_log(device.drift_deviation, x) * z1
    )
    total_s = time_s + device.t0_s
    conductances = programmed * (total_s / device.t0_s) ** -exponent
    scale, power, floor, cap = device.read
    deviations = np.full(x.shape, device.read_deviation)
    ratio = (total_s + device.t_read_s) / (2 * device.t_read_s)
    if scale > 0 and ratio > 1:
        y = np.maximum(programmed / device.g_max, 1e-30)
        share = np.minimum(scale / np.maximum(y**power, floor), cap)
        deviations += conductances * share * np.sqrt(np.log(ratio))
    return conductances, deviations


def read_cells(
    read_seed: int, stream: int, tensor: int, conductances: Float64, deviations: Float64, first: int
) -> Float64:
    """One read, uS.

    Args:
        read_seed: 0 to 2**64 - 1.
        stream: 0 to 2**32 - 1.
        tensor: number of the tensor.
        conductances: float64 `[n]`, uS.
        deviations: likewise.
        first: number of the first cell.
    """
    normals = draw_normals(read_seed, stream, tensor, first, conductances.size)
    return np.maximum(0, conductances + deviations * normals)


def _radius(words: Words) -> Float64:
    uniform = ((words >> np.uint64(1)).astype(np.float32) + np.float32(0.5)) * np.float32(2**-31)
    radius: Float64 = np.sqrt(-2 * np.log(uniform.astype(np.float64)))
    return radius


def _cosine_and_sine(words: Words) -> tuple[Float64, Float64]:
    """Quarter turns apart, so that an angle near one of them keeps its relative accuracy."""
    turned = words + np.uint64(2**29)
    quarters = (turned >> np.uint64(30)) & np.uint64(3)
    rest = (turned & np.uint64(2**30 - 1)).astype(np.float64) - 2**29
    cosine, sine = np.cos(rest * (np.pi / 2 * 2**-30)), np.sin(rest * (np.pi / 2 * 2**-30))
    places = quarters.astype(np.int64)
    return np.choose(places, [cosine, -sine, -cosine, sine]), np.choose(
        places, [sine, cosine, -sine, -cosine]
    )


def _clipped_log(law: tuple[float, ...], x: Float64) -> Float64:
    slope, intercept, low, high = law
    exponent: Float64 = np.clip(slope * np.log(np.maximum(x, 1e-7)) + intercept, low, high)
    return exponent
