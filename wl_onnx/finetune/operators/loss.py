"""Losses that a graph may hold itself."""

from __future__ import annotations

import torch
from torch.nn import functional

from wl_onnx.finetune.operators.arguments import give
from wl_onnx.finetune.registry import operator

__all__: list[str] = []


@operator("NegativeLogLikelihoodLoss", since=(12, 13, 22), fixed=(2,))
def _negative_log_likelihood(
    x: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> torch.Tensor:
    # A target that is no class is an error unless it is the one that is ignored.
    ignored = -1 if ignore_index is None else ignore_index
    classes = target.to(torch.int64)
    # torch takes at most two spatial axes in its fast form; one does for all.
    flat = x.reshape(x.shape[0], x.shape[1], -1)
    loss = functional.nll_loss(
        flat, classes.reshape(x.shape[0], -1), weight, ignore_index=ignored, reduction=reduction
    )
    return loss.reshape(target.shape) if reduction == "none" else loss


@operator("SoftmaxCrossEntropyLoss", since=(12, 13), fixed=(2,))
def _softmax_cross_entropy(
    scores: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
    output_count: int = 1,
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    logarithms = torch.log_softmax(scores, 1)
    loss = _negative_log_likelihood(
        logarithms, labels, weights, ignore_index=ignore_index, reduction=reduction
    )
    return give((loss, logarithms), output_count)
