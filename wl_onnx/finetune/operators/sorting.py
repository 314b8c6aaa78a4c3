"""Order along an axis: positions of extremes, the largest k, running sums and products."""

from __future__ import annotations

import torch

from wl_onnx.finetune.operators.arguments import Integers, give, to_integers
from wl_onnx.finetune.registry import operator

__all__: list[str] = []


@operator("ArgMax", since=(1, 11, 12, 13))
def _argmax(
    x: torch.Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0
) -> torch.Tensor:
    if select_last_index:
        return x.shape[axis] - 1 - x.flip(axis).argmax(axis, keepdim=bool(keepdims))
    return x.argmax(axis, keepdim=bool(keepdims))


@operator("ArgMin", since=(1, 11, 12, 13))
def _argmin(
    x: torch.Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0
) -> torch.Tensor:
    if select_last_index:
        return x.shape[axis] - 1 - x.flip(axis).argmin(axis, keepdim=bool(keepdims))
    return x.argmin(axis, keepdim=bool(keepdims))


# Before opset 11 always the largest, in order, which are the defaults.
@operator("TopK", since=(1, 10, 11, 24), host=(1,))
def _top(
    x: torch.Tensor,
    k: Integers,
    *,
    axis: int = -1,
    largest: int = 1,
    sorted: int = 1,  # noqa: A002  the specification's name
    output_count: int = 2,
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """Of equal elements those in front come first, which torch's own topk does not promise."""
    values, places = torch.sort(x, dim=axis, descending=bool(largest), stable=True)
    count = to_integers(k)[0]
    return give((values.narrow(axis, 0, count), places.narrow(axis, 0, count)), output_count)


@operator("CumSum", since=(11, 14), host=(1,))
def _running_sum(
    x: torch.Tensor, axis: Integers, *, exclusive: int = 0, reverse: int = 0
) -> torch.Tensor:
    along = to_integers(axis)[0]
    x = x.flip(along) if reverse else x
    if exclusive:
        x = torch.cat([torch.zeros_like(x.narrow(along, 0, 1)), _without_last(x, along)], along)
    y = x.cumsum(along, dtype=x.dtype)
    return y.flip(along) if reverse else y


@operator("CumProd", since=(26,), host=(1,))
def _running_product(
    x: torch.Tensor, axis: Integers, *, exclusive: int = 0, reverse: int = 0
) -> torch.Tensor:
    along = to_integers(axis)[0]
    x = x.flip(along) if reverse else x
    if exclusive:
        x = torch.cat([torch.ones_like(x.narrow(along, 0, 1)), _without_last(x, along)], along)
    y = x.cumprod(along, dtype=x.dtype)
    return y.flip(along) if reverse else y


def _without_last(x: torch.Tensor, axis: int) -> torch.Tensor:
    return x.narrow(axis, 0, x.shape[axis] - 1)
