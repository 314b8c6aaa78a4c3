"""Weights as matrices: what each layer multiplies its weight with, and in which order.

A layer's output is linear in its weight, so its error follows from the weight's and from the second
moments of what the weight is multiplied with: the input's rows, or the patches of a convolution.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import NodeProto, helper

from wl_onnx.graph.scopes import Body, find_bodies, find_places
from wl_onnx.graph.select import WeightSite, find_weights
from wl_onnx.graph.weight_positions import forwards_first_input, is_weight_position

if TYPE_CHECKING:
    from wl_onnx.graph.model import CompressibleModel

__all__ = ["LayerInput", "MatrixView", "WeightLayer", "Window", "find_layers"]

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
        num_groups, num_rows, num_columns = self._shapes()[-1]
        return num_groups, num_rows, num_columns

    def to_matrices(self, weight: np.ndarray) -> np.ndarray:
        """The weight as matrices `[num_groups, num_rows, num_columns]`; a view where it can be."""
        for kind, values in self.steps:
            weight = weight.transpose(values) if kind == "transpose" else weight.reshape(values)
        return weight

    def from_matrices(self, matrices: np.ndarray) -> np.ndarray:
        """The weight again; the inverse of `to_matrices`."""
        for (kind, values), shape in zip(self.steps[::-1], self._shapes()[-2::-1], strict=True):
            if kind == "transpose":
                matrices = matrices.transpose(np.argsort(values))
            else:
                matrices = matrices.reshape(shape)
        return matrices

    def _shapes(self) -> list[Shape]:
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
    """

    value: str
    kind: str
    axis: int = -1
    scale: float = 1.0
    window: Window | None = None


@dataclasses.dataclass(frozen=True)
class WeightLayer:
    """A weight and the layers that use it.

    Attributes:
        site: the weight.
        view: how it is a matrix, or None where there is a reason.
        inputs: what it is multiplied with, one for each node that uses it.
        bias: initializer of the main graph that is added to each row of the product and used
            nowhere else, or None.
        reason: why its layer's input cannot be observed, to be read after "it", or None.
    """

    site: WeightSite
    view: MatrixView | None
    inputs: tuple[LayerInput, ...]
    bias: str | None
    reason: str | None


class _UnsupportedError(Exception):
    """A use of a weight that has no matrix form; its text is the reason."""


def find_layers(model: CompressibleModel) -> list[WeightLayer]:
    """The layers of a model's weights, in the order of `find_weights`.

    Args:
        model: the model; nothing is changed.
    """
    finder = _Finder(model)
    return [finder.find(site) for site in find_weights(model)]


