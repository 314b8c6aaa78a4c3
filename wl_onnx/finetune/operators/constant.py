"""Values that come from attributes, and tensors of one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from wl_onnx.finetune.element_types import to_dtype
from wl_onnx.finetune.operators.arguments import Numbers, to_integers, to_number
from wl_onnx.finetune.registry import operator

__all__: list[str] = []


def _check_constant(attributes: Mapping[str, Any]) -> str | None:
    if len(attributes) != 1:
        return f"its value must be given by one attribute, got {len(attributes)}"
    return None


@operator("Constant", since=(1, 9, 11, 12, 13, 19, 21, 23, 24, 25), check=_check_constant)
def _constant(
    *,
    value: torch.Tensor | None = None,
    value_float: float | None = None,
    value_floats: Sequence[float] | None = None,
    value_int: int | None = None,
    value_ints: Sequence[int] | None = None,
) -> torch.Tensor:
    if value is not None:
        return value
    floats = value_float if value_float is not None else value_floats
    if floats is not None:
        return torch.tensor(floats, dtype=torch.float32)
    return torch.tensor(value_int if value_int is not None else value_ints, dtype=torch.int64)


@operator("ConstantOfShape", since=(9, 20, 21, 23, 24, 25))
def _constant_of_shape(shape: torch.Tensor, *, value: torch.Tensor | None = None) -> torch.Tensor:
    filling = torch.zeros(1, device=shape.device) if value is None else value
    return filling.reshape(()).expand(to_integers(shape)).clone()


@operator("Range", since=(11, 27), fixed=(0, 1, 2))
def _range(start: torch.Tensor, limit: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    bounds = (to_number(start), to_number(limit), to_number(delta))
    if (bounds[1] - bounds[0]) * bounds[2] <= 0:
        return torch.zeros(0, dtype=start.dtype, device=start.device)
    return torch.arange(*bounds, dtype=start.dtype, device=start.device)


def _check_eye(attributes: Mapping[str, Any]) -> str | None:
    try:
        to_dtype(attributes.get("dtype", 1))
    except ValueError as error:
        return f"its dtype must be one that torch computes with, got {error}"
    return None


@operator("EyeLike", since=(9, 22), check=_check_eye)
def _eye_like(x: torch.Tensor, *, dtype: int | None = None, k: int = 0) -> torch.Tensor:
    ones = torch.ones_like(x, dtype=x.dtype if dtype is None else to_dtype(dtype))
    return torch.triu(torch.tril(ones, k), k)


@operator("OneHot", since=(9, 11, 28), fixed=(0, 1, 2), host=(1,))
def _one_hot(
    indices: torch.Tensor, depth: Numbers, values: torch.Tensor, *, axis: int = -1
) -> torch.Tensor:
    count = int(to_number(depth))
    places = torch.arange(count, device=indices.device)
    # What is outside of -depth..depth-1 has no place and is off everywhere.
    wanted = indices.to(torch.int64)
    wanted = torch.where(wanted < 0, wanted + count, wanted).unsqueeze(-1)
    found = torch.where(wanted == places, values[1], values[0])
    return found.movedim(-1, axis)


@operator("Shape", since=(1, 13, 15, 19, 21, 23, 24, 25))
def _shape(x: torch.Tensor, *, start: int = 0, end: int | None = None) -> torch.Tensor:
    return torch.tensor(list(x.shape)[start:end], dtype=torch.int64, device=x.device)


@operator("Size", since=(1, 13, 19, 21, 23, 24, 25))
def _size(x: torch.Tensor) -> torch.Tensor:
    return torch.tensor(x.numel(), dtype=torch.int64, device=x.device)


@operator("NonZero", since=(9, 13))
def _non_zero(x: torch.Tensor) -> torch.Tensor:
    """Coordinates in columns, in the order of the elements."""
    return torch.nonzero(x).t().contiguous()
