"""Element types of ONNX as torch knows them, and arrays as tensors."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import torch
from onnx import TensorProto

__all__ = ["TORCH_DTYPES", "to_array", "to_dtype", "to_tensor"]

TORCH_DTYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.UINT8: torch.uint8,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.BOOL: torch.bool,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.BFLOAT16: torch.bfloat16,
}
"""Those that torch computes with; it only stores wider unsigned integers and narrow floats."""


def to_dtype(data_type: int) -> torch.dtype:
    """The torch dtype of an ONNX element type.

    Raises:
        ValueError: torch does not compute with it; the message completes "..., got".
    """
    try:
        return TORCH_DTYPES[data_type]
    except KeyError:
        known = TensorProto.DataType.values()
        shown = TensorProto.DataType.Name(data_type) if data_type in known else str(data_type)
        raise ValueError(shown) from None


def to_tensor(array: np.ndarray, data_type: int) -> torch.Tensor:
    """A tensor of its own with an array's values.

    Args:
        array: values in NumPy's dtype for the element type.
        data_type: the ONNX element type.

    Raises:
        ValueError: torch does not compute with this element type.
    """
    dtype = to_dtype(data_type)
    native = np.array(array, array.dtype.newbyteorder("="), order="C")
    if dtype == torch.bfloat16:
        return torch.from_numpy(native.view(np.int16)).view(dtype)
    return torch.from_numpy(native)


def to_array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor's values as an array in the same element type, whatever device they are on."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        bits: np.ndarray = tensor.view(torch.int16).numpy()
        return bits.view(ml_dtypes.bfloat16)
    array: np.ndarray = tensor.numpy()
    return array
