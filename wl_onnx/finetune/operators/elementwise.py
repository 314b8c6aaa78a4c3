"""Arithmetic and functions of single elements."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from wl_onnx.finetune.registry import operator

__all__: list[str] = []

_UNARY: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], tuple[int, ...]]] = {
    "Abs": (torch.abs, (6, 13)),
    "Acos": (torch.acos, (7, 22)),
    "Acosh": (torch.acosh, (9, 22)),
    "Asin": (torch.asin, (7, 22)),
    "Asinh": (torch.asinh, (9, 22)),
    "Atan": (torch.atan, (7, 22)),
    "Atanh": (torch.atanh, (9, 22)),
    "Ceil": (torch.ceil, (6, 13)),
    "Cos": (torch.cos, (7, 22)),
    "Cosh": (torch.cosh, (9, 22)),
    "Erf": (torch.erf, (9, 13)),
    "Exp": (torch.exp, (6, 13)),
    "Floor": (torch.floor, (6, 13)),
    "Log": (torch.log, (6, 13)),
    "Neg": (torch.neg, (6, 13)),
    "Reciprocal": (torch.reciprocal, (6, 13)),
    "Round": (torch.round, (11, 22)),  # halves to even in both
    "Sign": (torch.sign, (9, 13)),
    "Sin": (torch.sin, (7, 22)),
    "Sinh": (torch.sinh, (9, 22)),
    "Sqrt": (torch.sqrt, (6, 13)),
    "Tan": (torch.tan, (7, 22)),
}


def _enter_unary(
    name: str, compute: Callable[[torch.Tensor], torch.Tensor], since: tuple[int, ...]
) -> None:
    # torch's own functions have no signature that Python can read.
    def unary(x: torch.Tensor) -> torch.Tensor:
        return compute(x)

    unary.__name__ = unary.__qualname__ = f"_{name.lower()}"
    globals()[unary.__name__] = unary
    operator(name, since=since)(unary)


for _name, (_compute, _since) in _UNARY.items():
    _enter_unary(_name, _compute, _since)


@operator("Identity", since=(1, 13, 14, 16, 19, 21, 23, 24, 25))
def _identity(x: torch.Tensor) -> torch.Tensor:
    return x


@operator("Add", since=(7, 13, 14), is_arithmetic=True)
def _add(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a + b


@operator("Sub", since=(7, 13, 14), is_arithmetic=True)
def _subtract(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a - b


@operator("Mul", since=(7, 13, 14), is_arithmetic=True)
def _multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a * b


@operator("Div", since=(7, 13, 14), is_arithmetic=True)
def _divide(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Integers are cut toward zero."""
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


@operator("Pow", since=(7, 12, 13, 15), fixed=(1,), is_arithmetic=True)
def _power(base: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
    """The type is the base's, whatever the exponent's."""
    # As a tensor of rank 0 it changes no shape and lets torch take the power that a number has.
    if exponent.numel() == 1 and exponent.dim() <= base.dim():
        exponent = exponent.reshape(())
    return torch.pow(base, exponent).to(base.dtype)


@operator("Mod", since=(10, 13, 28), is_arithmetic=True)
def _modulo(a: torch.Tensor, b: torch.Tensor, *, fmod: int = 0) -> torch.Tensor:
    """The sign is the divisor's, or with fmod the dividend's."""
    return torch.fmod(a, b) if fmod else torch.remainder(a, b)


@operator("Max", since=(6, 8, 12, 13), is_arithmetic=True)
def _maximum(*values: torch.Tensor) -> torch.Tensor:
    return functools.reduce(torch.maximum, values)


@operator("Min", since=(6, 8, 12, 13), is_arithmetic=True)
def _minimum(*values: torch.Tensor) -> torch.Tensor:
    return functools.reduce(torch.minimum, values)


@operator("Sum", since=(6, 8, 13), is_arithmetic=True)
def _sum(*values: torch.Tensor) -> torch.Tensor:
    return functools.reduce(torch.add, values)


@operator("Mean", since=(6, 8, 13), is_arithmetic=True)
def _mean(*values: torch.Tensor) -> torch.Tensor:
    return functools.reduce(torch.add, values) / len(values)


@operator("Where", since=(9, 16), is_arithmetic=True)
def _where(condition: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.where(condition, x, y)
