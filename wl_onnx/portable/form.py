"""Portable forms of compressed weights: what is stored, what decodes it, and the way back."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, helper

from wl_onnx.codecs import palette
from wl_onnx.errors import InputError
from wl_onnx.portable.bloomier_form import pack_filter, restore_filter
from wl_onnx.portable.bloomier_nodes import add_filter
from wl_onnx.portable.codebooks import numpy_type
from wl_onnx.portable.fields import FieldReader, require
from wl_onnx.portable.folding import infer_values, measure_values
from wl_onnx.portable.node_writer import NodeWriter
from wl_onnx.portable.palette_form import add_palette, pack_palette, restore_palette
from wl_onnx.portable.stored import PortableForm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["PortableForm", "build_nodes", "make_form", "make_palette_form", "restore_blob"]


def make_form(
    codec: str, blob: bytes | memoryview, *, shape: Sequence[int], data_type: int
) -> PortableForm:
    """The portable form of a weight that a blob holds.

    Args:
        codec: "bloomier" or "palette".
        blob: a whole blob.
        shape: that of the weight.
        data_type: its element type (TensorProto.DataType): float32, float16, float64, bfloat16.

    Raises:
        InputError: it has no portable form, or the shape or the type do not fit.
        BlobError: the blob is damaged.
    """
    numpy_type(data_type)
    if codec == "palette":
        info = palette.inspect(blob)
        _check_shape(shape, info.num_weights)
        codes = palette.decode_codes(blob)
        form = pack_palette(
            codes, info.codebook, codebook_type=info.codebook_type, data_type=data_type
        )
    elif codec == "bloomier":
        form = pack_filter(bytes(blob), data_type)
        _check_shape(shape, int.from_bytes(bytes(blob[8:16]), "little"))
    else:
        raise InputError(
            f"cannot make weight portable: its codec must be bloomier or palette, got {codec}"
        )
    return _count(form, shape, data_type)


def make_palette_form(
    codes: npt.ArrayLike,
    codebook: npt.ArrayLike,
    *,
    shape: Sequence[int],
    data_type: int,
    codebook_type: str = "float32",
) -> PortableForm:
    """The portable form of a weight of a few values.

    Args:
        codes: integers [n], the centroid of each weight in row-major order, below c.
        codebook: floats [c], 1 to 4096 centroids.
        shape: that of the weight.
        data_type: its element type.
        codebook_type: "float16" or "float32", which must hold the centroids.

    Raises:
        InputError: an argument breaks a rule above.
    """
    numpy_type(data_type)
    numbers, centroids = np.asarray(codes), np.asarray(codebook, np.float32)
    _check_shape(shape, numbers.size)
    if not (centroids.ndim == 1 and 1 <= centroids.size <= 4096 and np.isfinite(centroids).all()):
        raise InputError(
            "cannot make weight portable: codebook must be 1 to 4096 finite centroids, got shape "
            f"{list(centroids.shape)}"
        )
    is_whole = numbers.dtype.kind in "ui"
    if not is_whole or int(numbers.min()) < 0 or int(numbers.max()) >= centroids.size:
        raise InputError(
            f"cannot make weight portable: codes must be integers below {centroids.size}, "
            "got others"
        )
    form = pack_palette(
        numbers.reshape(-1).astype(np.uint16),
        centroids,
        codebook_type=codebook_type,
        data_type=data_type,
    )
    return _count(form, shape, data_type)


def build_nodes(
    form: PortableForm,
    *,
    shape: Sequence[int],
    data_type: int,
    inputs: Mapping[str, str],
    output: str,
    prefix: str,
) -> list[NodeProto]:
    """The standard operators, opset 18, that decode a weight.

    Args:
        form: what is decoded.
        shape: that of the weight.
        data_type: its element type.
        inputs: the name of the value that holds each of `form.tensors`.
        output: the name of the weight.
        prefix: what the name of every other value begins with.
    """
    writer = NodeWriter(prefix, [*inputs.values(), output])
    add = add_palette if form.codec == "palette" else add_filter
    add(writer, form, inputs, shape=shape, data_type=data_type, output=output)
    return writer.finish(output)


def restore_blob(
    codec: str, tensors: Mapping[str, Any], fields: Mapping[str, Any], *, shape: Sequence[int]
) -> bytes:
    """The blob of a weight that is stored in a portable form.

    Args:
        codec: that of the form.
        tensors: its tensors by role, as a file has them.
        fields: its fields, as a file has them.
        shape: that of the weight.

    Returns:
        Of a Bloomier filter the very bytes that the form was made of; of a palette a blob with
        the same weights.

    Raises:
        BlobError: something does not hold.
    """
    known = isinstance(codec, str) and codec in ("bloomier", "palette")
    require(known, "codec must be bloomier or palette", codec)
    are_dims = all(isinstance(dim, int) and dim >= 0 for dim in shape)
    in_range = are_dims and 1 <= math.prod(shape) < 2**32
    require(in_range, "shape must have 1 to 2**32 - 1 weights", list(shape))
    reader = FieldReader(tensors, fields)
    return (restore_palette if codec == "palette" else restore_filter)(reader, shape)


def _count(form: PortableForm, shape: Sequence[int], data_type: int) -> PortableForm:
    inputs = {role: f"{role}_" for role in form.tensors}
    nodes = build_nodes(
        form, shape=shape, data_type=data_type, inputs=inputs, output="weight", prefix=""
    )
    weight = helper.make_tensor_value_info("weight", data_type, list(shape))
    values = infer_values(nodes, {inputs[role]: a for role, a in form.tensors.items()}, weight)
    sizes = measure_values(values)
    return dataclasses.replace(form, folding_bytes=sum(sizes), largest_bytes=max(sizes))


def _check_shape(shape: Sequence[int], num_weights: int) -> None:
    if math.prod(shape) != num_weights:
        raise InputError(
            f"cannot make weight portable: its shape must have {num_weights} weights, "
            f"got {list(shape)}"
        )
