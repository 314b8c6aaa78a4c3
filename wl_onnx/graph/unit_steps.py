"""How operators between two layers pass on the units of the first, and which tensors go along."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from wl_onnx.graph.products import UnsupportedError, read_attributes
from wl_onnx.graph.unit_constants import BINARY, UNARY

if TYPE_CHECKING:
    from onnx import NodeProto

    from wl_onnx.graph.wiring import Wiring

__all__ = ["Layout", "Step", "Stripe", "Target", "pass_units"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the units of a layer lie in a value.

    Attributes:
        axis: along which they lie, counted from the end: -1 is the last.
        rank: of the value, or None where it is not known.
        is_merged: whether each unit takes several places along the axis, next to one another.
    """

    axis: int
    rank: int | None
    is_merged: bool = False

    @property
    def position(self) -> int | None:
        """The axis counted from the front, or None where the rank is not known."""
        return None if self.rank is None else self.rank + self.axis

    def find_block(self, size: int, num_units: int) -> int:
        """Places of one unit along an axis of this size.

        Args:
            size: number of places that meet the units' axis.
            num_units: units on it.

        Raises:
            UnsupportedError: they do not fit.
        """
        block, rest = divmod(size, num_units)
        if rest or block == 0 or (block > 1 and not self.is_merged):
            raise UnsupportedError(f"has {num_units} units where {size} are used")
        return block


@dataclasses.dataclass(frozen=True)
class Stripe:
    """Where the units of a layer lie in a tensor.

    Attributes:
        tensor: its name.
        axis: along which they lie, counted from the front.
        block: elements along it that belong to one unit, next to one another.
    """

    tensor: str
    axis: int
    block: int = 1


@dataclasses.dataclass(frozen=True)
class Target:
    """A number in the shape that a Reshape wants, which is that of units times a block."""

    tensor: str
    index: int
    block: int


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """A node that gives the units of a layer, in their order.

    Attributes:
        node: the node; its first output has the units.
        operands: for each of its inputs that tells what it does with a unit: a value that has
            the units, a tensor of one element for all of them, or what belongs to each.
        target: what changes with the number of units, if it is a Reshape.
    """

    node: NodeProto
    operands: tuple[str | Stripe | None, ...]
    target: Target | None = None


Passed = tuple[Step, Layout]


def pass_units(
    node: NodeProto, layouts: Mapping[str, Layout], num_units: int, wiring: Wiring
) -> Passed:
    """What a node does with the units of a layer that its inputs have.

    Args:
        node: the node, one of whose inputs is a key of `layouts` at least.
        layouts: values that have the units, and where they lie in them.
        num_units: number of units.
        wiring: the model's main graph.

    Raises:
        UnsupportedError: it mixes them, or what it does is not known.
    """
    if node.domain not in ("", "ai.onnx") or (node.domain, node.op_type) in wiring.functions:
        raise UnsupportedError(f"goes to {node.op_type}")
    if any(wiring.readers(name) or wiring.is_named(name) for name in node.output[1:] if name):
        raise UnsupportedError(f"goes to {node.op_type}, whose other outputs are used")
    rule = _RULES.get(node.op_type)
    if node.op_type in UNARY:
        rule = _pass_elementwise
    elif node.op_type in BINARY:
        rule = _pass_binary
    if rule is None or (rule is not _pass_binary and not _is_first_alone(node, layouts)):
        raise UnsupportedError(f"goes to {node.op_type}")
    return rule(node, layouts, num_units, wiring)


def _is_first_alone(node: NodeProto, layouts: Mapping[str, Layout]) -> bool:
    return [index for index, name in enumerate(node.input) if name in layouts] == [0]


def _describe_operand(
    node: NodeProto, index: int, layout: Layout, num_units: int, wiring: Wiring
) -> str | Stripe | None:
    """A constant that meets the units as broadcasting has it."""
    name = node.input[index] if index < len(node.input) else ""
    if not name:
        return None
    tensor = wiring.find_constant(name)
    if tensor is None:
        raise UnsupportedError(f"goes to {node.op_type} with {name}, which is not constant")
    dims = tuple(tensor.dims)
    if layout.rank is not None and len(dims) > layout.rank:
        raise UnsupportedError(f"goes to {node.op_type}, which adds axes")
    if math.prod(dims) == 1:
        return name
    axis = len(dims) + layout.axis
    if axis < 0 or math.prod(dims) != dims[axis]:
        raise UnsupportedError(f"goes to {node.op_type} with {name}, which is not one for a unit")
    wiring.require_own(name)
    return Stripe(name, axis, layout.find_block(dims[axis], num_units))


