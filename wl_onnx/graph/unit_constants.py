"""What operators give for a unit that always has one and the same value.

Values are float64 `[num_units, block]`, a row for each unit, with NaN where the value is not known
beforehand. A unit's places in an image share one number, so that images have a block of 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wl_onnx.graph.products import read_attributes

if TYPE_CHECKING:
    from onnx import NodeProto

__all__ = ["BINARY", "UNARY", "Array", "has_padding", "pass_constants"]

Array = npt.NDArray[np.float64]
Attributes = Mapping[str, Any]


def pass_constants(node: NodeProto, operands: Sequence[Array | None]) -> Array:
    """What a node gives for the units.

    Args:
        node: one that `pass_units` knows.
        operands: for each of its inputs that tells: float64 `[num_units, block]`, or `[1, 1]` of
            a tensor of one element. A convolution's kernels are `[num_units, num_elements]`.

    Returns:
        float64 `[num_units, block]`, as exact as float64 is.
    """
    x = operands[0]
    attributes = read_attributes(node)
    with np.errstate(all="ignore"):
        if node.op_type in BINARY and x is not None and operands[1] is not None:
            return BINARY[node.op_type](x, operands[1])
        if x is None:
            raise ValueError(f"{node.op_type} has no first input")
        if node.op_type == "Clip":
            return _clip(x, attributes, operands[1:])
        if node.op_type in UNARY:
            return UNARY[node.op_type](x, attributes)
        if node.op_type == "Conv":
            return _convolve(x, node, operands[1:])
        if node.op_type == "BatchNormalization":
            return _normalize(x, attributes, operands[1:])
        if node.op_type in ("MaxPool", "AveragePool"):
            return _pool(x, node, attributes)
        return x


def has_padding(node: NodeProto, kernel_size: int) -> bool:
    """Whether a convolution or a pool may look at places outside of its input.

    Args:
        node: the node.
        kernel_size: places that it looks at together.
    """
    attributes = read_attributes(node)
    auto_pad = attributes.get("auto_pad", b"NOTSET").decode()
    if auto_pad.startswith("SAME"):
        return kernel_size > 1
    return auto_pad != "VALID" and any(attributes.get("pads", ()))


def _clip(x: Array, attributes: Attributes, limits: Sequence[Array | None]) -> Array:
    low, high = [*limits, None, None][:2]
    low = attributes.get("min", -np.inf) if low is None else low
    high = attributes.get("max", np.inf) if high is None else high
    return np.minimum(np.maximum(x, low), high)


def _convolve(x: Array, node: NodeProto, operands: Sequence[Array | None]) -> Array:
    kernels, bias = [*operands, None][:2]
    if kernels is None:
        raise ValueError("Conv has no kernels")
    total = kernels.sum(axis=1, keepdims=True)
    # At its edges an image of a constant gives something else, unless that is 0.
    inside = np.where(x == 0, x, np.nan) if has_padding(node, kernels.shape[1]) else x
    product = np.where((kernels == 0).all(axis=1, keepdims=True), 0.0, inside * total)
    return product if bias is None else product + bias


def _normalize(x: Array, attributes: Attributes, operands: Sequence[Array | None]) -> Array:
    scale, bias, mean, variance = (np.zeros(1) if one is None else one for one in operands)
    factor = scale / np.sqrt(variance + attributes.get("epsilon", 1e-5))
    return np.asarray(_multiply(x - mean, factor) + bias)


def _pool(x: Array, node: NodeProto, attributes: Attributes) -> Array:
    if not has_padding(node, math.prod(attributes["kernel_shape"])) and not attributes.get(
        "ceil_mode", 0
    ):
        return x
    is_plain = not attributes.get("ceil_mode", 0) and set(attributes.get("dilations", [1])) == {1}
    if is_plain and (node.op_type == "MaxPool" or not attributes.get("count_include_pad", 0)):
        return x  # every window has a place inside, and the others do not count
    return np.where((x == 0) & (node.op_type == "AveragePool"), x, np.nan)


def _multiply(a: Array, b: Array) -> Array:
    # 0 times what is not known is 0.
    return np.where((a == 0) | (b == 0), 0.0, a * b)


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _softplus(x: Array) -> Array:
    return np.asarray(np.logaddexp(0, x))


def _elu(x: Array, alpha: float, scale: float = 1.0) -> Array:
    return np.asarray(scale * np.where(x < 0, alpha * np.expm1(x), x))


def _gelu(x: Array, attributes: Attributes) -> Array:
    if attributes.get("approximate", b"none") == b"tanh":
        return np.asarray(0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))
    return np.asarray(0.5 * x * (1 + _erf(x / np.sqrt(2))))


def _erf(x: Array) -> Array:
    return np.array([math.erf(value) for value in x.reshape(-1)]).reshape(x.shape)


def _unknown(x: Array, _: Attributes) -> Array:
    return np.full_like(x, np.nan)


UNARY: dict[str, Callable[[Array, Attributes], Array]] = {
    "Abs": lambda x, _: np.abs(x),
    "Celu": lambda x, a: np.where(
        x < 0, a.get("alpha", 1.0) * np.expm1(x / a.get("alpha", 1.0)), x
    ),
    "Ceil": _unknown,
    "Clip": lambda x, a: _clip(x, a, ()),
    "Dropout": lambda x, _: x,
    "Elu": lambda x, a: _elu(x, a.get("alpha", 1.0)),
    "Erf": lambda x, _: _erf(x),
    "Exp": lambda x, _: np.exp(x),
    "Floor": _unknown,
    "Gelu": _gelu,
    "HardSigmoid": lambda x, a: np.clip(a.get("alpha", 0.2) * x + a.get("beta", 0.5), 0, 1),
    "HardSwish": lambda x, _: x * np.clip(x / 6 + 0.5, 0, 1),
    "Identity": lambda x, _: x,
    "LeakyRelu": lambda x, a: np.where(x < 0, a.get("alpha", 0.01) * x, x),
    "Log": _unknown,
    "Mish": lambda x, _: x * np.tanh(_softplus(x)),
    "Neg": lambda x, _: -x,
    "Relu": lambda x, _: np.maximum(x, 0),
    "Round": _unknown,
    "Selu": lambda x, a: _elu(
        x, a.get("alpha", 1.6732632423543772), a.get("gamma", 1.0507009873554805)
    ),
    "Sigmoid": lambda x, _: _sigmoid(x),
    "Sign": _unknown,
    "Softplus": lambda x, _: _softplus(x),
    "Softsign": lambda x, _: x / (1 + np.abs(x)),
    "Sqrt": _unknown,
    "Tanh": lambda x, _: np.tanh(x),
    "ThresholdedRelu": _unknown,
}
"""Operators that treat each element alone: what they give for a value. One that jumps, or is very
steep somewhere, gives what is not known: rounding on the way to it would show."""

BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
    "Mul": _multiply,
    "PRelu": lambda a, b: np.where(a < 0, a * b, a),
    "Sub": np.subtract,
    "Sum": np.add,
}
"""The same of two values that are broadcast, the second of which may be a constant tensor."""
