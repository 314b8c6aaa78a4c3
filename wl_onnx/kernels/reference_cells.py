"""The reader of a blob of analog cells in Python: codecs/FORMAT.md in code.

Clear rather than fast. Nothing but tests calls it.
"""

from __future__ import annotations

import dataclasses
import struct

import numpy as np
import numpy.typing as npt

from wl_onnx.kernels import reference_palette
from wl_onnx.kernels.reference_frame import FRAME, check, parse_frame

__all__ = ["Cells", "parse"]

Float64 = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Cells:
    """A parsed blob, spread out to its weights.

    Attributes:
        num_weights: n.
        write_bits: bits of a level.
        signs: 2 for pairs of cells, else 1.
        inverts_response: whether a read goes through the inverse of the mean response.
        compensates_drift: whether a reference read undoes the mean drift.
        tensor: number of the tensor.
        write_seed: unless another one is given.
        time_s: likewise.
        reference_level: target whose mean drift stands for all.
        record: the device.
        low: float64 [n], the symbol's.
        high: likewise.
        curve: likewise.
        factors: float64 [n], the product of the scales.
        cells: integers [n], cells of one sign.
        levels: integers [signs, n], 0 where there are no cells.
    """

    num_weights: int
    write_bits: int
    signs: int
    inverts_response: bool
    compensates_drift: bool
    tensor: int
    write_seed: int
    time_s: float
    reference_level: float
    record: bytes
    low: Float64
    high: Float64
    curve: Float64
    factors: Float64
    cells: Integers
    levels: Integers


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def take(self, count: int) -> bytes:
        check(count <= len(self._data), "length", len(self._data))
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def unpack(self, layout: str) -> tuple[float, ...]:
        return struct.unpack(f"<{layout}", self.take(struct.calcsize(f"<{layout}")))

    def number(self, layout: str) -> int:
        return int(self.unpack(layout)[0])

    @property
    def left(self) -> int:
        return len(self._data)


def parse(blob: bytes) -> Cells:
    """The fields of a blob that is known to be whole.

    Raises:
        BlobError: the frame is damaged or bytes are missing.
    """
    num_weights, body = parse_frame(blob, codec=4)
    reader = _Bytes(body[FRAME.size :])
    write_bits, num_symbols, flags, reserved = (int(one) for one in reader.unpack("BBBB"))
    check(reserved == 0 and flags < 8, "flags", flags)
    tensor, write_seed = reader.number("I"), reader.number("Q")
    time_s, reference_level = reader.unpack("ff")
    record = reader.take(reader.number("I"))
    (scale,) = reader.unpack("f")
    factors = scale * _read_channels(reader, num_weights)
    symbols = np.array([reader.unpack("eeeB") for _ in range(num_symbols)], np.float64)
    exponents = _read_exponents(reader, num_weights)
    size = reader.number("I")
    labels = np.zeros(num_weights, np.int64)
    if size:
        labels = reference_palette.decode_codes(reader.take(size)).astype(np.int64)
    num_stored = reader.number("Q")
    cells = symbols[labels, 3]
    stored = cells > 0
    check(num_stored == int(stored.sum()), "stored weights", num_stored)
    spread = np.clip(np.floor(cells * 2.0 ** ((exponents - 16) / 2) + 0.5), 1, 64)
    signs = 2 if flags & 1 else 1
    width = "<u1" if write_bits <= 8 else "<u2"
    data = np.frombuffer(reader.take(signs * num_stored * np.dtype(width).itemsize), width)
    check(reader.left == 0, "bytes left over", reader.left)
    levels = np.zeros((signs, num_weights), np.int64)
    levels[:, stored] = data.reshape(signs, num_stored)
    low, high, curve = symbols[labels, :3].T
    return Cells(
        num_weights, write_bits, signs, bool(flags & 2), bool(flags & 4), tensor, write_seed,
        time_s, reference_level, record, low, high, curve, factors,
        np.where(stored, spread, 0).astype(np.int64), levels,
    )  # fmt: skip


def _read_channels(reader: _Bytes, num_weights: int) -> Float64:
    count, inner = reader.number("I"), reader.number("I")
    if count == 0:
        return np.ones(num_weights)
    scales = np.frombuffer(reader.take(2 * count), "<f2").astype(np.float64)
    return scales[np.arange(num_weights) // inner % count]


def _read_exponents(reader: _Bytes, num_weights: int) -> Integers:
    total = np.zeros(num_weights, np.int64)
    if reader.number("B") == 0:
        return total + 16
    for _ in range(2):
        count, inner = reader.number("I"), reader.number("I")
        packed = np.frombuffer(reader.take((count + 1) // 2), np.uint8)
        exponents = np.stack([packed % 16, packed // 16], axis=1).reshape(-1)[:count]
        total += exponents[np.arange(num_weights) // inner % count]
    return total
