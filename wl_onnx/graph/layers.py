"""The layers that use a model's weights: inputs, biases and skip connections."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from wl_onnx.graph.products import (
    LayerInput,
    MatrixView,
    Shape,
    UnsupportedError,
    describe_product,
    read_attributes,
)
from wl_onnx.graph.scopes import Body, find_bodies, find_places
from wl_onnx.graph.select import WeightSite, find_weights
from wl_onnx.graph.weight_positions import forwards_first_input, is_weight_position

if TYPE_CHECKING:
    from onnx import NodeProto

    from wl_onnx.graph.model import CompressibleModel

__all__ = ["WeightLayer", "find_layers"]


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
        skip: value of the main graph that is added to the layer's output, which nothing else
            reads, or None. It is not constant, and may have another shape that is broadcast.
    """

    site: WeightSite
    view: MatrixView | None
    inputs: tuple[LayerInput, ...]
    bias: str | None
    reason: str | None
    skip: str | None = None


class _LayerUse(NamedTuple):
    """What one node does with a weight."""

    view: MatrixView
    layer_input: LayerInput
    bias: str | None
    skip: str | None


def find_layers(model: CompressibleModel) -> list[WeightLayer]:
    """The layers of a model's weights, in the order in which the main graph runs them.

    A weight that several nodes use stands where the first of them does; those that no node of the
    main graph uses come last, in the order of `find_weights`.

    Args:
        model: the model, its nodes sorted as ONNX demands; nothing is changed.
    """
    finder = _Finder(model)
    sites = sorted(find_weights(model), key=finder.find_position)
    return [finder.find(site) for site in sites]


# Operators whose output is their product and a bias, nothing more.
_LINEAR = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))


class _Use(NamedTuple):
    """A node that reads a value: where it stands in its body, and which of its inputs that is."""

    body: Body
    position: int
    node: NodeProto
    slot: int


class _Finder:
    def __init__(self, model: CompressibleModel) -> None:
        self._model = model
        bodies = find_bodies(model.proto)
        main = bodies[0]
        self._main = main
        self._tensors = {p.name: p.tensor for p in find_places(bodies) if p.body is main}
        self._uses: dict[str, list[_Use]] = collections.defaultdict(list)
        for body in bodies:
            for position, node in enumerate(body.graph.node):
                for index, name in enumerate(node.input):
                    if name and body.resolve(name) is main:
                        self._uses[name].append(_Use(body, position, node, index))
        self._outputs = set(main.outputs)
        self._constants = {name for n in main.graph.node if not any(n.input) for name in n.output}
        self._constants.update(self._tensors)
        self._functions = {(f.domain, f.name) for f in model.proto.functions}

    def find_position(self, site: WeightSite) -> int:
        """Position of the first node of the main graph that uses a weight; behind all if none."""
        none = len(self._main.graph.node)
        return none if site.scope else min(self._find_positions(site.name), default=none)

    def _find_positions(self, name: str) -> Iterator[int]:
        for body, position, node, index in self._uses[name]:
            if body is not self._main:
                continue
            if index == 0 and forwards_first_input(node):
                yield from self._find_positions(node.output[0])
            else:
                yield position

    def find(self, site: WeightSite) -> WeightLayer:
        try:
            if site.scope:
                raise UnsupportedError("does not lie in the main graph")
            uses: list[_LayerUse] = []
            self._follow(site.name, MatrixView(site.shape, ()), site.shape, uses)
            if not uses:
                raise UnsupportedError("is used in no layer that can be observed")
            if any(use.view != uses[0].view for use in uses):
                raise UnsupportedError("is used as different matrices")
        except UnsupportedError as unsupported:
            return WeightLayer(site, None, (), None, str(unsupported))
        bias, skip = (uses[0].bias, uses[0].skip) if len(uses) == 1 else (None, None)
        inputs = tuple(use.layer_input for use in uses)
        return WeightLayer(site, uses[0].view, inputs, bias, None, skip)

    def _follow(
        self,
        name: str,
        view: MatrixView,
        shape: Shape,
        uses: list[_LayerUse],
    ) -> None:
        for body, _, node, index in self._uses[name]:
            if body is not self._main:
                raise UnsupportedError("is used inside a subgraph or a function")
            if (node.domain, node.op_type) in self._functions:
                raise UnsupportedError(f"is passed to the function {node.op_type}")
            if is_weight_position(node, index):
                uses.append(self._describe(node, index, view, shape))
            elif index == 0 and forwards_first_input(node):
                step = self._read_step(node, shape)
                steps = view.steps if step is None else (*view.steps, step)
                after = MatrixView(view.shape, steps)
                self._follow(node.output[0], after, after.shapes[-1], uses)

    def _read_step(self, node: NodeProto, shape: Shape) -> tuple[str, Shape] | None:
        """What a node that forwards a weight of this shape does to it."""
        attributes = read_attributes(node)
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
                raise UnsupportedError("is reshaped to dimensions that are not constant")
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
            raise UnsupportedError("is unsqueezed along axes that are not constant")
        num_axes = len(shape) + len(axes)
        added = {a % num_axes for a in axes}
        sizes = iter(shape)
        return "reshape", tuple(1 if i in added else next(sizes) for i in range(num_axes))

    def _read_ints(self, node: NodeProto, index: int) -> list[int] | None:
        name = node.input[index] if index < len(node.input) else ""
        if name not in self._tensors:
            return None
        return [int(value) for value in self._model.read(self._tensors[name]).reshape(-1)]

    def _describe(self, node: NodeProto, index: int, view: MatrixView, shape: Shape) -> _LayerUse:
        steps, layer_input = describe_product(node, index, shape)
        if layer_input.value in self._tensors:
            raise UnsupportedError("is multiplied with a constant")
        used = MatrixView(view.shape, (*view.steps, *steps))
        return _LayerUse(
            used, layer_input, self._find_bias(node, index, used), self._find_skip(node)
        )

    def _find_bias(self, node: NodeProto, index: int, view: MatrixView) -> str | None:
        num_groups, num_rows, _ = view.matrix_shape
        name = ""
        if node.op_type == "MatMul" and index == 1:
            sum_and_other = self._find_sum(node.output[0])
            if sum_and_other is not None:
                name = sum_and_other[1]
        elif node.op_type != "Gather" and (index == 1 or node.op_type == "Conv"):
            name = node.input[2] if len(node.input) > 2 else ""
            if read_attributes(node).get("beta", 1.0) != 1.0:
                return None
        tensor = self._tensors.get(name)
        if tensor is None or len(self._uses[name]) != 1 or name in self._outputs:
            return None
        dims = tuple(tensor.dims)
        is_row = math.prod(dims) == num_groups * num_rows and math.prod(dims[:-1]) == 1
        return name if is_row else None

    def _find_skip(self, node: NodeProto) -> str | None:
        if node.domain not in ("", "ai.onnx") or node.op_type not in _LINEAR:
            return None
        found = self._find_sum(node.output[0])
        if found is not None and found[1] in self._constants:
            found = self._find_sum(found[0])
        # It cannot depend on the layer, whose output nothing but this sum reads.
        return None if found is None or found[1] in self._constants else found[1]

    def _find_sum(self, value: str) -> tuple[str, str] | None:
        """The sum that alone reads a value, and what it adds to it."""
        users = self._uses[value]
        if len(users) != 1 or users[0].body is not self._main or value in self._outputs:
            return None
        node = users[0].node
        is_sum = node.op_type in ("Add", "Sum") and node.domain in ("", "ai.onnx")
        if not is_sum or len(node.input) != 2:
            return None
        return node.output[0], node.input[1 - users[0].slot]
