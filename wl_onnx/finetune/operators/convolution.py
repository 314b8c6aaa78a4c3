"""Convolutions of one to three spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch.nn import functional

from wl_onnx.finetune.operators.windows import ones, pad_argument, resolve_pads, split_total
from wl_onnx.finetune.registry import operator

if TYPE_CHECKING:
    import torch

__all__: list[str] = []

_CONVOLVE = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSE = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


@operator("Conv", since=(1, 11, 22))
def _convolve(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> torch.Tensor:
    rank = x.dim() - 2
    steps, gaps = ones(strides, rank), ones(dilations, rank)
    before, behind = resolve_pads(auto_pad, pads, x.shape[2:], weight.shape[2:], steps, gaps)
    if before != behind or min(before, default=0) < 0:
        x = functional.pad(x, pad_argument(before, behind))
        before = [0] * rank
    return _CONVOLVE[rank](x, weight, bias, steps, before, gaps, group)


@operator("ConvTranspose", since=(1, 11, 22))
def _convolve_transposed(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    output_padding: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> torch.Tensor:
    rank = x.dim() - 2
    steps, gaps = ones(strides, rank), ones(dilations, rank)
    extra = list(output_padding) if output_padding else [0] * rank
    before = [0] * rank
    behind = [0] * rank
    if output_shape or auto_pad.startswith("SAME"):
        wanted = output_shape or [
            size * step for size, step in zip(x.shape[2:], steps, strict=True)
        ]
        for axis in range(rank):
            full = steps[axis] * (x.shape[2 + axis] - 1) + extra[axis]
            full += gaps[axis] * (weight.shape[2 + axis] - 1) + 1
            before[axis], behind[axis] = split_total(
                full - wanted[len(wanted) - rank + axis], upper=auto_pad == "SAME_UPPER"
            )
    elif pads and auto_pad != "VALID":
        before, behind = list(pads[:rank]), list(pads[rank:])
    y = _TRANSPOSE[rank](x, weight, None, steps, 0, 0, group, gaps)
    cuts = [-size for size in before], [e - size for e, size in zip(extra, behind, strict=True)]
    if any(cuts[0]) or any(cuts[1]):
        y = functional.pad(y, pad_argument(*cuts))
    # Behind the padding, for what is appended has the bias too.
    return y if bias is None else y + bias.reshape(-1, *[1] * rank)
