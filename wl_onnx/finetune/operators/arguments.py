"""What operators take: shapes and axes as Python integers, outputs as the node names them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias, TypeVar

import torch

__all__ = [
    "Integers",
    "Numbers",
    "broadcast",
    "give",
    "to_axes",
    "to_integers",
    "to_number",
    "to_numbers",
]

Integers: TypeAlias = torch.Tensor | Sequence[int] | int
Numbers: TypeAlias = torch.Tensor | Sequence[float] | float
Output = TypeVar("Output")


def to_integers(value: Integers) -> list[int]:
    """Integers of an input that may be a tensor of rank 0 or 1, or Python's already."""
    if isinstance(value, torch.Tensor):
        return [int(one) for one in value.reshape(-1).tolist()]
    return [value] if isinstance(value, int) else list(value)


def to_numbers(value: Numbers) -> list[float]:
    """Floats likewise."""
    if isinstance(value, torch.Tensor):
        return [float(one) for one in value.reshape(-1).tolist()]
    return [float(value)] if isinstance(value, int | float) else [float(one) for one in value]


def to_number(value: Numbers) -> float | int:
    """The one number of an input of one element: an int of an integer input."""
    if isinstance(value, torch.Tensor):
        number: float | int = value.reshape(()).item()
        return number
    return value if isinstance(value, int | float) else next(iter(value))


def to_axes(axes: Iterable[int], rank: int) -> list[int]:
    """Axes counted from the front.

    Raises:
        IndexError: one is out of range.
    """
    found = []
    for axis in axes:
        if not -rank <= axis < rank:
            raise IndexError(f"an axis must be in {-rank}..{rank - 1}, got {axis}")
        found.append(axis % rank)
    return found


def broadcast(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """The shape that two shapes are broadcast to."""
    # torch's own broadcast_shapes has no types.
    rank = max(len(one), len(other))
    padded = ([1] * (rank - len(shape)) + list(shape) for shape in (one, other))
    return [b if a == 1 else a for a, b in zip(*padded, strict=True)]


def give(outputs: Sequence[Output], output_count: int) -> Output | tuple[Output, ...]:
    """The first outputs, as many as the node names; a single one stands for itself."""
    return outputs[0] if output_count == 1 else tuple(outputs[:output_count])
