"""Normalisation over batches, groups, layers and channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

from wl_onnx.finetune.element_types import to_dtype
from wl_onnx.finetune.operators.arguments import give
from wl_onnx.finetune.registry import operator

__all__: list[str] = []


def _check_spatial(attributes: Mapping[str, Any]) -> str | None:
    if attributes.get("spatial", 1) != 1:
        return "its attribute spatial must be 1, got 0"
    if attributes.get("output_count", 1) != 1:
        return "it must give one output, as at inference, got the statistics of a training graph"
    return None


@operator("BatchNormalization", since=(7, 9), fixed=(3, 4), check=_check_spatial)
def _batch_norm_at_inference(
    x: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    var: torch.Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    spatial: int = 1,
    training: bool = False,
    output_count: int = 1,
) -> torch.Tensor:
    if training:
        return _update(x, scale, bias, mean, var, epsilon, momentum)
    return _scale_channels(x, scale, bias, mean, var, epsilon)


@operator("BatchNormalization", since=(14, 15), fixed=(3, 4))
def _batch_norm(
    x: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    var: torch.Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    training: bool = False,
    output_count: int = 1,
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    if training_mode:
        batch_mean, batch_var = _measure(x)
        y = _scale_batch(x, scale, bias, epsilon)
        running_mean = mean * momentum + batch_mean.to(mean.dtype) * (1 - momentum)
        running_var = var * momentum + batch_var.to(var.dtype) * (1 - momentum)
        return give((y, running_mean, running_var), output_count)
    if training:
        return _update(x, scale, bias, mean, var, epsilon, momentum)
    return _scale_channels(x, scale, bias, mean, var, epsilon)


def _measure(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and population variance of each channel."""
    axes = [axis for axis in range(x.dim()) if axis != 1]
    var, mean = torch.var_mean(x, axes, correction=0)
    return mean, var


def _scale_batch(
    x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, epsilon: float
) -> torch.Tensor:
    """By the batch's own statistics, through which there is a gradient too."""
    if x.dtype == scale.dtype and x.numel() > x.shape[1]:
        return functional.batch_norm(x, None, None, scale, bias, True, 0.0, epsilon)
    return _scale_channels(x, scale, bias, *_measure(x), epsilon)


def _scale_channels(
    x: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    var: torch.Tensor,
    epsilon: float,
) -> torch.Tensor:
    if x.dim() > 1 and x.dtype == scale.dtype == mean.dtype:
        return functional.batch_norm(x, mean, var, scale, bias, False, 0.0, epsilon)
    shape = [-1] + [1] * (x.dim() - 2) if x.dim() > 1 else [-1]
    factor = scale.to(var.dtype) * torch.rsqrt(var + epsilon)
    centred = x.to(var.dtype) - mean.reshape(shape)
    return (centred * factor.reshape(shape) + bias.reshape(shape)).to(x.dtype)


def _update(
    x: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    var: torch.Tensor,
    epsilon: float,
    momentum: float,
) -> torch.Tensor:
    with torch.no_grad():
        batch_mean, batch_var = _measure(x)
        mean.mul_(momentum).add_(batch_mean.to(mean.dtype), alpha=1 - momentum)
        var.mul_(momentum).add_(batch_var.to(var.dtype), alpha=1 - momentum)
    return _scale_batch(x, scale, bias, epsilon)


@operator("InstanceNormalization", since=(6, 22))
def _instance_norm(
    x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, *, epsilon: float = 1e-5
) -> torch.Tensor:
    return functional.group_norm(x, x.shape[1], scale, bias, epsilon)


@operator("GroupNormalization", since=(18,))
def _group_norm_by_group(
    x: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
) -> torch.Tensor:
    """In opset 18 scale and bias are one number a group."""
    repeats = x.shape[1] // num_groups
    each = scale.repeat_interleave(repeats), bias.repeat_interleave(repeats)
    return functional.group_norm(x, num_groups, *each, epsilon)


@operator("GroupNormalization", since=(21,))
def _group_norm(
    x: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> torch.Tensor:
    return functional.group_norm(x, num_groups, scale, bias, epsilon)


def _check_stash(attributes: Mapping[str, Any]) -> str | None:
    try:
        to_dtype(attributes.get("stash_type", 1))
    except ValueError as error:
        return f"its stash_type must be one that torch computes with, got {error}"
    return None


@operator("LayerNormalization", since=(17,), check=_check_stash)
def _layer_norm(
    x: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    output_count: int = 1,
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    axes = list(range(axis % x.dim(), x.dim()))
    stash = to_dtype(stash_type)
    if output_count == 1 and x.dtype == scale.dtype == stash and scale.shape == x.shape[axes[0] :]:
        return functional.layer_norm(x, scale.shape, scale, bias, epsilon)
    stashed = x.to(stash)
    var, mean = torch.var_mean(stashed, axes, correction=0, keepdim=True)
    inverse = torch.rsqrt(var + epsilon)
    y = ((stashed - mean) * inverse).to(x.dtype) * scale
    return give((y if bias is None else y + bias, mean, inverse), output_count)


@operator("RMSNormalization", since=(23,), check=_check_stash)
def _rms_norm(
    x: torch.Tensor,
    scale: torch.Tensor,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> torch.Tensor:
    axes = list(range(axis % x.dim(), x.dim()))
    stashed = x.to(to_dtype(stash_type))
    inverse = torch.rsqrt(stashed.square().mean(axes, keepdim=True) + epsilon)
    return (stashed * inverse).to(x.dtype) * scale


@operator("LRN", since=(1, 13))
def _local_response_norm(
    x: torch.Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> torch.Tensor:
    planes = x.square().reshape(x.shape[0], x.shape[1], -1)
    padded = functional.pad(planes, (0, 0, (size - 1) // 2, size // 2))
    summed = padded.unfold(1, size, 1).sum(-1).reshape(x.shape)
    return x / (bias + alpha / size * summed).pow(beta)


@operator("LpNormalization", since=(1, 22))
def _lp_norm(x: torch.Tensor, *, axis: int = -1, p: int = 2) -> torch.Tensor:
    """A line of zeros stays one."""
    norm = torch.linalg.vector_norm(x, p, axis, keepdim=True)
    return x / torch.where(norm == 0, torch.ones_like(norm), norm)


@operator("MeanVarianceNormalization", since=(9, 13))
def _mean_variance_norm(x: torch.Tensor, *, axes: Sequence[int] = (0, 2, 3)) -> torch.Tensor:
    centred = x - x.mean(tuple(axes), keepdim=True)
    deviation = centred.square().mean(tuple(axes), keepdim=True).sqrt()
    return centred / (deviation + 1e-9)  # of the specification's own definition
