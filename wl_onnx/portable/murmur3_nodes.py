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

    onnxruntime multiplies and adds uint32 only since 1.21, but has had their matrix product since
    1.17: numbers in a column times a matrix of one number, everything mod 2**32.

    Source: Austin Appleby, MurmurHash3_x86_32, 2011.

    Args:
        writer: takes the nodes.
        keys: name of the keys, uint32 [..., n, 1].
        seeds: name of the seeds, uint32, of a shape that broadcasts with that of the keys.

    Returns:
        The name of the hashes, uint32 [..., n, 1].
    """
    w = writer

    def multiply(value: str, factor: int) -> str:
        return w.add("MatMul", value, w.number(factor, np.uint32))

    def rotate_left(value: str, count: int) -> str:
        return w.add("BitwiseOr", multiply(value, 1 << count), shift_right(w, value, 32 - count))

    def fold(value: str, count: int) -> str:
        return w.add("BitwiseXor", value, shift_right(w, value, count))

    h = multiply(rotate_left(multiply(keys, 0xCC9E2D51), 15), 0x1B873593)
    h = rotate_left(w.add("BitwiseXor", h, seeds), 13)
    signed = w.cast(multiply(h, 5), TensorProto.INT32)
    signed = w.add("Add", signed, w.number(0xE6546B64 - (1 << 32)))
    h = w.cast(signed, TensorProto.UINT32)
    h = w.add("BitwiseXor", h, w.number(4, np.uint32))  # the length of a key
    h = multiply(fold(h, 16), 0x85EBCA6B)
    h = multiply(fold(h, 13), 0xC2B2AE35)
    return fold(h, 16)


def shift_right(writer: NodeWriter, value: str, count: int) -> str:
    """Nodes that shift uint32, zeros following.

    Args:
        writer: takes the nodes.
        value: name of the numbers, uint32.
        count: bits to shift by.
    """
    return writer.add("BitShift", value, writer.number(count, np.uint32), direction="RIGHT")
