"""New values for an initializer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto

from wl_onnx.errors import InputError
from wl_onnx.graph.tensors import fill_raw, numpy_dtype

if TYPE_CHECKING:
    import numpy.typing as npt

    from wl_onnx.graph.model import CompressibleModel

__all__ = ["assign_initializer"]


def assign_initializer(
    model: CompressibleModel, name: str, values: npt.NDArray[np.floating]
) -> None:
    """Gives an initializer of the main graph other values, in its own element type.

    Args:
        model: the model, changed in place.
        name: the initializer's.
        values: floats in its shape.

    Raises:
        InputError: there is no such initializer, or the shape differs.
    """
    for tensor in model.proto.graph.initializer:
        if tensor.name == name:
            break
    else:
        raise InputError(f"cannot assign {name}: it must be an initializer, got no such one")
    shape = tuple(tensor.dims)
    if values.shape != shape:
        raise InputError(
            f"cannot assign {name}: its values must have the shape {list(shape)}, got "
            f"{list(values.shape)}"
        )
    new = TensorProto(name=name, data_type=tensor.data_type, dims=shape)
    fill_raw(new, np.ascontiguousarray(values, numpy_dtype(tensor.data_type)))
    tensor.CopyFrom(new)
