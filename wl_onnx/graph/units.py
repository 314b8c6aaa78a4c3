"""The units of a model's layers: neurons and channels, and all that goes with each of them."""

from __future__ import annotations

import dataclasses
import heapq
import math
from typing import TYPE_CHECKING

from wl_onnx.graph.products import UnsupportedError, read_attributes
from wl_onnx.graph.scopes import Names, find_bodies
from wl_onnx.graph.unit_constants import has_padding
from wl_onnx.graph.unit_steps import Layout, Step, Stripe, pass_units

if TYPE_CHECKING:
    from onnx import NodeProto

    from wl_onnx.graph.wiring import Wiring

__all__ = ["Consumer", "Product", "UnitGroup", "find_unit_groups"]


@dataclasses.dataclass(frozen=True, eq=False)
class Product:
    """A layer whose weight can be cut: a Conv of one group, a Gemm or a MatMul.

    Attributes:
        node: the node.
        position: of the node in the main graph.
        weight: name of its weight, which nothing else uses.
        row_axis: axis of the weight along which its outputs lie.
        column_axis: axis of the weight along which its inputs lie.
        num_rows: outputs.
        num_columns: inputs.
        bias: name of what it adds to each output itself, a vector or `[1, num_rows]`; None where
            nothing does, or something else.
        is_new: whether the bias is not there yet, and 0.
        absorber: name of the bias that may take up what a constant input gives: this bias, or
            that of a following Add; or None.
        bias_scale: factor on the bias.
        product_scale: factor on the product.
        reason: why its units must stay, to be read after "it", or None.
    """

    node: NodeProto
    position: int
    weight: str
    row_axis: int
    column_axis: int
    num_rows: int
    num_columns: int
    bias: str | None
    is_new: bool
    absorber: str | None
    bias_scale: float = 1.0
    product_scale: float = 1.0
    reason: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Consumer:
    """A layer that reads units: which value, and where in its weight they are.

    Attributes:
        product: the layer.
        value: name of the value that it reads.
        columns: where the units lie in its weight.
    """

    product: Product
    value: str
    columns: Stripe


@dataclasses.dataclass(frozen=True, eq=False)
class UnitGroup:
    """The units that one layer gives, with all that reads them.

    Attributes:
        producer: the layer.
        steps: nodes between it and its consumers, in the order of the graph.
        consumers: layers at the end of every path.
        layouts: the values that have the units, and where.
        reason: why the units must stay, to be read after "it", or None.
    """

    producer: Product
    steps: tuple[Step, ...]
    consumers: tuple[Consumer, ...]
    layouts: dict[str, Layout]
    reason: str | None


def find_unit_groups(wiring: Wiring) -> list[UnitGroup]:
    """The units of each layer of the main graph whose weight can be cut, in graph order.

    Args:
        wiring: the main graph, its nodes sorted as ONNX demands; nothing is changed.
    """
    names = Names.of_values(find_bodies(wiring.model.proto))
    products: dict[int, Product] = {}
    for position, node in enumerate(wiring.main.graph.node):
        try:
            products[position] = _describe(node, position, wiring, names)
        except UnsupportedError:
            continue
    return [_Follower(product, products, wiring).follow() for product in products.values()]


def _describe(node: NodeProto, position: int, wiring: Wiring, names: Names) -> Product:
    is_standard = node.domain in ("", "ai.onnx")
    if not is_standard or (node.domain, node.op_type) in wiring.functions or len(node.input) < 2:
        raise UnsupportedError("is no layer")
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        raise UnsupportedError("is no layer")
    weight = node.input[1]
    dims = tuple(wiring.require_own(weight).dims)
    attributes = read_attributes(node)
    if node.op_type == "Conv":
        if attributes.get("group", 1) != 1 or len(dims) < 3:
            raise UnsupportedError("has groups")
        row_axis, alpha, beta = 0, 1.0, 1.0
    else:
        if len(dims) != 2:
            raise UnsupportedError("is no matrix")
        row_axis = 0 if attributes.get("transB", 0) and node.op_type == "Gemm" else 1
        alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    if math.prod(dims) == 0:
        raise UnsupportedError("is empty")
    num_rows = dims[row_axis]
    bias, is_new, reason = None, False, None
    if node.op_type == "MatMul":
        absorber = _find_added(node, num_rows, wiring)
    else:
        name = node.input[2] if len(node.input) > 2 else ""
        is_new = not name
        if not name:
            bias = names.claim(f"{weight}.bias")
        elif _is_row(name, num_rows, wiring):
            bias = name
        else:
            reason = f"has the bias {name}, which is no vector of its own"
        absorber = bias if beta != 0 else None
    return Product(
        node=node,
        position=position,
        weight=weight,
        row_axis=row_axis,
        column_axis=1 - row_axis,
        num_rows=num_rows,
        num_columns=dims[1 - row_axis],
        bias=bias,
        is_new=is_new,
        absorber=absorber,
        bias_scale=beta,
        product_scale=alpha,
        reason=reason,
    )


