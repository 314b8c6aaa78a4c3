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
from wl_onnx.portable.packing import pack_roles, roles_of, unpack_nodes, unpack_roles
from wl_onnx.portable.stored import PortableForm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wl_onnx.portable.node_writer import NodeWriter

__all__ = ["add_palette", "pack_palette", "restore_palette"]


def pack_palette(
    codes: npt.NDArray[Any],
    codebook: npt.NDArray[np.float32],
    *,
    codebook_type: str,
    data_type: int,
) -> PortableForm:
    """Codes and centroids as tensors.

    Args:
        codes: integers [n], the centroid of each weight, below c.
        codebook: float32 [c], 1 to 4096 centroids.
        codebook_type: "float16" or "float32", how a blob stores them.
        data_type: element type of the weight.
    """
    stored, fields = store_codebook(codebook, codebook_type, data_type)
    width = _width(stored.size)
    tensors = pack_roles(codes, width) if width else {}
    return PortableForm("palette", {**tensors, "codebook": stored}, fields)


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
    width = _width(centroids.size)
    tensors = {}
    for role, bits in roles_of(width).items() if width else ():
        tensors[role] = reader.tensor(role, (np.uint8,), 1)
        size = -(-count // 8) * bits
        require(
            tensors[role].size == size, f"tensor {role} must have {size} bytes", tensors[role].size
        )
    reader.close()
    codes = unpack_roles(tensors, count, width) if width else np.zeros(count, np.uint16)
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
    stored = form.tensors["codebook"]
    count = math.prod(shape)
    width = _width(stored.size)
    table = add_table(writer, inputs["codebook"], stored, data_type, stored.size)
    if not width:
        index = writer.add("ConstantOfShape", writer.integers(*shape), value=_ZERO)
    else:
        num_octets = -(-count // 8)
        codes = unpack_nodes(writer, inputs, num_octets, width)
        if count % 8:
            codes = writer.slice(codes, 0, count)
        index = writer.cast(writer.reshape(codes, *shape), TensorProto.INT32)
    writer.add("Gather", table, index, output=output)


_ZERO = TensorProto(dims=[1], data_type=TensorProto.INT32, raw_data=bytes(4))


def _width(num_clusters: int) -> int:
    """Bits of a code."""
    return (num_clusters - 1).bit_length()
