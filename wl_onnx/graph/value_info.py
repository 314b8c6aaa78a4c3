"""Types and shapes of values, where a graph or function writes them down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from onnx import FunctionProto, GraphProto, ModelProto, ValueInfoProto
from onnx import helper as onnx_helper

if TYPE_CHECKING:
    from wl_onnx.graph.scopes import Body

__all__ = [
    "FUNCTION_TYPES_IR_VERSION",
    "declare_types",
    "is_complete",
    "remove_inputs",
    "withdraw_types",
]

FUNCTION_TYPES_IR_VERSION = 10
"""First IR version whose functions have value_info."""

_MARK = "written by wl_onnx"


def declare_types(
    model: ModelProto, body: Body, values: Iterable[tuple[str, int, Sequence[int]]]
) -> None:
    """Writes type and shape of values that were initializers and are now given by nodes.

    What is there and complete stays. A graph input of the same name becomes the value_info. An
    entry that is new is marked, so that `withdraw_types` can take it away again.

    Args:
        model: the model, whose IR version counts.
        body: the body, changed in place.
        values: name, ONNX element type and dimensions of each.
    """
    graph = body.graph
    if isinstance(graph, FunctionProto) and model.ir_version < FUNCTION_TYPES_IR_VERSION:
        return
    wanted = {name: (data_type, shape) for name, data_type, shape in values}
    present = {info.name: info for info in graph.value_info if info.name in wanted}
    if not isinstance(graph, FunctionProto) and body.parent is None:
        for index in reversed(range(len(graph.input))):
            info = graph.input[index]
            if info.name not in wanted:
                continue
            if info.name not in present:
                present[info.name] = graph.value_info.add()
                present[info.name].CopyFrom(info)
            del graph.input[index]
    for name, (data_type, shape) in wanted.items():
        full = onnx_helper.make_tensor_value_info(name, data_type, list(shape))
        if name not in present:
            full.doc_string = _MARK
            graph.value_info.append(full)
        elif not is_complete(present[name]):
            present[name].type.CopyFrom(full.type)


def remove_inputs(body: Body, names: Iterable[str]) -> None:
    """Takes values off the inputs of a main graph; nothing is written in their place.

    Args:
        body: the body, changed in place.
        names: values that are initializers, which are overridable where they are inputs too.
    """
    values = set(names)
    for index in reversed(range(len(body.graph.input))):
        if isinstance(body.graph, GraphProto) and body.graph.input[index].name in values:
            del body.graph.input[index]


def withdraw_types(model: ModelProto, body: Body, names: Iterable[str]) -> None:
    """Takes back what `declare_types` wrote for values that are initializers again.

    Args:
        model: the model; below IR version 4 its main graph must list initializers as inputs, so
            there the entries become inputs again.
        body: the body, changed in place.
        names: the values.
    """
    graph = body.graph
    values = set(names)
    lists_inputs = model.ir_version < 4 and body.parent is None
    inputs: list[ValueInfoProto] = []
    for index in reversed(range(len(graph.value_info))):
        info = graph.value_info[index]
        if info.name not in values:
            continue
        marked = info.doc_string == _MARK
        if lists_inputs and not isinstance(graph, FunctionProto):
            inputs.append(info)
        if lists_inputs or marked:
            del graph.value_info[index]
        if marked:
            info.ClearField("doc_string")
    if not isinstance(graph, FunctionProto):
        graph.input.extend(reversed(inputs))


def is_complete(info: ValueInfoProto) -> bool:
    """Whether the element type and every dimension are known."""
    tensor = info.type.tensor_type
    return bool(
        tensor.elem_type
        and tensor.HasField("shape")
        and all(dim.HasField("dim_value") for dim in tensor.shape.dim)
    )
