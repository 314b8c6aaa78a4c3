"""Weights as matrices: what a node multiplies its weight with, and in which order.

A layer's output is linear in its weight, so its error follows from the weight's and from the second
moments of what the weight is multiplied with: the input's rows, or the patches of a convolution.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, helper

__all__ = [
    "LayerInput",
    "MatrixView",
    "Shape",
    "UnsupportedError",
    "Window",
    "describe_product",
    "read_attributes",
]

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class MatrixView:
    """How a weight is read as matrices, one for each group of a convolution.

    Attributes:
        shape: the weight's dimensions.
        steps: ("transpose", axes) and ("reshape", dimensions), in the order in which they lead
            from the weight to `[num_groups, num_rows, num_columns]`; rows are the layer's outputs.
    """

    shape: Shape
    steps: tuple[tuple[str, Shape], ...]

    @property
    def matrix_shape(self) -> tuple[int, int, int]:
        """Groups, rows and columns."""
        num_groups, num_rows, num_columns = self.shapes[-1]
        return num_groups, num_rows, num_columns

    def to_matrices(self, weight: np.ndarray) -> np.ndarray:
        """The weight as matrices `[num_groups, num_rows, num_columns]`; a view where it can be."""
        for kind, values in self.steps:
            weight = weight.transpose(values) if kind == "transpose" else weight.reshape(values)
        return weight

    def from_matrices(self, matrices: np.ndarray) -> np.ndarray:
        """The weight again; the inverse of `to_matrices`."""
        for (kind, values), shape in zip(self.steps[::-1], self.shapes[-2::-1], strict=True):
            if kind == "transpose":
                matrices = matrices.transpose(np.argsort(values))
            else:
                matrices = matrices.reshape(shape)
        return matrices

    @property
    def shapes(self) -> list[Shape]:
        """The weight's dimensions, and those after each step."""
        shapes = [self.shape]
        for kind, values in self.steps:
            before = shapes[-1]
            shapes.append(tuple(before[a] for a in values) if kind == "transpose" else values)
        return shapes


@dataclasses.dataclass(frozen=True)
class Window:
    """What a convolution looks at around each of its output's places.

    Attributes:
        kernel: extent in each spatial dimension.
        strides: distance of neighbouring places.
        dilations: distance of neighbouring kernel elements.
        pads: zeros before each dimension, then behind each; None where `auto_pad` decides.
        auto_pad: "SAME_UPPER" or "SAME_LOWER" where it decides, else "".
        num_groups: groups of channels.
        spread: distance between the input's places once zeros are put between them, as a
            transposed convolution does, which also turns its kernel around; else ones.
    """

    kernel: Shape
    strides: Shape
    dilations: Shape
    pads: Shape | None
    auto_pad: str
    num_groups: int
    spread: Shape

    @property
    def is_transposed(self) -> bool:
        """Whether the kernel is turned around."""
        return bool(self.spread)


@dataclasses.dataclass(frozen=True)
class LayerInput:
    """What a weight is multiplied with.

    Attributes:
        value: name of a value of the main graph.
        kind: "rows" where each vector along an axis is one input of the matrix, "patches" of a
            convolution, "indices" of matrix columns.
        axis: of "rows": the one along which the matrix's columns lie, -1 or -2.
        scale: factor on the product.
        window: of "patches".
        output_axis: of "rows": the output's axis along which the matrix's rows lie, -1 or -2.
    """

    value: str
    kind: str
    axis: int = -1
    scale: float = 1.0
    window: Window | None = None
    output_axis: int = -1


class UnsupportedError(Exception):
    """A use of a weight that has no matrix form; its text is the reason."""


