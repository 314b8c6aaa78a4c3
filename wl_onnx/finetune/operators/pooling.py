"""Pools of one to three spatial axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from wl_onnx.finetune.operators.arguments import give
from wl_onnx.finetune.operators.windows import ones, pad_argument, resolve_pads
from wl_onnx.finetune.registry import operator

__all__: list[str] = []

_AVERAGE = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_CONVOLVE = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def _find_windows(
    sizes: Sequence[int],
    kernel: Sequence[int],
    steps: Sequence[int],
    gaps: Sequence[int],
    auto_pad: str,
    pads: Sequence[int] | None,
    ceil_mode: int,
) -> tuple[list[int], list[int], list[int]]:
    """Padding before and behind, and what the last window reaches over beyond that."""
    before, behind = resolve_pads(auto_pad, pads, sizes, kernel, steps, gaps)
    beyond = [0] * len(kernel)
    if ceil_mode:
        for axis, size in enumerate(sizes):
            width = gaps[axis] * (kernel[axis] - 1) + 1
            room = size + before[axis] + behind[axis] - width
            last = -(-room // steps[axis])
            if last * steps[axis] >= size + before[axis]:
                last -= 1  # a window that begins in the padding behind is left out
            beyond[axis] = max(last * steps[axis] - room, 0)
    return before, behind, beyond


@operator("MaxPool", since=(1, 8, 10, 11, 12, 22))
def _max_pool(
    x: torch.Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    storage_order: int = 0,
    strides: Sequence[int] | None = None,
    output_count: int = 1,
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    rank = len(kernel_shape)
    steps, gaps = ones(strides, rank), ones(dilations, rank)
    sizes = list(x.shape[2:])
    before, behind, beyond = _find_windows(
        sizes, kernel_shape, steps, gaps, auto_pad, pads, ceil_mode
    )
    last = [b + over for b, over in zip(behind, beyond, strict=True)]
    values = x if x.is_floating_point() else x.to(torch.float32)
    if any(before) or any(last):
        values = functional.pad(values, pad_argument(before, last), value=-math.inf)
    if output_count == 1:
        pool = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}[rank]
        return pool(values, list(kernel_shape), steps, [0] * rank, gaps).to(x.dtype)
    indexed = {
        1: functional.max_pool1d_with_indices,
        2: functional.max_pool2d_with_indices,
        3: functional.max_pool3d_with_indices,
    }[rank]
    y, flat = indexed(values, list(kernel_shape), steps, [0] * rank, gaps)
    places = _number_places(flat, sizes, before, last, column_major=bool(storage_order))
    num_planes = x.shape[0] * x.shape[1]
    plane = torch.arange(num_planes, device=x.device).reshape(*x.shape[:2], *[1] * rank)
    return give((y.to(x.dtype), places + plane * math.prod(sizes)), output_count)


def _number_places(
    flat: torch.Tensor,
    sizes: Sequence[int],
    before: Sequence[int],
    behind: Sequence[int],
    *,
    column_major: bool,
) -> torch.Tensor:
    """Positions in padded planes as positions in the planes themselves."""
    coordinates: list[torch.Tensor] = []
    for size, first, last in reversed(list(zip(sizes, before, behind, strict=True))):
        padded = size + first + last
        coordinates.insert(0, flat % padded - first)
        flat = flat // padded
    order = range(len(sizes) - 1, -1, -1) if column_major else range(len(sizes))
    number = torch.zeros_like(flat)
    for axis in order:
        number = number * sizes[axis] + coordinates[axis]
    return number


def _sum_windows(
    x: torch.Tensor, kernel: Sequence[int], steps: Sequence[int], gaps: Sequence[int]
) -> torch.Tensor:
    rank = len(kernel)
    if all(gap == 1 for gap in gaps):
        return _AVERAGE[rank](x, list(kernel), list(steps)) * math.prod(kernel)
    planes = x.reshape(-1, 1, *x.shape[2:])
    filling = torch.ones(1, 1, *kernel, dtype=x.dtype, device=x.device)
    summed = _CONVOLVE[rank](planes, filling, None, steps, 0, gaps)
    return summed.reshape(*x.shape[:2], *summed.shape[2:])


@operator("AveragePool", since=(7, 10, 11, 19, 22))
def _average_pool(
    x: torch.Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> torch.Tensor:
    """Padding is counted only with count_include_pad, what lies beyond it never."""
    rank = len(kernel_shape)
    steps, gaps = ones(strides, rank), ones(dilations, rank)
    before, behind, beyond = _find_windows(
        x.shape[2:], kernel_shape, steps, gaps, auto_pad, pads, ceil_mode
    )
    last = [b + over for b, over in zip(behind, beyond, strict=True)]
    summed = _sum_windows(functional.pad(x, pad_argument(before, last)), kernel_shape, steps, gaps)
    if not any(before) and not any(last):
        return summed / math.prod(kernel_shape)
    counted = torch.ones(1, 1, *x.shape[2:], dtype=x.dtype, device=x.device)
    counted = functional.pad(
        counted, pad_argument(before, behind), value=float(bool(count_include_pad))
    )
    counted = functional.pad(counted, pad_argument([0] * rank, beyond))
    return summed / _sum_windows(counted, kernel_shape, steps, gaps)


@operator("LpPool", since=(2, 11, 18, 22))
def _lp_pool(
    x: torch.Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sequence[int] | None = None,
    p: int = 2,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> torch.Tensor:
    rank = len(kernel_shape)
    steps, gaps = ones(strides, rank), ones(dilations, rank)
    before, behind, beyond = _find_windows(
        x.shape[2:], kernel_shape, steps, gaps, auto_pad, pads, ceil_mode
    )
    last = [b + over for b, over in zip(behind, beyond, strict=True)]
    powers = functional.pad(x.abs().pow(p), pad_argument(before, last))
    return _sum_windows(powers, kernel_shape, steps, gaps).pow(1 / p)


@operator("GlobalAveragePool", since=(1, 22))
def _global_average_pool(x: torch.Tensor) -> torch.Tensor:
    return x.mean(tuple(range(2, x.dim())), keepdim=True)


@operator("GlobalMaxPool", since=(1, 22))
def _global_max_pool(x: torch.Tensor) -> torch.Tensor:
    return x.amax(tuple(range(2, x.dim())), keepdim=True)


@operator("GlobalLpPool", since=(2, 22))
def _global_lp_pool(x: torch.Tensor, *, p: int = 2) -> torch.Tensor:
    return x.abs().pow(p).sum(tuple(range(2, x.dim())), keepdim=True).pow(1 / p)