def _is_row(name: str, num_rows: int, wiring: Wiring) -> bool:
    """Whether a name is a tensor of its own with an element for each row of a product."""
    try:
        dims = tuple(wiring.require_own(name).dims)
    except UnsupportedError:
        return False
    return bool(dims) and dims[-1] == num_rows == math.prod(dims)


def _find_added(node: NodeProto, num_rows: int, wiring: Wiring) -> str | None:
    """The constant vector that the only reader of a product adds to it."""
    readers = wiring.readers(node.output[0])
    if len(readers) != 1 or readers[0].body is not wiring.main or wiring.is_named(node.output[0]):
        return None
    add = readers[0].node
    is_add = add.op_type == "Add" and add.domain in ("", "ai.onnx") and wiring.opset >= 7
    if not is_add or (add.domain, add.op_type) in wiring.functions:
        return None
    name = add.input[1 - readers[0].slot]
    return name if _is_row(name, num_rows, wiring) else None


class _Follower:
    """Goes from a layer along all paths, in the order of the graph, up to other layers."""

    def __init__(self, producer: Product, products: dict[int, Product], wiring: Wiring) -> None:
        self._producer = producer
        self._products = products
        self._wiring = wiring
        self._num_units = producer.num_rows
        self._layouts: dict[str, Layout] = {}
        self._pending: list[int] = []

    def follow(self) -> UnitGroup:
        try:
            if self._producer.reason is not None:
                raise UnsupportedError(self._producer.reason)
            steps, consumers = self._walk()
        except UnsupportedError as unsupported:
            return UnitGroup(self._producer, (), (), {}, str(unsupported))
        return UnitGroup(self._producer, tuple(steps), tuple(consumers), self._layouts, None)

    def _walk(self) -> tuple[list[Step], list[Consumer]]:
        steps: list[Step] = []
        consumers: list[Consumer] = []
        self._add(self._producer.node.output[0], self._find_layout())
        seen: set[int] = set()
        while self._pending:
            position = heapq.heappop(self._pending)
            if position in seen:
                continue
            seen.add(position)
            node = self._wiring.main.graph.node[position]
            product = self._products.get(position)
            if product is not None:
                consumers.append(self._consume(product))
                continue
            step, layout = pass_units(node, self._layouts, self._num_units, self._wiring)
            steps.append(step)
            self._add(node.output[0], layout)
        if not consumers:
            raise UnsupportedError("goes to no layer")
        return steps, consumers

    def _find_layout(self) -> Layout:
        node, num_axes = self._producer.node, self._wiring.tensors[self._producer.weight].dims
        if node.op_type == "Conv":
            return Layout(1 - len(num_axes), len(num_axes))
        if node.op_type == "Gemm":
            return Layout(-1, 2)
        shape = self._wiring.shapes.get(node.output[0])
        return Layout(-1, None if shape is None else len(shape))

    def _add(self, value: str, layout: Layout) -> None:
        if self._wiring.is_named(value):
            raise UnsupportedError("gives an output of the model")
        self._layouts[value] = layout
        for reader in self._wiring.readers(value):
            if reader.body is not self._wiring.main:
                raise UnsupportedError("goes to a subgraph")
            heapq.heappush(self._pending, reader.position)

    def _consume(self, product: Product) -> Consumer:
        node = product.node
        layout = self._layouts.get(node.input[0])
        if layout is None or sum(name in self._layouts for name in node.input) != 1:
            raise UnsupportedError(f"goes to {node.op_type} as another input than the first")
        if node.op_type == "Conv":
            fits = layout.position == 1 and not layout.is_merged
            dims = self._wiring.tensors[product.weight].dims
            fits = fits and layout.rank == len(dims)
            if has_padding(node, math.prod(dims[2:])):
                product = dataclasses.replace(product, absorber=None)
        elif node.op_type == "Gemm":
            is_turned = bool(read_attributes(node).get("transA", 0))
            fits = layout.axis == -1 and layout.rank in (2, None) and not is_turned
        else:
            fits = layout.axis == -1
        if not fits:
            raise UnsupportedError(f"goes to {node.op_type} along another axis")
        block = layout.find_block(product.num_columns, self._num_units)
        return Consumer(product, node.input[0], Stripe(product.weight, product.column_axis, block))
