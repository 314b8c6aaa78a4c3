"""Palettes of which one centroid is common: a bit for each weight, an index for the others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from wl_onnx.portable.codebooks import add_table
from wl_onnx.portable.fields import FieldReader, require
from wl_onnx.portable.packing import add_unpacking, count_packed, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wl_onnx.portable.node_writer import NodeWriter
    from wl_onnx.portable.stored import PortableForm

__all__ = ["add_sparse_palette", "code_width", "pack_sparse", "unpack_sparse"]

# Bits are counted in rows of so many: old onnxruntimes are slow to add up one long vector.
_ROW = 1024


def code_width(num_clusters: int) -> int:
    """Bits of a code; 1 even where there is no choice, so that a file has as much as it says."""
    return max(1, (num_clusters - 1).bit_length())


def pack_sparse(
    codes: npt.NDArray[Any], common: int, num_clusters: int
) -> dict[str, npt.NDArray[Any]]:
    """Which weights are not of the common centroid, and which ones these have.

    Args:
        codes: integers [n], the centroid of each weight, below c.
        common: the common centroid.
        num_clusters: c, 2 or more.

    Returns:
        "mask", a bit for each weight, and "cells", codes as if the common centroid stood last.
    """
    is_other = codes != common
    others = codes[is_other].astype(np.int32)
    others -= others > common
    bits = np.pad(is_other, (0, -codes.size % _ROW))
    return {
        "mask": np.packbits(bits, bitorder="little"),
        "cells": pack(others, code_width(num_clusters - 1)),
    }


def unpack_sparse(reader: FieldReader, count: int, num_clusters: int) -> npt.NDArray[np.uint16]:
    """The codes, uint16 [count], as if the common centroid stood last.

    Args:
        reader: what the file holds.
        count: weights.
        num_clusters: c, with the common one.

    Raises:
        BlobError: something does not hold.
    """
    require(num_clusters >= 2, "a mask must have two centroids or more", num_clusters)
    mask = reader.tensor("mask", (np.uint8,), 1)
    size = -(-count // _ROW) * _ROW // 8
    require(mask.size == size, f"tensor mask must have {size} bytes", mask.size)
    is_other = np.unpackbits(mask, bitorder="little").view(bool)
    require(not is_other[count:].any(), "bits behind the mask must be 0", "others")
    is_other = is_other[:count]
    num_others = int(is_other.sum())
    width = code_width(num_clusters - 1)
    cells = reader.tensor("cells", (np.uint8,), 1)
    size = count_packed(num_others, width)
    require(cells.size == size, f"tensor cells must have {size} bytes", cells.size)
    others = unpack(cells, num_others, width)
    highest = int(others.max(initial=0))
    require(highest < num_clusters - 1, f"codes must be below {num_clusters - 1}", highest)
    codes = np.full(count, num_clusters - 1, np.uint16)
    codes[is_other] = others
    return codes


def add_sparse_palette(
    writer: NodeWriter,
    form: PortableForm,
    inputs: Mapping[str, str],
    *,
    shape: Sequence[int],
    data_type: int,
    output: str,
) -> None:
    """Nodes that decode a palette with a mask.

    All values other than the common one form a list, which begins with the common one; a weight is
    the entry whose number is the count of other weights up to it, or the first where it is common.

    Args:
        writer: takes the nodes.
        form: what is decoded.
        inputs: names of its tensors by role.
        shape: that of the weight.
        data_type: its element type.
        output: its name.
    """
    w = writer
    stored = form.tensors["codebook"]
    count = math.prod(shape)
    width = code_width(stored.size - 1)
    num_octets = form.tensors["cells"].size // width
    table = add_table(w, inputs["codebook"], stored, data_type, stored.size)
    codes = add_unpacking(w, inputs["cells"], num_octets, width)
    codes = w.reshape(w.cast(codes, TensorProto.INT32), 8 * num_octets)
    common = w.constant(np.array([stored.size - 1], np.int32))
    values = w.add("Gather", table, w.add("Concat", common, codes, axis=0))

    num_rows = -(-count // _ROW)
    bits = add_unpacking(w, inputs["mask"], num_rows * _ROW // 8, 1)
    bits = w.cast(w.reshape(bits, num_rows, _ROW), TensorProto.INT32)
    within = w.add("CumSum", bits, w.constant(np.array(1, np.int64)))
    totals = w.slice(within, _ROW - 1, _ROW, 1)
    before = w.add("CumSum", totals, w.constant(np.array(0, np.int64)), exclusive=1)
    places = w.add("Mul", w.add("Add", within, before), bits)
    if count % _ROW:
        places = w.slice(w.reshape(places, num_rows * _ROW), 0, count)
    w.add("Gather", values, w.reshape(places, *shape), output=output)
