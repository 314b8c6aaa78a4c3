"""Activation functions, and what becomes of them over an axis."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from wl_onnx.finetune.operators.arguments import Numbers, to_number
from wl_onnx.finetune.registry import operator

__all__: list[str] = []

# Of the specification: Klambauer et al., "Self-normalizing neural networks", 2017.
_SELU_ALPHA = 1.67326319217681884765625
_SELU_GAMMA = 1.05070102214813232421875


@operator("Relu", since=(6, 13, 14))
def _relu(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x)


@operator("LeakyRelu", since=(6, 16))
def _leaky_relu(x: torch.Tensor, *, alpha: float = 0.01) -> torch.Tensor:
    return functional.leaky_relu(x, alpha)


@operator("PRelu", since=(7, 9, 16))
def _parametric_relu(x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    return torch.where(x < 0, x * slope, x)


@operator("Elu", since=(6, 22))
def _elu(x: torch.Tensor, *, alpha: float = 1.0) -> torch.Tensor:
    return functional.elu(x, alpha)


@operator("Celu", since=(12, 28))
def _celu(x: torch.Tensor, *, alpha: float = 1.0) -> torch.Tensor:
    return functional.celu(x, alpha)


@operator("Selu", since=(6, 22))
def _selu(
    x: torch.Tensor, *, alpha: float = _SELU_ALPHA, gamma: float = _SELU_GAMMA
) -> torch.Tensor:
    return gamma * functional.elu(x, alpha)


@operator("Sigmoid", since=(6, 13))
def _sigmoid(x: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(x)


@operator("HardSigmoid", since=(6, 22))
def _hard_sigmoid(x: torch.Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> torch.Tensor:
    return torch.clamp(alpha * x + beta, 0, 1)


@operator("HardSwish", since=(14, 22))
def _hard_swish(x: torch.Tensor) -> torch.Tensor:
    return x * torch.clamp(x / 6 + 0.5, 0, 1)


@operator("Tanh", since=(6, 13))
def _tanh(x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x)


@operator("Softplus", since=(1, 22))
def _softplus(x: torch.Tensor) -> torch.Tensor:
    return functional.softplus(x)


@operator("Softsign", since=(1, 22))
def _softsign(x: torch.Tensor) -> torch.Tensor:
    return functional.softsign(x)


@operator("ThresholdedRelu", since=(10, 22))
def _thresholded_relu(x: torch.Tensor, *, alpha: float = 1.0) -> torch.Tensor:
    return torch.where(x > alpha, x, torch.zeros_like(x))


@operator("Shrink", since=(9,))
def _shrink(x: torch.Tensor, *, bias: float = 0.0, lambd: float = 0.5) -> torch.Tensor:
    zero = torch.zeros_like(x)
    return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, zero)).to(x.dtype)


@operator("Gelu", since=(20,))
def _gelu(x: torch.Tensor, *, approximate: str = "none") -> torch.Tensor:
    return functional.gelu(x, approximate=approximate)


@operator("Mish", since=(18, 22))
def _mish(x: torch.Tensor) -> torch.Tensor:
    return functional.mish(x)


@operator("Swish", since=(24,))
def _swish(x: torch.Tensor, *, alpha: float = 1.0) -> torch.Tensor:
    return x * torch.sigmoid(alpha * x)


@operator("Clip", since=(6, 11, 12, 13), host=(1, 2))
def _clip(
    x: torch.Tensor,
    min: Numbers | None = None,  # noqa: A002  the specification's name
    max: Numbers | None = None,  # noqa: A002
) -> torch.Tensor:
    """Where the limits cross, the upper one wins, as in NumPy."""
    if min is not None:
        x = torch.clamp(x, min=to_number(min))
    if max is not None:
        x = torch.clamp(x, max=to_number(max))
    return x


@operator("Softmax", since=(13,))
def _softmax(x: torch.Tensor, *, axis: int = -1) -> torch.Tensor:
    return torch.softmax(x, axis)


@operator("Softmax", since=(1, 11))
def _softmax_of_rows(x: torch.Tensor, *, axis: int = 1) -> torch.Tensor:
    """Before opset 13: over all axes from the given one on, as rows of a matrix."""
    return torch.softmax(_as_rows(x, axis), 1).reshape(x.shape)


@operator("LogSoftmax", since=(13,))
def _log_softmax(x: torch.Tensor, *, axis: int = -1) -> torch.Tensor:
    return torch.log_softmax(x, axis)


@operator("LogSoftmax", since=(1, 11))
def _log_softmax_of_rows(x: torch.Tensor, *, axis: int = 1) -> torch.Tensor:
    return torch.log_softmax(_as_rows(x, axis), 1).reshape(x.shape)


@operator("Hardmax", since=(13,))
def _hardmax(x: torch.Tensor, *, axis: int = -1) -> torch.Tensor:
    first = x.argmax(axis, keepdim=True)
    return torch.zeros_like(x).scatter(axis, first, 1)


@operator("Hardmax", since=(1, 11))
def _hardmax_of_rows(x: torch.Tensor, *, axis: int = 1) -> torch.Tensor:
    return _hardmax(_as_rows(x, axis), axis=1).reshape(x.shape)


def _as_rows(x: torch.Tensor, axis: int) -> torch.Tensor:
    axis = axis + x.dim() if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))
