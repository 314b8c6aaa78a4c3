"""Writes ONNX nodes one after another, with short names and each constant once."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["NodeWriter"]

_DIGITS = string.digits + string.ascii_lowercase


class NodeWriter:
    """Collects nodes of standard operators, opset 18.

    Attributes:
        nodes: the nodes so far, in an order that a graph may have.

    Args:
        prefix: what the name of every value begins with.
        taken: names that are not to be given.
    """

    def __init__(self, prefix: str, taken: Iterable[str] = ()) -> None:
        self.nodes: list[NodeProto] = []
        self._prefix = prefix
        self._taken = frozenset(taken)
        self._count = 0
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """A node with one output.

        Args:
            operator: type of the node.
            *inputs: names of values.
            output: the name of what it gives; None takes a new one.
            **attributes: those of the node.

        Returns:
            The name of what it gives.
        """
        name = output or self._name()
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def split(self, value: str, sizes: list[int], axis: int) -> list[str]:
        """Parts of a value.

        Args:
            value: its name.
            sizes: lengths of the parts along the axis.
            axis: the axis.

        Returns:
            The names of the parts.
        """
        names = [self._name() for _ in sizes]
        inputs = [value, self.integers(*sizes)]
        self.nodes.append(helper.make_node("Split", inputs, names, axis=axis))
        return names

    def constant(self, array: npt.NDArray[Any]) -> str:
        """The name of a constant; the same constant has one name."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            value = numpy_helper.from_array(array)
            self._constants[key] = self.add("Constant", value=value)
        return self._constants[key]

    def integers(self, *values: int) -> str:
        """A constant int64 [n], what shapes and axes are."""
        return self.constant(np.array(values, np.int64))

    def int32(self, value: int) -> str:
        """A constant int32 without dimensions; of a larger number the lower 32 bits."""
        return self.constant(np.array(value & 0xFFFFFFFF, np.uint32).view(np.int32))

    def cast(self, value: str, data_type: int, *, output: str | None = None) -> str:
        """A value as another element type (TensorProto.DataType)."""
        return self.add("Cast", value, output=output, to=int(data_type))

    def reshape(self, value: str, *shape: int, output: str | None = None) -> str:
        """A value with another shape, which must have no 0 in it."""
        return self.add("Reshape", value, self.integers(*shape), output=output)

    def range(self, count: int) -> str:
        """int32 [count]: 0, 1, 2 and so on."""
        return self.add("Range", self.int32(0), self.int32(count), self.int32(1))

    def slice(self, value: str, start: int, stop: int, axis: int = 0) -> str:
        """Part of a value along an axis."""
        bounds = [self.integers(number) for number in (start, stop, axis)]
        return self.add("Slice", value, *bounds)

    def _name(self) -> str:
        number, name = self._count, ""
        self._count += 1
        while number or not name:
            number, digit = divmod(number, len(_DIGITS))
            name = _DIGITS[digit] + name
        name = self._prefix + name
        return name if name not in self._taken else self._name()
