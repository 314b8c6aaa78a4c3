"""New values for a tensor of the main graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto

from wl_onnx.errors import InputError
from wl_onnx.graph.scopes import Place, find_bodies, find_places
from wl_onnx.graph.tensors import fill_raw, numpy_dtype

if TYPE_CHECKING:
    import numpy.typing as npt

    from wl_onnx.graph.model import CompressibleModel

__all__ = ["assign_initializer", "read_initializer"]


def read_initializer(model: CompressibleModel, name: str) -> np.ndarray:
    """The values of an initializer of the main graph, or of a Constant node there; read-only.

    Args:
        model: the model.
        name: the value's name.

    Raises:
        InputError: there is no such initializer.
        ModelError: the data is gone or does not match the shape.
    """
    return model.read(_find_place(model, name, "read").tensor)


def assign_initializer(
    model: CompressibleModel, name: str, values: npt.NDArray[np.floating]
) -> None:
    """Gives an initializer of the main graph other values, in its own element type.

    The value of a Constant node there is given others likewise.

    Args:
        model: the model, changed in place.
        name: the initializer's.
        values: floats in its shape.

    Raises:
        InputError: there is no such initializer, or the shape differs.
    """
    place = _find_place(model, name, "assign")
    shape = tuple(place.tensor.dims)
    if values.shape != shape:
        raise InputError(
            f"cannot assign {name}: its values must have the shape {list(shape)}, got "
            f"{list(values.shape)}"
        )
    new = TensorProto(name=place.tensor.name, data_type=place.tensor.data_type, dims=shape)
    fill_raw(new, np.ascontiguousarray(values, numpy_dtype(place.tensor.data_type)))
    place.tensor.CopyFrom(new)


def _find_place(model: CompressibleModel, name: str, action: str) -> Place:
    bodies = find_bodies(model.proto)
    for place in find_places(bodies):
        if place.body is bodies[0] and place.name == name:
            return place
    raise InputError(f"cannot {action} {name}: it must be an initializer, got no such one")