def read_attributes(node: NodeProto) -> dict[str, Any]:
    """Values of a node's attributes by name."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


Described = tuple[Sequence[tuple[str, Shape]], LayerInput]


def describe_product(node: NodeProto, index: int, shape: Shape) -> Described:
    """How a node multiplies a weight.

    Args:
        node: the node.
        index: which of its inputs the weight is.
        shape: of that input.

    Returns:
        Steps of a `MatrixView` from that shape to matrices, and what these are multiplied with.

    Raises:
        UnsupportedError: the product has no such form.
    """
    describe = {
        "Conv": _describe_conv,
        "FusedConv": _describe_conv,
        "ConvTranspose": _describe_conv_transpose,
        "Gemm": _describe_gemm,
        "FusedGemm": _describe_gemm,
        "MatMul": _describe_matmul,
        "Gather": _describe_gather,
    }.get(node.op_type)
    if describe is None or node.domain not in ("", "ai.onnx", "com.microsoft"):
        raise UnsupportedError(f"is used by {node.op_type}, whose inputs are not observed")
    return describe(node, index, shape)


def _describe_conv(node: NodeProto, index: int, shape: Shape) -> Described:
    attributes = read_attributes(node)
    num_dims = len(shape) - 2
    num_groups = attributes.get("group", 1)
    auto_pad = attributes.get("auto_pad", b"NOTSET").decode()
    pads = tuple(attributes.get("pads", (0,) * (2 * num_dims)))
    window = Window(
        kernel=shape[2:],
        strides=tuple(attributes.get("strides", (1,) * num_dims)),
        dilations=tuple(attributes.get("dilations", (1,) * num_dims)),
        pads={"NOTSET": pads, "VALID": (0,) * (2 * num_dims)}.get(auto_pad),
        auto_pad=auto_pad if auto_pad.startswith("SAME") else "",
        num_groups=num_groups,
        spread=(),
    )
    matrix = (num_groups, shape[0] // num_groups, math.prod(shape[1:]))
    return [("reshape", matrix)], LayerInput(node.input[0], "patches", window=window)


def _describe_conv_transpose(node: NodeProto, index: int, shape: Shape) -> Described:
    attributes = read_attributes(node)
    num_dims = len(shape) - 2
    num_groups = attributes.get("group", 1)
    if "output_shape" in attributes or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise UnsupportedError("is used by ConvTranspose with an output_shape or auto_pad")
    ones = (1,) * num_dims
    dilations = tuple(attributes.get("dilations", ones))
    pads = tuple(attributes.get("pads", (0,) * (2 * num_dims)))
    extra = tuple(attributes.get("output_padding", (0,) * num_dims))
    reach = [d * (k - 1) for d, k in zip(dilations, shape[2:], strict=True)]
    window = Window(
        kernel=shape[2:],
        strides=ones,
        dilations=dilations,
        pads=tuple(
            [reach[i] - pads[i] for i in range(num_dims)]
            + [reach[i] - pads[num_dims + i] + extra[i] for i in range(num_dims)]
        ),
        auto_pad="",
        num_groups=num_groups,
        spread=tuple(attributes.get("strides", ones)),
    )
    split = (num_groups, shape[0] // num_groups, shape[1], math.prod(shape[2:]))
    steps = [
        ("reshape", split),
        ("transpose", (0, 2, 1, 3)),
        ("reshape", (num_groups, shape[1], split[1] * split[3])),
    ]
    return steps, LayerInput(node.input[0], "patches", window=window)


def _describe_gemm(node: NodeProto, index: int, shape: Shape) -> Described:
    attributes = read_attributes(node)
    is_transposed = bool(attributes.get("transB" if index else "transA", 0))
    other_transposed = bool(attributes.get("transA" if index else "transB", 0))
    steps: list[tuple[str, Shape]] = []
    if is_transposed != bool(index):  # rows are to be outputs: A is so as it is, B transposed
        steps.append(("transpose", (1, 0)))
        shape = shape[::-1]
    axis = -2 if other_transposed == bool(index) else -1
    scale = float(attributes.get("alpha", 1.0))
    steps.append(("reshape", (1, *shape)))
    return steps, LayerInput(
        node.input[1 - index], "rows", axis=axis, scale=scale, output_axis=-1 if index else -2
    )


def _describe_matmul(node: NodeProto, index: int, shape: Shape) -> Described:
    if len(shape) > 2 and math.prod(shape[:-2]) > 1:
        raise UnsupportedError("is a batch of matrices")
    steps: list[tuple[str, Shape]] = []
    if len(shape) == 1:
        shape = (1, *shape)
    else:
        steps.append(("reshape", shape[-2:]))
        shape = shape[-2:]
        if index == 1:
            steps.append(("transpose", (1, 0)))
            shape = shape[::-1]
    steps.append(("reshape", (1, *shape)))
    axis = -1 if index else -2
    return steps, LayerInput(node.input[1 - index], "rows", axis=axis, output_axis=axis)


def _describe_gather(node: NodeProto, index: int, shape: Shape) -> Described:
    axis = read_attributes(node).get("axis", 0) % len(shape)
    order = (*(a for a in range(len(shape)) if a != axis), axis)
    matrix = (1, math.prod(shape) // max(1, shape[axis]), shape[axis])
    return [("transpose", order), ("reshape", matrix)], LayerInput(node.input[1], "indices")
