"""Padding by a value, by the edge, mirrored or wrapped around."""

from __future__ import annotations

import torch
from torch.nn import functional

from wl_onnx.finetune.operators.arguments import (
    Integers,
    Numbers,
    to_axes,
    to_integers,
    to_number,
)
from wl_onnx.finetune.operators.windows import pad_argument
from wl_onnx.finetune.registry import operator

__all__: list[str] = []


@operator("Pad", since=(2, 11, 13, 18, 19, 21, 23, 24, 25), host=(1, 2, 3))
def _pad(
    x: torch.Tensor,
    pads: Integers,
    constant_value: Numbers | None = None,
    axes: Integers | None = None,
    *,
    mode: str = "constant",
    value: float = 0.0,
) -> torch.Tensor:
    sizes = to_integers(pads)
    chosen = to_axes(range(x.dim()) if axes is None else to_integers(axes), x.dim())
    before, behind = [0] * x.dim(), [0] * x.dim()
    for index, axis in enumerate(chosen):
        before[axis], behind[axis] = sizes[index], sizes[index + len(chosen)]
    if mode == "constant":
        filling = value if constant_value is None else to_number(constant_value)
        return functional.pad(x, pad_argument(before, behind), value=filling)
    for axis in range(x.dim()):
        if before[axis] or behind[axis]:
            places = torch.arange(-before[axis], x.shape[axis] + behind[axis], device=x.device)
            x = x.index_select(axis, _find_sources(places, x.shape[axis], mode))
    return x


def _find_sources(places: torch.Tensor, size: int, mode: str) -> torch.Tensor:
    """The elements that padded places are copies of."""
    if mode == "edge":
        return places.clamp(0, size - 1)
    if mode == "wrap":
        return places.remainder(size)
    period = max(2 * (size - 1), 1)
    folded = places.remainder(period)
    return torch.where(folded < size, folded, period - folded)


@operator("CenterCropPad", since=(18,), host=(1,))
def _center(x: torch.Tensor, shape: Integers, *, axes: Integers | None = None) -> torch.Tensor:
    """Cut or padded with zeros to a shape, the middle in the middle."""
    chosen = to_axes(range(x.dim()) if axes is None else to_integers(axes), x.dim())
    before, behind = [0] * x.dim(), [0] * x.dim()
    for axis, size in zip(chosen, to_integers(shape), strict=True):
        surplus = x.shape[axis] - size
        if surplus >= 0:
            before[axis] = -(surplus // 2)
        else:
            before[axis] = -surplus // 2
        behind[axis] = -surplus - before[axis]
    return functional.pad(x, pad_argument(before, behind))
