"""ONNX tensors as they lie in a file: element types, sizes, external data, arrays."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from onnx import AttributeProto, NodeProto, TensorProto

from wl_onnx.graph.failures import model_error

__all__ = [
    "EXTERNAL_MINIMUM_BYTES",
    "FLOAT_TYPES",
    "ExternalSpan",
    "check_inline",
    "count_bytes",
    "external_span",
    "fill_raw",
    "inline_bytes",
    "is_external",
    "make_constant",
    "numpy_dtype",
    "point_to_external",
    "read_inline",
    "read_span",
]

FLOAT_TYPES = frozenset(
    (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
)
"""Element types of the weights that can be compressed."""

EXTERNAL_MINIMUM_BYTES = 1024
"""Tensors up to this size stay in the model's own file."""

_DTYPES: dict[int, Any] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.UINT8: np.uint8,
    TensorProto.INT8: np.int8,
    TensorProto.UINT16: np.uint16,
    TensorProto.INT16: np.int16,
    TensorProto.INT32: np.int32,
    TensorProto.INT64: np.int64,
    TensorProto.BOOL: np.bool_,
    TensorProto.FLOAT16: np.float16,
    TensorProto.DOUBLE: np.float64,
    TensorProto.UINT32: np.uint32,
    TensorProto.UINT64: np.uint64,
    TensorProto.COMPLEX64: np.complex64,
    TensorProto.COMPLEX128: np.complex128,
    TensorProto.BFLOAT16: ml_dtypes.bfloat16,
}

# By number, for onnx 1.16 has no names for the later ones: five of 8 bits, the rest below a byte.
_OTHER_BITS = {17: 8, 18: 8, 19: 8, 20: 8, 24: 8, 21: 4, 22: 4, 23: 4, 25: 2, 26: 2, 27: 6, 28: 6}

_TYPED_FIELDS: dict[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.FLOAT16: "int32_data",
    TensorProto.BFLOAT16: "int32_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.UINT8: "int32_data",
    TensorProto.INT8: "int32_data",
    TensorProto.UINT16: "int32_data",
    TensorProto.INT16: "int32_data",
    TensorProto.INT32: "int32_data",
    TensorProto.BOOL: "int32_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
}

_ALL_DATA_FIELDS = (
    "raw_data",
    "external_data",
    "data_location",
    *sorted({*_TYPED_FIELDS.values()}),
)


@dataclasses.dataclass(frozen=True)
class ExternalSpan:
    """Where an external tensor's bytes lie.

    Attributes:
        location: path of the data file, relative to the model's folder.
        offset: first byte.
        length: number of bytes.
    """

    location: str
    offset: int
    length: int


def numpy_dtype(data_type: int) -> np.dtype[Any]:
    """The NumPy dtype of an ONNX element type; uint8 where NumPy has none (raw bytes)."""
    dtype: np.dtype[Any] = np.dtype(_DTYPES.get(data_type, np.uint8))
    return dtype


def count_bytes(data_type: int, shape: Iterable[int]) -> int | None:
    """Bytes that a tensor takes as raw data, or None where they do not follow from its shape."""
    dtype = _DTYPES.get(data_type)
    bits = _OTHER_BITS.get(data_type) if dtype is None else 8 * np.dtype(dtype).itemsize
    return None if bits is None else (math.prod(shape) * bits + 7) // 8


def is_external(tensor: TensorProto) -> bool:
    """Whether the tensor's bytes lie outside the protobuf."""
    return tensor.data_location == TensorProto.EXTERNAL


def inline_bytes(tensor: TensorProto) -> int:
    """About how many bytes the tensor takes inside the protobuf."""
    return 0 if is_external(tensor) else count_bytes(tensor.data_type, tensor.dims) or 0