class _Finder:
    def __init__(self, model: CompressibleModel) -> None:
        self._model = model
        bodies = find_bodies(model.proto)
        main = bodies[0]
        self._main = main
        self._tensors = {p.name: p.tensor for p in find_places(bodies) if p.body is main}
        self._uses: dict[str, list[tuple[Body, NodeProto, int]]] = collections.defaultdict(list)
        for body in bodies:
            for node in body.graph.node:
                for index, name in enumerate(node.input):
                    if name and body.resolve(name) is main:
                        self._uses[name].append((body, node, index))
        self._outputs = set(main.outputs)
        self._functions = {(f.domain, f.name) for f in model.proto.functions}

    def find(self, site: WeightSite) -> WeightLayer:
        try:
            if site.scope:
                raise _UnsupportedError("does not lie in the main graph")
            uses: list[tuple[MatrixView, LayerInput, str | None]] = []
            self._follow(site.name, MatrixView(site.shape, ()), site.shape, uses)
            if not uses:
                raise _UnsupportedError("is used in no layer that can be observed")
            if any(view != uses[0][0] for view, _, _ in uses):
                raise _UnsupportedError("is used as different matrices")
        except _UnsupportedError as unsupported:
            return WeightLayer(site, None, (), None, str(unsupported))
        bias = uses[0][2] if len(uses) == 1 else None
        return WeightLayer(site, uses[0][0], tuple(use[1] for use in uses), bias, None)

    def _follow(
        self,
        name: str,
        view: MatrixView,
        shape: Shape,
        uses: list[tuple[MatrixView, LayerInput, str | None]],
    ) -> None:
        for body, node, index in self._uses[name]:
            if body is not self._main:
                raise _UnsupportedError("is used inside a subgraph or a function")
            if (node.domain, node.op_type) in self._functions:
                raise _UnsupportedError(f"is passed to the function {node.op_type}")
            if is_weight_position(node, index):
                uses.append(self._describe(node, index, view, shape))
            elif index == 0 and forwards_first_input(node):
                step = self._read_step(node, shape)
                steps = view.steps if step is None else (*view.steps, step)
                after = MatrixView(view.shape, steps)
                self._follow(node.output[0], after, after._shapes()[-1], uses)

    def _read_step(self, node: NodeProto, shape: Shape) -> tuple[str, Shape] | None:
        """What a node that forwards a weight of this shape does to it."""
        attributes = _attributes(node)
        if node.op_type == "Transpose":
            return "transpose", tuple(attributes.get("perm", range(len(shape))[::-1]))
        if node.op_type in ("Identity", "Cast"):
            return None
        if node.op_type == "Flatten":
            axis = attributes.get("axis", 1) % max(1, len(shape) + 1)
            return "reshape", (math.prod(shape[:axis]), math.prod(shape[axis:]))
        if node.op_type == "Reshape":
            wanted = attributes.get("shape", self._read_ints(node, 1))
            if wanted is None:
                raise _UnsupportedError("is reshaped to dimensions that are not constant")
            keeps_zero = not attributes.get("allowzero", 0)
            dims = [shape[i] if size == 0 and keeps_zero else size for i, size in enumerate(wanted)]
            if -1 in dims:
                rest = math.prod(size for size in dims if size != -1)
                dims[dims.index(-1)] = math.prod(shape) // max(rest, 1)
            return "reshape", tuple(dims)
        axes = attributes.get("axes", self._read_ints(node, 1))
        if node.op_type == "Squeeze":
            gone = {a % len(shape) for a in axes} if axes is not None else None
            return "reshape", tuple(
                size
                for i, size in enumerate(shape)
                if (size != 1 if gone is None else i not in gone)
            )
        if axes is None:
            raise _UnsupportedError("is unsqueezed along axes that are not constant")
        num_axes = len(shape) + len(axes)
        added = {a % num_axes for a in axes}
        sizes = iter(shape)
        return "reshape", tuple(1 if i in added else next(sizes) for i in range(num_axes))

    def _read_ints(self, node: NodeProto, index: int) -> list[int] | None:
        name = node.input[index] if index < len(node.input) else ""
        if name not in self._tensors:
            return None
        return [int(value) for value in self._model.read(self._tensors[name]).reshape(-1)]

    def _describe(
        self, node: NodeProto, index: int, view: MatrixView, shape: Shape
    ) -> tuple[MatrixView, LayerInput, str | None]:
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
            raise _UnsupportedError(f"is used by {node.op_type}, whose inputs are not observed")
        steps, layer_input = describe(node, index, shape)
        if layer_input.value in self._tensors:
            raise _UnsupportedError("is multiplied with a constant")
        used = MatrixView(view.shape, (*view.steps, *steps))
        return used, layer_input, self._find_bias(node, index, used)

    def _find_bias(self, node: NodeProto, index: int, view: MatrixView) -> str | None:
        num_groups, num_rows, _ = view.matrix_shape
        name = ""
        if node.op_type == "MatMul" and index == 1:
            users = self._uses[node.output[0]]
            if len(users) == 1 and users[0][1].op_type == "Add":
                name = users[0][1].input[1 - users[0][2]]
        elif node.op_type != "Gather" and (index == 1 or node.op_type == "Conv"):
            name = node.input[2] if len(node.input) > 2 else ""
            if _attributes(node).get("beta", 1.0) != 1.0:
                return None
        tensor = self._tensors.get(name)
        if tensor is None or len(self._uses[name]) != 1 or name in self._outputs:
            return None
        dims = tuple(tensor.dims)
        is_row = math.prod(dims) == num_groups * num_rows and math.prod(dims[:-1]) == 1
        return name if is_row else None


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


Described = tuple[Sequence[tuple[str, Shape]], LayerInput]


def _describe_conv(node: NodeProto, index: int, shape: Shape) -> Described:
    attributes = _attributes(node)
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
    attributes = _attributes(node)
    num_dims = len(shape) - 2
    num_groups = attributes.get("group", 1)
    if "output_shape" in attributes or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise _UnsupportedError("is used by ConvTranspose with an output_shape or auto_pad")
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
    attributes = _attributes(node)
    is_transposed = bool(attributes.get("transB" if index else "transA", 0))
    other_transposed = bool(attributes.get("transA" if index else "transB", 0))
    steps: list[tuple[str, Shape]] = []
    if is_transposed != bool(index):  # rows are to be outputs: A is so as it is, B transposed
        steps.append(("transpose", (1, 0)))
        shape = shape[::-1]
    axis = -2 if other_transposed == bool(index) else -1
    scale = float(attributes.get("alpha", 1.0))
    steps.append(("reshape", (1, *shape)))
    return steps, LayerInput(node.input[1 - index], "rows", axis=axis, scale=scale)


def _describe_matmul(node: NodeProto, index: int, shape: Shape) -> Described:
    if len(shape) > 2 and math.prod(shape[:-2]) > 1:
        raise _UnsupportedError("is a batch of matrices")
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
    return steps, LayerInput(node.input[1 - index], "rows", axis=-1 if index else -2)


def _describe_gather(node: NodeProto, index: int, shape: Shape) -> Described:
    axis = _attributes(node).get("axis", 0) % len(shape)
    order = (*(a for a in range(len(shape)) if a != axis), axis)
    matrix = (1, math.prod(shape) // max(1, shape[axis]), shape[axis])
    return [("transpose", order), ("reshape", matrix)], LayerInput(node.input[1], "indices")
