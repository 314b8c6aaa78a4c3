"""The activation functions that recurrent operators name in attributes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

__all__ = ["Activation", "check_activations", "form_activations"]

Activation = Callable[[torch.Tensor], torch.Tensor]


def _affine(x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    return alpha * x + beta


def _scaled_tanh(x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    return alpha * torch.tanh(beta * x)


def _hard_sigmoid(x: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    return torch.clamp(alpha * x + beta, 0, 1)


def _thresholded_relu(x: torch.Tensor, alpha: float) -> torch.Tensor:
    return torch.where(x > alpha, x, torch.zeros_like(x))


# With the defaults of alpha and beta, of those that have them.
_FUNCTIONS: dict[str, tuple[Callable[..., torch.Tensor], tuple[float, ...]]] = {
    "affine": (_affine, (1.0, 0.0)),
    "elu": (functional.elu, (1.0,)),
    "hardsigmoid": (_hard_sigmoid, (0.2, 0.5)),
    "leakyrelu": (functional.leaky_relu, (0.01,)),
    "relu": (torch.relu, ()),
    "scaledtanh": (_scaled_tanh, (1.0, 1.0)),
    "sigmoid": (torch.sigmoid, ()),
    "softplus": (functional.softplus, ()),
    "softsign": (functional.softsign, ()),
    "tanh": (torch.tanh, ()),
    "thresholdedrelu": (_thresholded_relu, (1.0,)),
}


def check_activations(attributes: Mapping[str, Any]) -> str | None:
    """Why a recurrent node's activations cannot be treated, or None."""
    for name in attributes.get("activations", ()):
        if name.lower() not in _FUNCTIONS:
            return f"its activations must be those of the specification, got {name}"
    return None


def form_activations(
    names: Sequence[str],
    defaults: Sequence[str],
    alphas: Sequence[float],
    betas: Sequence[float],
    clip: float | None,
) -> list[list[Activation]]:
    """The functions of each of two directions.

    Args:
        names: of all directions, one after another; empty for the defaults.
        defaults: of one direction.
        alphas: for those that have one, in order.
        betas: likewise.
        clip: limit of the magnitude of what goes into any of them, or None.
    """
    chosen = list(names) or list(defaults) * 2
    alpha, beta = iter(alphas), iter(betas)
    functions = [_form(name, alpha, beta, clip) for name in chosen]
    size = len(defaults)
    return [functions[:size], functions[size:] or functions[:size]]


def _form(
    name: str, alphas: Iterator[float], betas: Iterator[float], clip: float | None
) -> Activation:
    function, defaults = _FUNCTIONS[name.lower()]
    arguments = [next(given, own) for given, own in zip((alphas, betas), defaults, strict=False)]
    if clip is None:
        return lambda x: function(x, *arguments)
    return functools.partial(_clip_and_call, function, arguments, clip)


def _clip_and_call(
    function: Callable[..., torch.Tensor], arguments: Sequence[float], clip: float, x: torch.Tensor
) -> torch.Tensor:
    return function(torch.clamp(x, -clip, clip), *arguments)