def external_span(tensor: TensorProto) -> ExternalSpan:
    """Where an external tensor's bytes lie, by its own entries.

    Raises:
        ModelError: the entries are missing, no numbers, negative or at odds with the shape.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    size_bytes = count_bytes(tensor.data_type, tensor.dims)
    try:
        location = entries["location"]
        offset = int(entries.get("offset") or 0)
        length = int(entries["length"]) if entries.get("length") else size_bytes
    except (KeyError, ValueError) as error:
        raise model_error(
            f"cannot read tensor {tensor.name}: its external data must have a location and "
            f"whole numbers as offset and length, got {entries}"
        ) from error
    if size_bytes is None or offset < 0 or length != size_bytes:
        raise model_error(
            f"cannot read tensor {tensor.name}: its external data must be {size_bytes} bytes long "
            f"at an offset of at least 0, got length {length} at offset {offset}"
        )
    return ExternalSpan(location, offset, length)


def read_span(path: Path, span: ExternalSpan) -> np.ndarray:
    """The bytes of an external tensor, mapped from the file: uint8 `[length]`, read-only."""
    if span.length == 0:
        return np.zeros(0, np.uint8)
    return np.memmap(path, np.uint8, "r", span.offset, (span.length,))


def read_inline(tensor: TensorProto) -> np.ndarray:
    """The values of a tensor that lie in the protobuf.

    Args:
        tensor: floats of 16 bits or more, integers of 8 or more, or bool, in any field that ONNX
            allows for them; any other type in `raw_data` alone.

    Returns:
        The array in the tensor's shape; raw bytes, uint8 `[length]`, for types that NumPy lacks.

    Raises:
        ModelError: the number of values is not what the shape says.
    """
    check_inline(tensor)
    dtype = numpy_dtype(tensor.data_type)
    if tensor.HasField("raw_data"):
        array = np.frombuffer(tensor.raw_data, dtype.newbyteorder("<"))
    elif dtype.itemsize == 2:
        array = np.array(tensor.int32_data, np.int32).astype(np.uint16).view(dtype)
    else:
        array = np.array(getattr(tensor, _TYPED_FIELDS[tensor.data_type]), dtype)
    return array.reshape(tuple(tensor.dims)) if tensor.data_type in _DTYPES else array


def check_inline(tensor: TensorProto) -> None:
    """Checks that the tensor holds as many values as its shape says.

    Raises:
        ModelError: it does not, or a dimension is negative.
    """
    shape = tuple(tensor.dims)
    expected: int | None = count_bytes(tensor.data_type, shape)
    unit, got = "bytes of data", expected
    field = _TYPED_FIELDS.get(tensor.data_type)
    if tensor.HasField("raw_data"):
        got = len(tensor.raw_data)
    elif field is not None:
        unit, got, expected = "values", len(getattr(tensor, field)), math.prod(shape)
    if got != expected or any(dim < 0 for dim in shape):
        raise model_error(
            f"cannot read tensor {tensor.name}: its shape {list(shape)} must match its data "
            f"({expected} {unit}), got {got}; the file is damaged or cut short"
        )


def fill_raw(tensor: TensorProto, array: np.ndarray) -> None:
    """Puts an array's bytes into a tensor in place of whatever data it had."""
    for field in _ALL_DATA_FIELDS:
        tensor.ClearField(field)
    tensor.raw_data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def point_to_external(tensor: TensorProto, span: ExternalSpan) -> None:
    """Makes a tensor external; its inline data goes, entries other than the span's stay."""
    others = [
        (entry.key, entry.value)
        for entry in tensor.external_data
        if entry.key not in ("location", "offset", "length")
    ]
    for field in _ALL_DATA_FIELDS:
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    entries = [("location", span.location), ("offset", span.offset), ("length", span.length)]
    for key, value in [*entries, *others]:
        tensor.external_data.add(key=key, value=str(value))


def make_constant(tensor: TensorProto, name: str) -> NodeProto:
    """A Constant node that gives a tensor under the tensor's name.

    Args:
        tensor: the value, copied.
        name: the node's name, or "" for none.
    """
    node = NodeProto(op_type="Constant", output=[tensor.name])
    if name:
        node.name = name
    attribute = node.attribute.add(name="value", type=AttributeProto.TENSOR)
    attribute.t.CopyFrom(tensor)
    return node
