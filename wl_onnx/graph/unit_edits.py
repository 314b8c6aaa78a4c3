"""Writing smaller layers into a model: tensors, attributes, shapes that a graph names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnx import ValueInfoProto, helper

from wl_onnx.graph.unit_steps import Stripe

if TYPE_CHECKING:
    from wl_onnx.graph.model import CompressibleModel
    from wl_onnx.graph.trims import TrimmedTensors
    from wl_onnx.graph.units import Product, UnitGroup

__all__ = ["list_stripes", "write_groups"]


def list_stripes(group: UnitGroup, tensors: TrimmedTensors) -> list[Stripe]:
    """Where the units of a group lie, in all tensors that have a place for each.

    Args:
        group: the units.
        tensors: the model's.
    """
    product = group.producer
    stripes = [Stripe(product.weight, product.row_axis)]
    if product.bias is not None:
        stripes.append(Stripe(product.bias, len(tensors.shape(product.bias)) - 1))
    for step in group.steps:
        stripes.extend(operand for operand in step.operands if isinstance(operand, Stripe))
    return [*stripes, *(consumer.columns for consumer in group.consumers)]


def write_groups(groups: Iterable[UnitGroup], tensors: TrimmedTensors) -> None:
    """Puts what was cut into the model, and all that says how many units there are.

    Args:
        groups: the units of its layers.
        tensors: the model's, cut.
    """
    model = tensors.model
    shapes: dict[str, tuple[int, int, int]] = {}
    for group in groups:
        product = group.producer
        num_after = tensors.shape(product.weight)[product.row_axis]
        if product.is_new and product.bias is not None and tensors.is_assigned(product.bias):
            _add_bias(model, product, tensors.shape(product.bias))
        if num_after == product.num_rows or group.reason is not None:
            continue
        for value, layout in group.layouts.items():
            shapes[value] = (layout.axis, product.num_rows, num_after)
        for step in group.steps:
            if step.node.op_type == "Conv":
                for attribute in step.node.attribute:
                    if attribute.name == "group":
                        attribute.i = num_after
            if step.target is not None:
                target = tensors.read(step.target.tensor).copy()
                target[step.target.index] = num_after * step.target.block
                tensors.assign(step.target.tensor, target)
    _update_values(model, shapes)
    _update_tensors(model, tensors)


def _add_bias(model: CompressibleModel, product: Product, shape: tuple[int, ...]) -> None:
    node, name = product.node, product.bias or ""
    if len(node.input) > 2:
        node.input[2] = name
    else:
        node.input.append(name)
    if model.proto.ir_version < 4:
        kinds = [t.data_type for t in model.proto.graph.initializer if t.name == product.weight]
        info = helper.make_tensor_value_info(name, kinds[0], shape)
        model.proto.graph.input.append(info)


def _update_values(model: CompressibleModel, shapes: dict[str, tuple[int, int, int]]) -> None:
    """Corrects what is said of values that have units; what cannot be corrected goes."""
    infos = model.proto.graph.value_info
    for index in reversed(range(len(infos))):
        if infos[index].name not in shapes:
            continue
        axis, before, after = shapes[infos[index].name]
        dims = infos[index].type.tensor_type.shape.dim
        size = dims[axis].dim_value if len(dims) >= -axis else 0
        if size and size % before == 0:
            dims[axis].dim_value = size // before * after
        else:
            del infos[index]


def _update_tensors(model: CompressibleModel, tensors: TrimmedTensors) -> None:
    changed = set(tensors.write())
    graph = model.proto.graph
    for info in (*graph.input, *graph.value_info):
        if info.name in changed:
            _set_shape(info, tensors.shape(info.name))


def _set_shape(info: ValueInfoProto, shape: tuple[int, ...]) -> None:
    kind = info.type.tensor_type.elem_type
    info.type.CopyFrom(helper.make_tensor_type_proto(kind, shape))
