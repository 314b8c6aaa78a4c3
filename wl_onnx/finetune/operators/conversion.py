"""Changes of the element type, and operators that are the identity outside of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from wl_onnx.finetune.element_types import to_dtype
from wl_onnx.finetune.operators.arguments import Numbers, give, to_number
from wl_onnx.finetune.registry import operator

__all__: list[str] = []


def _check_cast(attributes: Mapping[str, Any]) -> str | None:
    try:
        to_dtype(attributes["to"])
    except ValueError as error:
        return f"it must cast to a type that torch computes with, got {error}"
    return None


# saturate and round_mode concern the 8-bit floats alone.
@operator("Cast", since=(6, 9, 13, 19, 21, 23, 24, 25, 28), check=_check_cast)
def _cast(x: torch.Tensor, *, to: int, saturate: int = 1, round_mode: str = "up") -> torch.Tensor:
    return _convert(x, to_dtype(to))


@operator("CastLike", since=(15, 19, 21, 23, 24, 25), fixed=(1,))
def _cast_like(
    x: torch.Tensor, like: torch.Tensor, *, saturate: int = 1, round_mode: str = "up"
) -> torch.Tensor:
    return _convert(x, like.dtype)


def _convert(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if x.is_floating_point() and dtype in (torch.uint8, torch.int8, torch.int16):
        x = x.to(torch.int64)  # wraps around, where a direct cast is left to the processor
    return x.to(dtype)


@operator("Dropout", since=(7,))
def _dropout_with_float_mask(
    x: torch.Tensor, *, ratio: float = 0.5, output_count: int = 1
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    return give((x, torch.zeros_like(x)), output_count)


@operator("Dropout", since=(10,))
def _dropout_at_inference(
    x: torch.Tensor, *, ratio: float = 0.5, output_count: int = 1
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """What the mask is was left open before opset 12; this is onnxruntime's."""
    return give((x, torch.zeros_like(x, dtype=torch.bool)), output_count)


@operator("Dropout", since=(12, 13, 22), host=(1, 2))
def _dropout(
    x: torch.Tensor,
    ratio: Numbers = 0.5,
    training_mode: torch.Tensor | bool = False,
    *,
    seed: int = 0,
    output_count: int = 1,
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """Draws from torch's generator, and only where the graph itself says that it trains."""
    rate = float(to_number(ratio))
    if not bool(training_mode) or rate == 0:
        return give((x, torch.ones_like(x, dtype=torch.bool)), output_count)
    kept = torch.rand_like(x) >= rate
    return give((x * kept / (1 - rate), kept), output_count)
