"""Tensors of which parts are cut out: nothing is copied until the model is written."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from wl_onnx.graph.tensors import (
    EXTERNAL_MINIMUM_BYTES,
    count_bytes,
    fill_raw,
    is_external,
    numpy_dtype,
)

if TYPE_CHECKING:
    from wl_onnx.graph.model import CompressibleModel

__all__ = ["TrimmedTensors"]

Indices = npt.NDArray[np.intp]


class TrimmedTensors:
    """Constant tensors of a model, some of whose rows, columns or channels are gone.

    Attributes:
        model: the model; its tensors change when `write` is called, and not before.
    """

    def __init__(self, model: CompressibleModel, tensors: Mapping[str, TensorProto]) -> None:
        self.model = model
        self._tensors = dict(tensors)
        self._kept: dict[str, dict[int, Indices]] = {}
        self._assigned: dict[str, np.ndarray] = {}
        self._new: set[str] = set()

    def add(self, name: str, data_type: int, num_elements: int) -> None:
        """Adds a vector of zeros that is no tensor of the model yet.

        Args:
            name: of it.
            data_type: ONNX element type, a float one.
            num_elements: its length.
        """
        self._tensors[name] = TensorProto(name=name, data_type=data_type, dims=[num_elements])
        self._new.add(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """The dimensions that a tensor has now.

        Args:
            name: of the tensor.
        """
        kept = self._kept.get(name, {})
        dims = self._tensors[name].dims
        return tuple(len(kept[axis]) if axis in kept else dim for axis, dim in enumerate(dims))

    def dtype(self, name: str) -> np.dtype[np.generic]:
        """The NumPy dtype of a tensor.

        Args:
            name: of the tensor.
        """
        return numpy_dtype(self._tensors[name].data_type)

    def read(self, name: str) -> np.ndarray:
        """The values that a tensor has now, read-only; external data is mapped and cut anew.

        Args:
            name: of the tensor.

        Raises:
            ModelError: the data is gone or does not match the shape.
        """
        if name in self._assigned:
            return self._assigned[name]
        if name in self._new:
            return np.zeros(self.shape(name), self.dtype(name))
        return _cut(self.model, self._tensors[name], self._kept.get(name, {}))

    def keep(self, name: str, axis: int, indices: Indices) -> None:
        """Cuts all of a tensor out but what is named.

        Args:
            name: of the tensor.
            axis: along which, counted from the front.
            indices: what stays of what is there now, in rising order.
        """
        if name in self._assigned:
            self._assigned[name] = np.take(self._assigned[name], indices, axis)
        kept = self._kept.setdefault(name, {})
        kept[axis] = kept[axis][indices] if axis in kept else indices

    def assign(self, name: str, values: np.ndarray) -> None:
        """Gives a tensor other values.

        Args:
            name: of the tensor.
            values: in the shape that it has now, and in its dtype.
        """
        self._assigned[name] = values

    def is_assigned(self, name: str) -> bool:
        """Whether a tensor was given other values.

        Args:
            name: of the tensor.
        """
        return name in self._assigned

    def write(self) -> list[str]:
        """Puts the changes into the model's tensors, and its new ones that are not 0.

        What was external is made when the model is saved, from the bytes where they are now.

        Returns:
            The names of the tensors that have another shape, or were not there.
        """
        changed = []
        for name in sorted(self._kept.keys() | self._assigned.keys()):
            tensor = self._tensors[name]
            if name in self._new:
                if name not in self._assigned:
                    continue
                tensor = self.model.proto.graph.initializer.add()
                tensor.CopyFrom(self._tensors[name])
            self._write(tensor, name)
            changed.append(name)
        return changed

    def _write(self, tensor: TensorProto, name: str) -> None:
        original = TensorProto()
        if is_external(tensor):  # no more than a reference
            original.CopyFrom(tensor)
        shape = self.shape(name)
        size_bytes = count_bytes(tensor.data_type, shape) or 0
        is_large = is_external(tensor) and size_bytes > EXTERNAL_MINIMUM_BYTES
        if not is_large or name in self._assigned:
            values = self.read(name)
            del tensor.dims[:]
            tensor.dims.extend(shape)
            fill_raw(tensor, values)
            return
        del tensor.dims[:]
        tensor.dims.extend(shape)
        tensor.ClearField("external_data")  # a checksum would no longer hold
        kept = self._kept[name]
        self.model.defer(tensor, functools.partial(_cut, self.model, original, kept))


def _cut(model: CompressibleModel, tensor: TensorProto, kept: Mapping[int, Indices]) -> np.ndarray:
    values = model.read(tensor)
    # The axis that loses most goes first.
    for axis in sorted(kept, key=lambda axis: len(kept[axis]) / max(values.shape[axis], 1)):
        values = np.take(values, kept[axis], axis)
    return values
