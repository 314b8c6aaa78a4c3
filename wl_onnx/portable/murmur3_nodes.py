"""MurmurHash3 of 32-bit keys as nodes of standard operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto

if TYPE_CHECKING:
    from wl_onnx.portable.node_writer import NodeWriter

__all__ = ["add_murmur3", "shift_right"]


def add_murmur3(writer: NodeWriter, keys: str, seeds: str) -> str:
    """Nodes that hash the four little-endian bytes of each key.

    Products and sums are of int32 and wrap, bits are shifted as uint32: onnxruntime has had both
    since 1.17, other integers only since 1.21.

    Source: Austin Appleby, MurmurHash3_x86_32, 2011.

    Args:
        writer: takes the nodes.
        keys: name of the keys, int32.
        seeds: name of the seeds, int32, of a shape that broadcasts with that of the keys.

    Returns:
        The name of the hashes, int32: the same 32 bits.
    """

    def multiply(value: str, factor: int) -> str:
        return writer.add("Mul", value, writer.int32(factor))

    h = _rotate_left(writer, multiply(keys, 0xCC9E2D51), 15)
    h = writer.add("BitwiseXor", multiply(h, 0x1B873593), seeds)
    h = writer.add("Add", multiply(_rotate_left(writer, h, 13), 5), writer.int32(0xE6546B64))
    h = writer.add("BitwiseXor", h, writer.int32(4))  # the length of a key
    h = multiply(_fold(writer, h, 16), 0x85EBCA6B)
    h = multiply(_fold(writer, h, 13), 0xC2B2AE35)
    return _fold(writer, h, 16)


def shift_right(writer: NodeWriter, value: str, count: int) -> str:
    """Nodes that shift uint32, zeros following.

    Args:
        writer: takes the nodes.
        value: name of the numbers, uint32.
        count: bits to shift by.
    """
    right = writer.constant(np.array([count], np.uint32))
    return writer.add("BitShift", value, right, direction="RIGHT")


def _rotate_left(writer: NodeWriter, value: str, count: int) -> str:
    words = writer.cast(value, TensorProto.UINT32)
    left = writer.constant(np.array([count], np.uint32))
    rotated = writer.add(
        "BitwiseOr",
        writer.add("BitShift", words, left, direction="LEFT"),
        shift_right(writer, words, 32 - count),
    )
    return writer.cast(rotated, TensorProto.INT32)


def _fold(writer: NodeWriter, value: str, count: int) -> str:
    words = writer.cast(value, TensorProto.UINT32)
    folded = writer.add("BitwiseXor", words, shift_right(writer, words, count))
    return writer.cast(folded, TensorProto.INT32)
