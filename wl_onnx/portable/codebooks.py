"""Codebooks of portable weights: stored so that a cast is exact, and looked up by nodes.

onnxruntime did not always round to nearest when it casts to bfloat16, so centroids are rounded
before they are stored. Where that loses something, the blob's own ones are kept in a field.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from wl_onnx.errors import InputError
from wl_onnx.portable.fields import FieldReader, require

if TYPE_CHECKING:
    from wl_onnx.portable.node_writer import NodeWriter

__all__ = ["add_table", "numpy_type", "read_codebook", "store_codebook"]

MAX_CLUSTERS = 4096
_STORED: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}
_TYPES: dict[int, Any] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.DOUBLE: np.float64,
    TensorProto.BFLOAT16: ml_dtypes.bfloat16,
}

_HALVES = (np.float16, ml_dtypes.bfloat16)


def numpy_type(data_type: int) -> np.dtype[Any]:
    """The NumPy dtype of a weight's element type.

    Raises:
        InputError: a weight cannot have this type.
    """
    if data_type not in _TYPES:
        raise InputError(
            "cannot make weight portable: its element type must be float32, float16, float64 or "
            f"bfloat16, got number {data_type}"
        )
    dtype: np.dtype[Any] = np.dtype(_TYPES[data_type])
    return dtype


def store_codebook(
    codebook: npt.NDArray[np.float32], codebook_type: str, data_type: int
) -> tuple[npt.NDArray[Any], dict[str, str]]:
    """The centroids as they are stored, and the fields that say what they were.

    Args:
        codebook: float32 [c].
        codebook_type: "float16" or "float32", how the blob stores them.
        data_type: element type of the weight.

    Returns:
        float16 or float32 [c], the values that the weight has, and fields for `read_codebook`.
    """
    original = codebook.astype(_STORED[codebook_type])
    with np.errstate(over="ignore"):  # a float32 centroid may be infinite as float16, rightly
        rounded = original.astype(numpy_type(data_type))
    fields = {"codebook_type": codebook_type}
    if np.array_equal(rounded.astype(np.float64), original.astype(np.float64)):
        # Nothing was lost, so that the smaller of both types holds it.
        return original if data_type != TensorProto.FLOAT16 else rounded, fields
    fields["codebook"] = base64.b64encode(original.tobytes()).decode()
    return (rounded if data_type == TensorProto.FLOAT16 else rounded.astype(np.float32)), fields


def read_codebook(reader: FieldReader) -> tuple[npt.NDArray[Any], str]:
    """The centroids as the blob had them, float16 or float32 [c], and their type's name.

    Raises:
        BlobError: something does not hold.
    """
    codebook_type = reader.choice("codebook_type", tuple(_STORED))
    stored = reader.tensor("codebook", (np.float16, np.float32), 1)
    require(1 <= stored.size <= MAX_CLUSTERS, "codebook must have 1 to 4096 centroids", stored.size)
    dtype = _STORED[codebook_type]
    text = reader.text("codebook")
    if text is None:
        with np.errstate(over="ignore"):
            centroids = stored.astype(dtype)
        exact = np.array_equal(centroids.astype(np.float32), stored.astype(np.float32))
        require(exact, f"centroids must be {codebook_type}", stored.dtype)
    else:
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            data = b""
        fits = len(data) == dtype.itemsize * stored.size
        require(fits, "field codebook must hold as many centroids as the tensor", len(data))
        centroids = np.frombuffer(data, dtype)
        is_rounded = any(_rounds_to(centroids, half, stored) for half in _HALVES)
        require(is_rounded, "tensor codebook must have the field's centroids, rounded", "others")
    require(bool(np.isfinite(centroids).all()), "centroids must be finite", "others")
    return centroids, codebook_type


def _rounds_to(centroids: npt.NDArray[Any], half: Any, stored: npt.NDArray[Any]) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array_equal(centroids.astype(half).astype(np.float32), stored.astype(np.float32))


def add_table(
    writer: NodeWriter,
    codebook: str,
    stored: npt.NDArray[Any],
    data_type: int,
    size: int,
    copies: int = 1,
    zeros: int = 0,
) -> str:
    """Nodes that give a table of centroids, zeros behind them.

    Args:
        writer: takes the nodes.
        codebook: name of the stored centroids.
        stored: what that holds.
        data_type: element type of the table.
        size: entries of a copy, as many as centroids or more.
        copies: how often the table is repeated.
        zeros: zeros behind the last copy.

    Returns:
        The name of the table, `[copies * size + zeros]`.
    """
    value = helper.make_tensor("", helper.np_dtype_to_tensor_dtype(stored.dtype), [1], [0.0])

    def add_zeros(count: int) -> list[str]:
        if count == 0:
            return []
        return [writer.add("ConstantOfShape", writer.integers(count), value=value)]

    parts = [codebook, *add_zeros(size - stored.size)] * copies + add_zeros(zeros)
    table = writer.add("Concat", *parts, axis=0) if len(parts) > 1 else codebook
    if numpy_type(data_type) != stored.dtype:
        table = writer.cast(table, data_type)
    return table
