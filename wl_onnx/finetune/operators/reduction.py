"""Sums, means, extremes and norms over axes."""

from __future__ import annotations

from collections.abc import Callable

import torch

from wl_onnx.finetune.operators.arguments import Integers, to_axes, to_integers
from wl_onnx.finetune.registry import operator

__all__: list[str] = []

Reduce = Callable[[torch.Tensor, list[int], bool], torch.Tensor]


def _sum(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    return x.sum(axes, keep, dtype=x.dtype) if axes else x


def _mean(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    if not axes:
        return x
    if x.is_floating_point():
        return x.mean(axes, keep)
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    return torch.div(_sum(x, axes, keep), count, rounding_mode="trunc")


def _product(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keep, dtype=x.dtype)
    return x


def _extreme(x: torch.Tensor, axes: list[int], keep: bool, *, largest: bool) -> torch.Tensor:
    if not axes:
        return x
    if x.numel() == 0:
        # The neutral element, which torch has none of.
        if x.dtype == torch.bool:
            neutral: float = not largest
        elif x.is_floating_point():
            neutral = float("-inf") if largest else float("inf")
        else:
            limits = torch.iinfo(x.dtype)
            neutral = limits.min if largest else limits.max
        return torch.full_like(_sum(x, axes, keep), neutral)
    return x.amax(axes, keep) if largest else x.amin(axes, keep)


def _maximum(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    return _extreme(x, axes, keep, largest=True)


def _minimum(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    return _extreme(x, axes, keep, largest=False)


def _sum_of_magnitudes(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    return _sum(x.abs(), axes, keep)


def _norm(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    if not axes:
        return x.abs()
    if not x.is_floating_point():
        return _sum(x.square(), axes, keep).double().sqrt().to(x.dtype)
    # Its gradient at zero is zero, where that of the root is infinite.
    norm: torch.Tensor = torch.linalg.vector_norm(x, 2, axes, keep)
    return norm


def _sum_of_squares(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    return _sum(x.square(), axes, keep)


def _log_of_sum(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    return _sum(x, axes, keep).log()


def _log_of_exponentials(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    return torch.logsumexp(x, axes, keep) if axes else x


_REDUCTIONS: dict[str, tuple[Reduce, tuple[int, ...]]] = {
    "ReduceL1": (_sum_of_magnitudes, (1, 11, 13, 18)),
    "ReduceL2": (_norm, (1, 11, 13, 18)),
    "ReduceLogSum": (_log_of_sum, (1, 11, 13, 18, 28)),
    "ReduceLogSumExp": (_log_of_exponentials, (1, 11, 13, 18, 28)),
    "ReduceMax": (_maximum, (1, 11, 12, 13, 18, 20)),
    "ReduceMean": (_mean, (1, 11, 13, 18)),
    "ReduceMin": (_minimum, (1, 11, 12, 13, 18, 20)),
    "ReduceProd": (_product, (1, 11, 13, 18)),
    "ReduceSum": (_sum, (1, 11, 13)),
    "ReduceSumSquare": (_sum_of_squares, (1, 11, 13, 18)),
}


def _enter(name: str, compute: Reduce, since: tuple[int, ...]) -> None:
    def reduce(
        x: torch.Tensor,
        axes: Integers | None = None,
        *,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> torch.Tensor:
        chosen = [] if axes is None else to_axes(to_integers(axes), x.dim())
        if not chosen and not noop_with_empty_axes:
            chosen = list(range(x.dim()))
        return compute(x, chosen, bool(keepdims))

    reduce.__name__ = reduce.__qualname__ = f"_{name.lower()}"
    globals()[reduce.__name__] = reduce
    operator(name, since=since, host=(1,))(reduce)


for _name, (_compute, _since) in _REDUCTIONS.items():
    _enter(_name, _compute, _since)
