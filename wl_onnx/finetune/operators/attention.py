"""Scaled dot-product attention and rotary positions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from wl_onnx.finetune.element_types import to_dtype
from wl_onnx.finetune.operators.arguments import give
from wl_onnx.finetune.registry import operator

__all__: list[str] = []


def _check_precision(attributes: Mapping[str, Any]) -> str | None:
    try:
        to_dtype(attributes.get("softmax_precision", 1))
    except ValueError as error:
        return f"its softmax_precision must be one that torch computes with, got {error}"
    return None


@operator("Attention", since=(23, 24, 25), fixed=(3,), check=_check_precision)
def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    past_key: torch.Tensor | None = None,
    past_value: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    left_window_size: int = -1,
    q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0,
    right_window_size: int = -1,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int | None = None,
    output_count: int = 1,
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """A query that may attend to nothing gives zeros."""
    is_packed = query.dim() == 3
    if is_packed:
        query = _split_heads(query, q_num_heads)
        key = _split_heads(key, kv_num_heads)
        value = _split_heads(value, kv_num_heads)
    if past_key is not None and past_value is not None:
        key = torch.cat([past_key, key], 2)
        value = torch.cat([past_value, value], 2)
    bias = _form_bias(
        query,
        key.shape[2],
        mask,
        lengths,
        past=0 if past_key is None else past_key.shape[2],
        left=left_window_size,
        right=0 if is_causal else right_window_size,
    )
    repeats = query.shape[1] // key.shape[1]
    keys = key.repeat_interleave(repeats, 1) if repeats > 1 else key
    values = value.repeat_interleave(repeats, 1) if repeats > 1 else value

    # Half of the factor on either side keeps the product in range in float16.
    factor = math.sqrt(1 / math.sqrt(query.shape[3]) if scale is None else scale)
    scores = torch.matmul(query * factor, (keys * factor).transpose(-1, -2))
    stages = [scores]
    if softcap > 0:
        scores = softcap * torch.tanh(scores / softcap)
    stages.append(scores)
    stages.append(scores if bias is None else scores + bias)
    empty = None if bias is None else torch.isneginf(bias).all(-1, keepdim=True)
    if bias is not None and empty is not None:
        # Shares of nothing have no gradient, not even one that a later zero could take away.
        scores = scores + bias.masked_fill(empty, 0)
    precise = scores if softmax_precision is None else scores.to(to_dtype(softmax_precision))
    shares = torch.softmax(precise, -1).to(query.dtype)
    if empty is not None:
        shares = shares.masked_fill(empty, 0)
    stages.append(shares)
    y = torch.matmul(shares, values)
    if is_packed:
        y = y.transpose(1, 2).flatten(2)
    return give((y, key, value, stages[qk_matmul_output_mode]), output_count)


def _split_heads(x: torch.Tensor, num_heads: int | None) -> torch.Tensor:
    if num_heads is None:
        raise RuntimeError("cannot attend: inputs of rank 3 need the numbers of heads, got none")
    return x.reshape(*x.shape[:2], num_heads, -1).transpose(1, 2)


def _form_bias(
    query: torch.Tensor,
    num_keys: int,
    mask: torch.Tensor | None,
    lengths: torch.Tensor | None,
    *,
    past: int,
    left: int,
    right: int,
) -> torch.Tensor | None:
    """What is added to the scores: the mask, and minus infinity where keys are out of reach.

    Args:
        query: `[batch, heads, queries, size]`, for sizes, type and device.
        num_keys: keys that there are, those of the past included.
        mask: given by the graph; what it is short of keys may not be attended to.
        lengths: keys of each batch that are no padding, or None.
        past: keys that come before the first query, where there are no lengths.
        left: keys before a query that it may see; all for -1.
        right: keys behind a query that it may see; all for -1.
    """
    num_queries = query.shape[2]
    keys = torch.arange(num_keys, device=query.device)
    allowed: torch.Tensor | None = None
    if left >= 0 or right >= 0:
        offset = torch.tensor(past, device=query.device)
        if lengths is not None and past == 0:
            offset = (lengths - num_queries).reshape(-1, 1, 1, 1)
        positions = torch.arange(num_queries, device=query.device).unsqueeze(1) + offset
        allowed = torch.ones_like(keys - positions, dtype=torch.bool)
        if left >= 0:
            allowed = allowed & (keys >= positions - left)
        if right >= 0:
            allowed = allowed & (keys <= positions + right)
    if lengths is not None:
        present = keys < lengths.reshape(-1, 1, 1, 1)
        allowed = present if allowed is None else allowed & present
    bias = None
    if mask is not None:
        short = num_keys - mask.shape[-1]
        if mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, -math.inf)
        bias = torch.nn.functional.pad(mask, (0, max(short, 0)), value=-math.inf)
    if allowed is None:
        return bias
    reach = torch.zeros_like(allowed, dtype=query.dtype).masked_fill(~allowed, -math.inf)
    return reach if bias is None else bias + reach


@operator("RotaryEmbedding", since=(23,))
def _rotate_positions(
    x: torch.Tensor,
    cosines: torch.Tensor,
    sines: torch.Tensor,
    positions: torch.Tensor | None = None,
    *,
    interleaved: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
) -> torch.Tensor:
    heads = x.transpose(1, 2) if x.dim() == 4 else x.reshape(*x.shape[:2], num_heads, -1)
    size = rotary_embedding_dim or heads.shape[-1]
    turned, kept = heads[..., :size], heads[..., size:]
    if positions is not None:
        cosines, sines = cosines[positions], sines[positions]
    cosines, sines = cosines.unsqueeze(2), sines.unsqueeze(2)
    if interleaved:
        first, second = turned[..., 0::2], turned[..., 1::2]
    else:
        first, second = turned.chunk(2, -1)
    pair = (cosines * first - sines * second, sines * first + cosines * second)
    joined = torch.stack(pair, -1).flatten(-2) if interleaved else torch.cat(pair, -1)
    y = torch.cat([joined, kept], -1)
    return y.transpose(1, 2) if x.dim() == 4 else y.reshape(x.shape)
