"""Elements taken by index."""

from __future__ import annotations

import math

import torch

from wl_onnx.finetune.registry import operator

__all__: list[str] = []


def _count_from_front(indices: torch.Tensor, size: int) -> torch.Tensor:
    indices = indices.to(torch.int64)
    return torch.where(indices < 0, indices + size, indices)


@operator("Gather", since=(1, 11, 13))
def _gather(x: torch.Tensor, indices: torch.Tensor, *, axis: int = 0) -> torch.Tensor:
    axis = axis % x.dim()
    places = _count_from_front(indices, x.shape[axis])
    taken = x.index_select(axis, places.reshape(-1))
    return taken.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


@operator("GatherElements", since=(11, 13))
def _gather_elements(x: torch.Tensor, indices: torch.Tensor, *, axis: int = 0) -> torch.Tensor:
    return torch.gather(x, axis, _count_from_front(indices, x.shape[axis]))


@operator("GatherND", since=(11, 12, 13))
def _gather_nd(x: torch.Tensor, indices: torch.Tensor, *, batch_dims: int = 0) -> torch.Tensor:
    depth = indices.shape[-1]
    batch = x.shape[:batch_dims]
    rest = x.shape[batch_dims + depth :]
    flat = x.reshape(math.prod(batch), -1, *rest)
    places = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=x.device)
    for number in range(depth):
        size = x.shape[batch_dims + number]
        places = places * size + _count_from_front(indices[..., number], size)
    places = places.reshape(math.prod(batch), -1)
    rows = torch.arange(flat.shape[0], device=x.device).unsqueeze(1)
    return flat[rows, places].reshape((*indices.shape[:-1], *rest))


@operator("Compress", since=(9, 11, 28))
def _compress(x: torch.Tensor, condition: torch.Tensor, *, axis: int | None = None) -> torch.Tensor:
    """Where the condition is shorter than the axis, the rest is left out."""
    chosen = torch.nonzero(condition).reshape(-1)
    return x.reshape(-1)[chosen] if axis is None else x.index_select(axis, chosen)


@operator("ReverseSequence", since=(10, 28))
def _reverse_sequence(
    x: torch.Tensor, lengths: torch.Tensor, *, batch_axis: int = 1, time_axis: int = 0
) -> torch.Tensor:
    moved = x.movedim((time_axis, batch_axis), (0, 1))
    times = torch.arange(moved.shape[0], device=x.device).unsqueeze(1)
    ends = lengths.to(torch.int64).unsqueeze(0)
    sources = torch.where(times < ends, ends - 1 - times, times)
    batches = torch.arange(moved.shape[1], device=x.device).unsqueeze(0)
    return moved[sources, batches].movedim((0, 1), (time_axis, batch_axis))
