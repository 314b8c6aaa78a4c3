"""Numbers of a few bits each, one after another: in arrays, and unpacked by nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from wl_onnx.portable.murmur3_nodes import shift_right

if TYPE_CHECKING:
    from wl_onnx.portable.node_writer import NodeWriter

__all__ = ["add_unpacking", "count_packed", "pack", "unpack"]

_CHUNK = 1 << 20  # numbers, a multiple of 8


def pack(values: npt.NDArray[Any], width: int) -> npt.NDArray[np.uint8]:
    """Numbers, least significant bit first; as if zeros followed up to a multiple of 8.

    Args:
        values: integers [n] below 2**width.
        width: bits of each, 1 to 16.

    Returns:
        uint8 [ceil(n / 8) * width].
    """
    parts = [np.zeros(0, np.uint8)]
    for begin in range(0, values.size, _CHUNK):
        chunk = values[begin : begin + _CHUNK].astype("<u2")
        chunk = np.pad(chunk, (0, -chunk.size % 8))
        bits = np.unpackbits(chunk.view(np.uint8).reshape(-1, 2), axis=1, bitorder="little")
        parts.append(np.packbits(bits[:, :width], bitorder="little"))
    return np.concatenate(parts)


def unpack(packed: npt.NDArray[np.uint8], count: int, width: int) -> npt.NDArray[np.uint16]:
    """What was packed.

    Args:
        packed: uint8, `count * width` bits or more.
        count: how many numbers are wanted.
        width: bits of each, 1 to 16.

    Returns:
        uint16 [count].
    """
    values = np.empty(count, np.uint16)
    for begin in range(0, count, _CHUNK):
        stop = min(begin + _CHUNK, count)
        part = packed[begin * width // 8 : -(-stop * width // 8)]
        bits = np.unpackbits(part, count=(stop - begin) * width, bitorder="little")
        padded = np.zeros((stop - begin, 16), np.uint8)
        padded[:, :width] = bits.reshape(-1, width)
        values[begin:stop] = np.packbits(padded, axis=1, bitorder="little").view("<u2")[:, 0]
    return values


def count_packed(count: int, width: int) -> int:
    """Bytes of so many numbers when they are packed."""
    return -(-count // 8) * width


def add_unpacking(writer: NodeWriter, packed: str, num_octets: int, width: int) -> str:
    """Nodes that unpack what `pack` packed.

    A width that divides 8 is shifted out of each byte. Of others eight numbers are `width` bytes, a
    row. Its product with a matrix of powers of two has each number in its uppermost bits, without
    those above it, for it is taken mod 2**32.

    Args:
        writer: takes the nodes.
        packed: name of the bytes.
        num_octets: eighths of the numbers that were packed.
        width: bits of each, 1 to 16.

    Returns:
        The name of the numbers, [num_octets, 8]: uint8 of 1, 2, 4 and 8 bits, else uint32.
    """
    if 8 % width == 0 and width < 8:
        column = writer.reshape(packed, num_octets * width, 1)
        right = writer.constant(np.arange(0, 8, width, dtype=np.uint8))
        shifted = writer.add("BitShift", column, right, direction="RIGHT")
        mask = writer.constant(np.array(2**width - 1, np.uint8))
        return writer.reshape(writer.add("BitwiseAnd", shifted, mask), num_octets, 8)
    rows = writer.reshape(packed, num_octets, width)
    if width == 8:
        return rows
    exponents = 32 - width + 8 * np.arange(width)[:, None] - width * np.arange(8)
    in_range = (exponents >= 0) & (exponents < 32)
    factors = np.where(in_range, np.uint32(1) << np.maximum(exponents, 0).astype(np.uint32), 0)
    matrix = writer.constant(factors.astype(np.uint32))
    products = writer.add("MatMul", writer.cast(rows, TensorProto.UINT32), matrix)
    return shift_right(writer, products, 32 - width)
