"""A model at work: the file's own protobuf, and the bytes that lie outside of it.

The graph layer edits `ModelProto` directly. On onnx-ir 1.1.0 a round trip lost sparse initializers
and `training_info`, refused models with map outputs (`ZipMap`), and took 5.7 ms for a graph of 95
nodes that protobuf parses and writes in 0.12 ms. What is not touched here cannot be lost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto

from wl_onnx.graph.failures import model_error
from wl_onnx.graph.scopes import find_bodies, find_tensors
from wl_onnx.graph.tensors import (
    ExternalSpan,
    count_bytes,
    external_span,
    is_external,
    numpy_dtype,
    point_to_external,
    read_inline,
    read_span,
)

__all__ = ["CompressibleModel"]


@dataclasses.dataclass(eq=False)
class CompressibleModel:
    """A model that can be searched, rewritten and saved without holding all its weights.

    Attributes:
        proto: the model; the passes change it in place.
        path: the file that it was read from, or None.
        folder: what the locations of its external data are relative to.
        deferred: sources of tensors whose bytes do not exist yet, by the location that the
            tensor names; each is called when the model is saved, one after another.
    """

    proto: ModelProto
    path: Path | None
    folder: Path
    deferred: dict[str, Callable[[], np.ndarray]] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """How messages call the model: its path, else its graph's name."""
        return str(self.path) if self.path else self.proto.graph.name or "the model"

    @property
    def external_paths(self) -> set[Path]:
        """The files that hold the model's external data."""
        tensors = find_tensors(find_bodies(self.proto))
        locations = {external_span(t).location for t in tensors if is_external(t)}
        return {self.folder / location for location in locations - set(self.deferred)}

    def read(self, tensor: TensorProto) -> np.ndarray:
        """A tensor's values: from the protobuf, mapped from its file, or made now if deferred.

        Returns:
            The array in the tensor's shape, read-only; raw bytes, uint8 `[length]`, for types
            that NumPy lacks (4-bit integers, 8-bit floats).

        Raises:
            ModelError: the data is missing or shorter than the shape says.
        """
        if not is_external(tensor):
            return read_inline(tensor)
        data = self.read_bytes(tensor)
        dtype = numpy_dtype(tensor.data_type)
        if data.size != count_bytes(tensor.data_type, tensor.dims) or (
            dtype == np.uint8 and tensor.data_type != TensorProto.UINT8
        ):
            return data
        return data.view(dtype.newbyteorder("<")).reshape(tuple(tensor.dims))

    def read_bytes(self, tensor: TensorProto) -> np.ndarray:
        """The bytes of an external or deferred tensor: uint8 `[length]`, little-endian."""
        span = external_span(tensor)
        source = self.deferred.get(span.location)
        if source is not None:
            array = source()
            array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            return array.reshape(-1).view(np.uint8)
        try:
            return read_span(self.folder / span.location, span)
        except (OSError, ValueError) as error:
            raise model_error(
                f"cannot read tensor {tensor.name}: its external data must be in "
                f"{self.folder / span.location}, got {error}"
            ) from error

    def defer(self, tensor: TensorProto, source: Callable[[], np.ndarray]) -> None:
        """Gives a tensor data that is made when it is read, and external when it is saved.

        Args:
            tensor: its type and shape are set; `source` gives an array of just these.
            source: gives the same array at every call.
        """
        location = f"deferred-{len(self.deferred)}"
        size_bytes = count_bytes(tensor.data_type, tensor.dims) or 0
        point_to_external(tensor, ExternalSpan(location, 0, size_bytes))
        self.deferred[location] = source
