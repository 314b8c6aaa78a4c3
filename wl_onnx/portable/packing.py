"""Numbers of a few bits each, one after another: in arrays, and unpacked by nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wl_onnx.portable.node_writer import NodeWriter

__all__ = ["pack", "pack_roles", "roles_of", "unpack", "unpack_nodes", "unpack_roles"]

_CHUNK = 1 << 20  # numbers, a multiple of 8
_MOST_TOGETHER = 8  # bits that are packed together; those above stand in a tensor of their own


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


def roles_of(width: int) -> dict[str, int]:
    """The tensors that hold numbers of so many bits: the bits in each, by its role."""
    if width <= _MOST_TOGETHER:
        return {"cells": width}
    return {"cells": _MOST_TOGETHER, "upper": width - _MOST_TOGETHER}


def pack_roles(values: npt.NDArray[Any], width: int) -> dict[str, npt.NDArray[np.uint8]]:
    """Numbers as the tensors of `roles_of`.

    Args:
        values: integers [n] below 2**width.
        width: bits of each, 1 to 16.
    """
    lower = pack(values & 0xFF, min(width, _MOST_TOGETHER))
    if width <= _MOST_TOGETHER:
        return {"cells": lower}
    return {"cells": lower, "upper": pack(values >> _MOST_TOGETHER, width - _MOST_TOGETHER)}


def unpack_roles(
    tensors: Mapping[str, npt.NDArray[Any]], count: int, width: int
) -> npt.NDArray[np.uint16]:
    """The numbers that `pack_roles` packed, uint16 [count].

    Args:
        tensors: by role, of the right sizes.
        count: how many numbers are wanted.
        width: bits of each, 1 to 16.
    """
    values = unpack(tensors["cells"], count, min(width, _MOST_TOGETHER))
    if width > _MOST_TOGETHER:
        values |= unpack(tensors["upper"], count, width - _MOST_TOGETHER) << _MOST_TOGETHER
    return values


def unpack_nodes(writer: NodeWriter, inputs: Mapping[str, str], num_octets: int, width: int) -> str:
    """Nodes that unpack what `pack_roles` packed.

    Args:
        writer: takes the nodes.
        inputs: names of the tensors by role.
        num_octets: eighths of the numbers that were packed.
        width: bits of each, 1 to 16.

    Returns:
        The name of the numbers, uint8 or, above 8 bits, uint16 [8 * num_octets].
    """
    if width <= _MOST_TOGETHER:
        return _unpack_bytes(writer, inputs["cells"], num_octets, width)
    upper = _unpack_bytes(writer, inputs["upper"], num_octets, width - _MOST_TOGETHER)
    upper = writer.add("Mul", writer.cast(upper, TensorProto.INT32), writer.int32(256))
    lower = writer.cast(inputs["cells"], TensorProto.UINT16)
    return writer.add("BitwiseOr", writer.cast(upper, TensorProto.UINT16), lower)


def _unpack_bytes(writer: NodeWriter, packed: str, num_octets: int, width: int) -> str:
    """uint8 [8 * num_octets]; eight numbers are `width` bytes, a row of a matrix."""
    if width == 8:
        return packed
    first = np.arange(8) * width
    shift = (first % 8).astype(np.uint8)
    if 8 % width == 0:
        column = writer.reshape(packed, num_octets * width, 1)
        right = writer.constant(shift[: 8 // width])
        values = writer.add("BitShift", column, right, direction="RIGHT")
    else:
        rows = writer.reshape(packed, num_octets, width)
        # The byte behind a number that ends in its own one adds bits that the mask takes off.
        places = (first // 8, np.minimum(first // 8 + 1, width - 1))
        lower, upper = (
            writer.add("Gather", rows, writer.constant(place.astype(np.int32)), axis=1)
            for place in places
        )
        left = np.minimum(8 - shift, 7).astype(np.uint8)
        lower = writer.add("BitShift", lower, writer.constant(shift), direction="RIGHT")
        upper = writer.add("BitShift", upper, writer.constant(left), direction="LEFT")
        values = writer.add("BitwiseOr", lower, upper)
    mask = writer.constant(np.array([2**width - 1], np.uint8))
    return writer.reshape(writer.add("BitwiseAnd", values, mask), 8 * num_octets)
