"""Writes ONNX nodes one after another, with short names and each constant once."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["NodeWriter"]

_DIGITS = string.digits + string.ascii_lowercase


class NodeWriter:
    """Collects nodes of standard operators, opset 18.

    Args:
        prefix: what the name of every value begins with.
        taken: names that are not to be given.
    """

    def __init__(self, prefix: str, taken: Iterable[str] = ()) -> None:
        self._nodes: list[NodeProto] = []
        self._prefix = prefix
        self._taken = frozenset(taken)
        self._count = 0
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._ranges: dict[int, str] = {}
        self._numbers: dict[type[np.integer[Any]], dict[int, str]] = {}

    def finish(self, output: str) -> list[NodeProto]:
        """The nodes that a value follows from, in an order that a graph may have.

        Args:
            output: its name.
        """
        first = []
        for dtype, names in self._numbers.items():
            pool = self._name()
            column = np.array(list(names), dtype).reshape(-1, 1)
            first.append(_make_constant(column, pool))
            parts = helper.make_node("Split", [pool], list(names.values()), num_outputs=len(names))
            first.append(parts)
        used = {output}
        kept = []
        for node in reversed(first + self._nodes):
            if used.intersection(node.output):
                used.update(node.input)
                kept.append(node)
        return kept[::-1]

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
        self._nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def split(self, value: str, sizes: Sequence[int], axis: int) -> list[str]:
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
        self._nodes.append(helper.make_node("Split", inputs, names, axis=axis))
        return names

    def constant(self, array: npt.NDArray[Any]) -> str:
        """The name of a constant; the same constant has one name."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._name()
            self._nodes.append(_make_constant(array, self._constants[key]))
        return self._constants[key]

    def integers(self, *values: int) -> str:
        """A constant int64 [n], what shapes and axes are."""
        return self.constant(np.array(values, np.int64))

    def number(self, value: int, dtype: type[np.integer[Any]] = np.int32) -> str:
        """A constant [1, 1], one output of a node that gives all numbers of its type.

        No shape may depend on it: what it is, is not known before nodes are folded.

        Args:
            value: the number.
            dtype: int32 or uint32.
        """
        names = self._numbers.setdefault(dtype, {})
        if value not in names:
            names[value] = self._name()
        return names[value]

    def cast(self, value: str, data_type: int, *, output: str | None = None) -> str:
        """A value as another element type (TensorProto.DataType)."""
        return self.add("Cast", value, output=output, to=int(data_type))

    def reshape(self, value: str, *shape: int, output: str | None = None) -> str:
        """A value with another shape, which must have no 0 in it."""
        return self.add("Reshape", value, self.integers(*shape), output=output)

    def fill(self, value: int, data_type: int, *shape: int) -> str:
        """A value of some shape that is the same number everywhere."""
        return self.add(
            "ConstantOfShape",
            self.integers(*shape),
            value=helper.make_tensor("", data_type, [1], [value]),
        )

    def range(self, count: int) -> str:
        """int32 [count]: 0, 1, 2 and so on."""
        if count not in self._ranges:
            bounds = [self.constant(np.array(number, np.int32)) for number in (0, count, 1)]
            self._ranges[count] = self.add("Range", *bounds)
        return self._ranges[count]

    def slice(self, value: str, start: int, stop: int, axis: int = 0) -> str:
        """Part of a value along an axis."""
        bounds = [self.integers(number) for number in (start, stop)]
        return self.add("Slice", value, *bounds, *([self.integers(axis)] if axis else []))

    def _name(self) -> str:
        number, name = self._count, ""
        self._count += 1
        while number or not name:
            number, digit = divmod(number, len(_DIGITS))
            name = _DIGITS[digit] + name
        name = self._prefix + name
        return name if name not in self._taken else self._name()


def _make_constant(array: npt.NDArray[Any], name: str) -> NodeProto:
    """As an attribute of the form that takes the fewest bytes."""
    if array.dtype == np.int64 and array.ndim == 0:
        return helper.make_node("Constant", [], [name], value_int=int(array))
    if array.dtype == np.int64 and array.ndim == 1 and array.size > 0:
        return helper.make_node("Constant", [], [name], value_ints=array.tolist())
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array))
