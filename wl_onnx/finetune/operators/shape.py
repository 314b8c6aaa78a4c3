"""Operators that move elements without changing them: by shapes, axes and slices."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from wl_onnx.finetune.operators.arguments import Integers, broadcast, give, to_axes, to_integers
from wl_onnx.finetune.registry import operator

__all__: list[str] = []


@operator("Reshape", since=(5, 13, 14, 19, 21, 23, 24, 25), host=(1,))
def _reshape(x: torch.Tensor, shape: Integers, *, allowzero: int = 0) -> torch.Tensor:
    wanted = to_integers(shape)
    if not allowzero:
        wanted = [x.shape[i] if size == 0 else size for i, size in enumerate(wanted)]
    return x.reshape(wanted)


@operator("Flatten", since=(1, 9, 11, 13, 21, 23, 24, 25))
def _flatten(x: torch.Tensor, *, axis: int = 1) -> torch.Tensor:
    axis = axis + x.dim() if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operator("Squeeze", since=(1, 11, 13, 21, 23, 24, 25), host=(1,))
def _squeeze(x: torch.Tensor, axes: Integers | None = None) -> torch.Tensor:
    if axes is None:
        return x.squeeze()
    removed = to_axes(to_integers(axes), x.dim())
    return x.reshape([size for axis, size in enumerate(x.shape) if axis not in removed])


@operator("Unsqueeze", since=(1, 11, 13, 21, 23, 24, 25), host=(1,))
def _unsqueeze(x: torch.Tensor, axes: Integers) -> torch.Tensor:
    added = to_integers(axes)
    for axis in sorted(to_axes(added, x.dim() + len(added))):
        x = x.unsqueeze(axis)
    return x


@operator("Transpose", since=(1, 13, 21, 23, 24, 25))
def _transpose(x: torch.Tensor, *, perm: Sequence[int] | None = None) -> torch.Tensor:
    return x.permute(*(range(x.dim() - 1, -1, -1) if perm is None else perm))


@operator("Concat", since=(4, 11, 13))
def _concatenate(*values: torch.Tensor, axis: int) -> torch.Tensor:
    return torch.cat(values, axis)


@operator("Split", since=(2, 11, 13, 18), host=(1,))
def _split(
    x: torch.Tensor,
    split: Integers | None = None,
    *,
    axis: int = 0,
    num_outputs: int | None = None,
    output_count: int = 1,
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    if split is None:
        size = x.shape[axis]
        each = -(-size // (num_outputs or output_count))
        sizes = [min(each, max(size - each * i, 0)) for i in range(output_count)]
    else:
        sizes = to_integers(split)
    return give(torch.split(x, sizes, axis), output_count)


@operator("Expand", since=(8, 13), host=(1,))
def _expand(x: torch.Tensor, shape: Integers) -> torch.Tensor:
    """The shapes are broadcast against each other: a 1 in the wanted one keeps x's size."""
    return x.expand(broadcast(x.shape, to_integers(shape)))


@operator("Tile", since=(6, 13), host=(1,))
def _tile(x: torch.Tensor, repeats: Integers) -> torch.Tensor:
    return x.repeat(to_integers(repeats))


@operator("Slice", since=(1, 10, 11, 13), host=(1, 2, 3, 4))
def _slice(
    x: torch.Tensor,
    starts: Integers,
    ends: Integers,
    axes: Integers | None = None,
    steps: Integers | None = None,
) -> torch.Tensor:
    first, last = to_integers(starts), to_integers(ends)
    along = to_axes(range(len(first)) if axes is None else to_integers(axes), x.dim())
    strides = [1] * len(first) if steps is None else to_integers(steps)
    for axis, start, end, step in zip(along, first, last, strides, strict=True):
        # Python's own rules for a range are those of the specification.
        bounds = range(x.shape[axis])[start:end:step]
        if step > 0:
            x = x[(slice(None),) * axis + (slice(bounds.start, bounds.stop, step),)]
        else:
            x = x.index_select(axis, torch.tensor(list(bounds), device=x.device, dtype=torch.int64))
    return x


@operator("Trilu", since=(14,), host=(1,))
def _triangle(x: torch.Tensor, k: Integers = 0, *, upper: int = 1) -> torch.Tensor:
    diagonal = to_integers(k)[0]
    return torch.triu(x, diagonal) if upper else torch.tril(x, diagonal)


@operator("DepthToSpace", since=(1, 11, 13, 28))
def _depth_to_space(x: torch.Tensor, *, blocksize: int, mode: str = "DCR") -> torch.Tensor:
    batch, channels, height, width = x.shape
    depth = channels // blocksize**2
    if mode == "DCR":
        blocks = x.reshape(batch, blocksize, blocksize, depth, height, width)
        moved = blocks.permute(0, 3, 4, 1, 5, 2)
    else:
        blocks = x.reshape(batch, depth, blocksize, blocksize, height, width)
        moved = blocks.permute(0, 1, 4, 2, 5, 3)
    return moved.reshape(batch, depth, height * blocksize, width * blocksize)


@operator("SpaceToDepth", since=(1, 13, 28))
def _space_to_depth(x: torch.Tensor, *, blocksize: int, mode: str = "DCR") -> torch.Tensor:
    batch, channels, height, width = x.shape
    rows, columns = height // blocksize, width // blocksize
    blocks = x.reshape(batch, channels, rows, blocksize, columns, blocksize)
    moved = blocks.permute(0, 3, 5, 1, 2, 4) if mode == "DCR" else blocks.permute(0, 1, 3, 5, 2, 4)
    return moved.reshape(batch, channels * blocksize**2, rows, columns)
