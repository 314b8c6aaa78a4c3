"""Elements put by index."""

from __future__ import annotations

import math

import torch

from wl_onnx.finetune.registry import operator

__all__: list[str] = []

_REDUCE = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@operator("Scatter", since=(9, 11))
@operator("ScatterElements", since=(11, 13, 16, 18))
def _scatter_elements(
    x: torch.Tensor,
    indices: torch.Tensor,
    updates: torch.Tensor,
    *,
    axis: int = 0,
    reduction: str = "none",
) -> torch.Tensor:
    places = indices.to(torch.int64)
    places = torch.where(places < 0, places + x.shape[axis], places)
    if reduction == "none":
        return x.scatter(axis, places, updates)
    return x.scatter_reduce(axis, places, updates, _REDUCE[reduction], include_self=True)


@operator("ScatterND", since=(11, 13, 16, 18))
def _scatter_nd(
    x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, *, reduction: str = "none"
) -> torch.Tensor:
    depth = indices.shape[-1]
    places = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=x.device)
    for number in range(depth):
        one = indices[..., number].to(torch.int64)
        size = x.shape[number]
        places = places * size + torch.where(one < 0, one + size, one)
    rest = math.prod(x.shape[depth:])
    flat = x.reshape(-1, rest)
    rows = places.reshape(-1, 1).expand(-1, rest)
    values = updates.reshape(-1, rest)
    if reduction == "none":
        return flat.scatter(0, rows, values).reshape(x.shape)
    reduced = flat.scatter_reduce(0, rows, values, _REDUCE[reduction], include_self=True)
    return reduced.reshape(x.shape)
