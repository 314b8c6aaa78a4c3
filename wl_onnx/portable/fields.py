"""Checks of fields and tensors that come out of a file, which anyone may have written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import BlobError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FieldReader", "require"]


def require(holds: bool, what: str, got: object) -> None:
    """Refuses a portable weight unless a condition holds.

    Args:
        holds: the condition.
        what: what must hold, with the name of the field or tensor.
        got: what was found.

    Raises:
        BlobError: it does not hold.
    """
    if not holds:
        shown = str(got)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        shown = shown.replace("\n", " ")
        raise BlobError(f"cannot read portable weight: {what}, got {shown}; the file is damaged")


class FieldReader:
    """Gives the fields and the tensors of a weight, each checked for its type and range.

    Args:
        tensors: the tensors by role.
        fields: the fields by name.
    """

    def __init__(self, tensors: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        self._tensors = dict(tensors)
        self._fields = dict(fields)

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """A field that is one of some words."""
        value = self._fields.pop(name, None)
        known = isinstance(value, str) and value in choices
        require(known, f"{name} must be one of {', '.join(choices)}", value)
        return str(value)

    def integer(self, name: str, least: int, most: int) -> int:
        """A field that is a number from `least` to `most`."""
        return self._integer(name, self._fields.pop(name, None), least, most)

    def integers(self, name: str, least: int, most: int, max_count: int) -> list[int]:
        """A field that is a list of 1 to `max_count` numbers from `least` to `most`."""
        values = self._fields.pop(name, None)
        is_list = isinstance(values, list) and 1 <= len(values) <= max_count
        require(is_list, f"{name} must be a list of 1 to {max_count} numbers", values)
        return [self._integer(name, value, least, most) for value in values or []]

    def text(self, name: str) -> str | None:
        """A field that is text, None where it is not there."""
        value = self._fields.pop(name, None)
        require(value is None or isinstance(value, str), f"{name} must be text", value)
        return None if value is None else str(value)

    def tensor(self, role: str, dtypes: Sequence[type[np.generic]], rank: int) -> npt.NDArray[Any]:
        """A tensor of one of some element types and of a rank."""
        value = self._tensors.pop(role, None)
        is_array = isinstance(value, np.ndarray)
        got = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else "none"
        names = " or ".join(np.dtype(dtype).name for dtype in dtypes)
        what = f"tensor {role} must be {names} with {rank} dimensions"
        require(is_array and value.dtype in dtypes and value.ndim == rank, what, got)
        return np.ascontiguousarray(value)

    def has_tensor(self, role: str) -> bool:
        """Whether there is such a tensor that was not taken yet."""
        return role in self._tensors

    def close(self) -> None:
        """Refuses what was never asked for."""
        left = [*self._tensors, *self._fields]
        require(not left, "it must have no other tensors and fields", ", ".join(map(str, left)))

    def _integer(self, name: str, value: object, least: int, most: int) -> int:
        is_number = isinstance(value, int) and not isinstance(value, bool)
        number = value if isinstance(value, int) and is_number else least - 1
        require(least <= number <= most, f"{name} must be from {least} to {most}", value)
        return number