def _pass_elementwise(
    node: NodeProto, layouts: Mapping[str, Layout], num_units: int, wiring: Wiring
) -> Passed:
    layout = layouts[node.input[0]]
    if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
        flag = wiring.find_constant(node.input[2])
        if flag is None or wiring.model.read(flag).any():
            raise UnsupportedError("goes to Dropout, which may be training")
        return Step(node, (node.input[0],)), layout
    # Dropout's ratio says nothing at inference; Clip's limits are what the others here may have.
    rest = range(1, 1 if node.op_type == "Dropout" else len(node.input))
    operands = [_describe_operand(node, index, layout, num_units, wiring) for index in rest]
    return Step(node, (node.input[0], *operands)), layout


def _pass_binary(
    node: NodeProto, layouts: Mapping[str, Layout], num_units: int, wiring: Wiring
) -> Passed:
    found = [layouts[name] for name in node.input if name in layouts]
    layout = found[0]
    # Before version 7 of the operators, inputs were not broadcast from the last axis on.
    if len(node.input) != 2 or wiring.opset < 7 or any(other != layout for other in found):
        raise UnsupportedError(f"goes to {node.op_type}")
    if node.op_type in ("Div", "PRelu") and node.input[0] not in layouts:
        raise UnsupportedError(f"goes to {node.op_type} as its second input")
    operands = [
        name if name in layouts else _describe_operand(node, index, layout, num_units, wiring)
        for index, name in enumerate(node.input)
    ]
    return Step(node, tuple(operands)), layout


def _pass_normalization(
    node: NodeProto, layouts: Mapping[str, Layout], num_units: int, wiring: Wiring
) -> Passed:
    layout = layouts[node.input[0]]
    attributes = read_attributes(node)
    trains = attributes.get("training_mode", 0) or not attributes.get("spatial", 1)
    if layout.position != 1 or trains or any(node.output[1:]):
        raise UnsupportedError("goes to BatchNormalization in a form that is not known")
    stripes = []
    for name in node.input[1:5]:
        dims = tuple(wiring.require_own(name).dims)
        if len(dims) != 1:
            raise UnsupportedError(f"goes to BatchNormalization with {name}, which is no vector")
        stripes.append(Stripe(name, 0, layout.find_block(dims[0], num_units)))
    return Step(node, (node.input[0], *stripes)), layout


def _pass_depthwise(
    node: NodeProto, layouts: Mapping[str, Layout], num_units: int, wiring: Wiring
) -> Passed:
    layout = layouts[node.input[0]]
    dims = tuple(wiring.require_own(node.input[1]).dims)
    groups = read_attributes(node).get("group", 1)
    # A unit that gave several channels would no longer be one.
    if layout.position != 1 or layout.is_merged or dims[:2] != (num_units, 1):
        raise UnsupportedError("goes to Conv with several groups")
    if groups != num_units or layout.rank != len(dims):
        raise UnsupportedError("goes to Conv with several groups")
    operands: list[str | Stripe | None] = [node.input[0], Stripe(node.input[1], 0)]
    if len(node.input) > 2 and node.input[2]:
        if tuple(wiring.require_own(node.input[2]).dims) != (num_units,):
            raise UnsupportedError(f"goes to Conv with the bias {node.input[2]}")
        operands.append(Stripe(node.input[2], 0))
    return Step(node, tuple(operands)), layout


def _pass_spatial(
    node: NodeProto, layouts: Mapping[str, Layout], num_units: int, wiring: Wiring
) -> Passed:
    layout = layouts[node.input[0]]
    if layout.position != 1 or layout.is_merged or (layout.rank or 0) < 3:
        raise UnsupportedError(f"goes to {node.op_type} along its units")
    return Step(node, (node.input[0],)), layout


