"""Palettes in portable files: indices of a fixed number of bits, one after another."""

from __future__ import annotations

import itertools
import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from wl_onnx.codecs import palette
from wl_onnx.portable.codebooks import add_table, read_codebook, store_codebook
from wl_onnx.portable.fields import FieldReader, require
from wl_onnx.portable.packing import add_unpacking, count_packed, pack, unpack
from wl_onnx.portable.sparse_palette import (
    add_sparse_palette,
    code_width,
    pack_sparse,
    unpack_sparse,
)
from wl_onnx.portable.stored import PortableForm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wl_onnx.portable.node_writer import NodeWriter

__all__ = ["add_palette", "pack_palette", "restore_palette"]

_SPARSE_BYTES = 600  # what a mask takes in nodes and names


def pack_palette(
    codes: npt.NDArray[Any],
    codebook: npt.NDArray[np.float32],
    *,
    codebook_type: str,
    data_type: int,
) -> PortableForm:
    """Codes and centroids as tensors.

    Where one centroid is so common that it is smaller, as a mask and the codes of the others; the
    common centroid is the last one then, and the field "common" says where it was.

    Args:
        codes: integers [n], the centroid of each weight, below c.
        codebook: float32 [c], 1 to 4096 centroids.
        codebook_type: "float16" or "float32", how a blob stores them.
        data_type: element type of the weight.
    """
    usage = np.bincount(codes, minlength=codebook.size)
    common = int(usage.argmax())
    num_others = codes.size - int(usage[common])
    width = code_width(codebook.size)
    sparse_bits = codes.size + num_others * code_width(codebook.size - 1)
    if num_others and sparse_bits + 8 * _SPARSE_BYTES < codes.size * width:
        codebook = np.append(np.delete(codebook, common), codebook[common])
        stored, fields = store_codebook(codebook, codebook_type, data_type)
        tensors = pack_sparse(codes, common, codebook.size)
        return PortableForm(
            "palette", {**tensors, "codebook": stored}, {"common": common, **fields}
        )
    stored, fields = store_codebook(codebook, codebook_type, data_type)
    return PortableForm("palette", {"cells": pack(codes, width), "codebook": stored}, dict(fields))


def restore_palette(reader: FieldReader, shape: Sequence[int]) -> bytes:
    """The blob of a palette with the same weights.

    Args:
        reader: what the file holds.
        shape: that of the weight.

    Raises:
        BlobError: something does not hold.
    """
    centroids, codebook_type = read_codebook(reader)
    count = math.prod(shape)
    if reader.has_tensor("mask"):
        common = reader.integer("common", 0, centroids.size - 1)
        codes = unpack_sparse(reader, count, centroids.size)
        order = np.arange(centroids.size)  # of the stored centroids, where they were
        order[common:] += 1
        order[-1] = common
        codes = order.astype(np.uint16)[codes]
        centroids = centroids[np.argsort(order)]
    else:
        width = code_width(centroids.size)
        cells = reader.tensor("cells", (np.uint8,), 1)
        size = count_packed(count, width)
        require(cells.size == size, f"tensor cells must have {size} bytes", cells.size)
        codes = unpack(cells, count, width)
    reader.close()
    highest = int(codes.max(initial=0))
    require(highest < centroids.size, f"codes must be below {centroids.size}", highest)
    products = itertools.accumulate(reversed(tuple(shape)[1:]), operator.mul)
    return palette.encode(
        codes,
        codebook=centroids.astype(np.float32),
        row_length=sorted({length for length in products if length > 1}),
        codebook_type=codebook_type,
    )


def add_palette(
    writer: NodeWriter,
    form: PortableForm,
    inputs: Mapping[str, str],
    *,
    shape: Sequence[int],
    data_type: int,
    output: str,
) -> None:
    """Nodes that decode a palette.

    Args:
        writer: takes the nodes.
        form: what is decoded.
        inputs: names of its tensors by role.
        shape: that of the weight.
        data_type: its element type.
        output: its name.
    """
    if "mask" in form.tensors:
        add_sparse_palette(writer, form, inputs, shape=shape, data_type=data_type, output=output)
        return
    stored = form.tensors["codebook"]
    count = math.prod(shape)
    width = code_width(stored.size)
    table = add_table(writer, inputs["codebook"], stored, data_type, stored.size)
    num_octets = -(-count // 8)
    codes = add_unpacking(writer, inputs["cells"], num_octets, width)
    codes = writer.cast(codes, TensorProto.INT32)
    if count % 8:
        codes = writer.slice(writer.reshape(codes, 8 * num_octets), 0, count)
    index = writer.reshape(codes, *shape)
    writer.add("Gather", table, index, output=output)
