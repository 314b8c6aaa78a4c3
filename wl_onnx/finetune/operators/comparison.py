"""Comparisons and logic; nothing here has a gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch

from wl_onnx.finetune.registry import operator

__all__: list[str] = []

_BINARY: dict[str, tuple[Callable[[torch.Tensor, torch.Tensor], torch.Tensor], tuple[int, ...]]] = {
    "And": (torch.logical_and, (7,)),
    "BitwiseAnd": (torch.bitwise_and, (18,)),
    "BitwiseOr": (torch.bitwise_or, (18,)),
    "BitwiseXor": (torch.bitwise_xor, (18,)),
    "Equal": (torch.eq, (7, 11, 13, 19)),
    "Greater": (torch.gt, (7, 9, 13)),
    "GreaterOrEqual": (torch.ge, (12, 16)),
    "Less": (torch.lt, (7, 9, 13)),
    "LessOrEqual": (torch.le, (12, 16)),
    "Or": (torch.logical_or, (7,)),
    "Xor": (torch.logical_xor, (7,)),
}


def _enter_binary(
    name: str,
    compute: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    since: tuple[int, ...],
) -> None:
    # torch's own functions have no signature that Python can read.
    def binary(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return compute(a, b)

    binary.__name__ = binary.__qualname__ = f"_{name.lower()}"
    globals()[binary.__name__] = binary
    operator(name, since=since, fixed=(0, 1))(binary)


for _name, (_compute, _since) in _BINARY.items():
    _enter_binary(_name, _compute, _since)


@operator("Not", since=(1,))
def _not(x: torch.Tensor) -> torch.Tensor:
    return torch.logical_not(x)


@operator("BitwiseNot", since=(18,))
def _bitwise_not(x: torch.Tensor) -> torch.Tensor:
    return torch.bitwise_not(x)


@operator("IsNaN", since=(9, 13, 20))
def _is_nan(x: torch.Tensor) -> torch.Tensor:
    return torch.isnan(x)


@operator("IsInf", since=(10, 20))
def _is_infinite(
    x: torch.Tensor, *, detect_negative: int = 1, detect_positive: int = 1
) -> torch.Tensor:
    found = torch.isinf(x)
    if not detect_negative:
        found = found & (x > 0)
    if not detect_positive:
        found = found & (x < 0)
    return found