def _pass_axes(
    node: NodeProto, layouts: Mapping[str, Layout], num_units: int, wiring: Wiring
) -> Passed:
    """ReduceMean, Squeeze and Unsqueeze of axes behind that of the units."""
    layout = layouts[node.input[0]]
    attributes = read_attributes(node)
    axes = attributes.get("axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        axes = wiring.read_ints(node.input[1])
    if not axes or layout.position != 1 or layout.is_merged or layout.rank is None:
        raise UnsupportedError(f"goes to {node.op_type} along axes that are not known")
    rank = layout.rank + (len(axes) if node.op_type == "Unsqueeze" else 0)
    if min(axis % rank for axis in axes) < 2:
        raise UnsupportedError(f"goes to {node.op_type} along its units")
    if node.op_type == "Squeeze" or not attributes.get("keepdims", 1):
        rank = layout.rank - len(axes)
    return Step(node, (node.input[0],)), Layout(1 - rank, rank)


def _pass_flatten(
    node: NodeProto, layouts: Mapping[str, Layout], num_units: int, wiring: Wiring
) -> Passed:
    layout = layouts[node.input[0]]
    axis = read_attributes(node).get("axis", 1)
    if layout.rank is None or layout.position != 1 or axis not in (1, 1 - layout.rank):
        raise UnsupportedError("goes to Flatten with other axes")
    merged = layout.is_merged or layout.rank > 2
    return Step(node, (node.input[0],)), Layout(-1, 2, merged)


def _pass_reshape(
    node: NodeProto, layouts: Mapping[str, Layout], num_units: int, wiring: Wiring
) -> Passed:
    layout = layouts[node.input[0]]
    name = node.input[1] if len(node.input) > 1 else ""
    wanted = wiring.read_ints(name)
    if not wanted or layout.position != 1 or layout.rank is None or len(wanted) < 2:
        raise UnsupportedError("goes to Reshape to a shape that is not known")
    if read_attributes(node).get("allowzero", 0) and 0 in wanted:
        raise UnsupportedError("goes to Reshape to a shape of zeros")
    # All places behind the batch, where known: as many before and after keep the batch apart.
    behind = wiring.shapes.get(node.input[0], (None,))[1:]
    num_places = None if None in behind or not behind else math.prod(s or 0 for s in behind)
    keeps_batch = wanted[0] == 0
    if len(wanted) == 2:
        size = wanted[1]
        if size == -1 and not keeps_batch:
            keeps_batch = wanted[0] == wiring.shapes.get(node.input[0], (None,))[0]
        if not (keeps_batch or size == num_places) or size == 0:
            raise UnsupportedError("goes to Reshape to a shape that is not known")
        after = Layout(-1, 2, layout.is_merged or layout.rank > 2)
    else:
        size = wanted[1] if wanted[1] else num_units
        rest = math.prod(wanted[2:])
        keeps_batch = keeps_batch or (min(wanted[2:]) > 0 and num_places == num_units * rest)
        if layout.is_merged or not keeps_batch or size != num_units:
            raise UnsupportedError("goes to Reshape to a shape that is not known")
        after = Layout(1 - len(wanted), len(wanted))
    target = None
    if wanted[1] > 0:
        if len(wiring.readers(name)) != 1 or wiring.is_named(name):
            raise UnsupportedError(f"goes to Reshape with {name}, which is used elsewhere too")
        target = Target(name, 1, after.find_block(size, num_units))
    return Step(node, (node.input[0],), target), after


_RULES: dict[str, Callable[[NodeProto, Mapping[str, Layout], int, Wiring], Passed]] = {
    "AveragePool": _pass_spatial,
    "BatchNormalization": _pass_normalization,
    "Conv": _pass_depthwise,
    "Flatten": _pass_flatten,
    "GlobalAveragePool": _pass_spatial,
    "GlobalMaxPool": _pass_spatial,
    "MaxPool": _pass_spatial,
    "ReduceMean": _pass_axes,
    "Reshape": _pass_reshape,
    "Squeeze": _pass_axes,
    "Unsqueeze": _pass_axes,
}
