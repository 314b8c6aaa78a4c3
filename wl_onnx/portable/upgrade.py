"""Raising a model to the operators that portable files are made of: opset 18, IR version 8.

onnx's version converter works on the graph without its large tensors, and of what it gives only the
nodes are taken: tensors, names, types, texts and metadata stay as they are, byte for byte.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import onnx
from onnx import ModelProto, NodeProto, TensorProto, version_converter
from onnx import helper as onnx_helper

from wl_onnx.errors import ModelError
from wl_onnx.graph.check import check_structure
from wl_onnx.graph.failures import model_error
from wl_onnx.graph.scopes import find_bodies, find_places
from wl_onnx.graph.tensors import inline_bytes, is_external
from wl_onnx.graph.value_info import remove_inputs
from wl_onnx.portable.converter_gaps import describe_node, find_gap, mend_resizes

if TYPE_CHECKING:
    from wl_onnx.graph import CompressibleModel

__all__ = ["MIN_IR_VERSION", "MIN_OPSET", "find_opset", "upgrade_model"]

MIN_OPSET = 18
"""Version of the standard operators that decoding nodes need."""

MIN_IR_VERSION = 8
"""IR version that model-local functions need."""

_log = logging.getLogger(__name__)

# Larger tensors are kept from the converter, which reads constants such as shapes and axes.
_MAX_SHOWN_BYTES = 1024

_ADVICE = f"export the model at opset {MIN_OPSET} or later"


def upgrade_model(model: CompressibleModel) -> None:
    """Raises a model to opset 18 and IR version 8, where it is below; nothing is lowered.

    What was raised is logged as a warning.

    Args:
        model: the model, changed in place.

    Raises:
        ModelError: it is below opset 18 and has functions or subgraphs, or onnx's version
            converter refuses a node.
    """
    proto = model.proto
    opset, ir_version = find_opset(proto), proto.ir_version
    if opset is None:
        proto.opset_import.add(domain="", version=MIN_OPSET)
    elif opset < MIN_OPSET:
        _require_convertible(model, opset)
        _convert_nodes(model, opset)
    if ir_version < MIN_IR_VERSION:
        if ir_version < 4:
            # From 4 on an input with an initializer is one that callers may feed, no constant.
            remove_inputs(find_bodies(proto)[0], [t.name for t in proto.graph.initializer])
        proto.ir_version = MIN_IR_VERSION
    raised = []
    if opset is not None and opset < MIN_OPSET:
        raised.append(f"opset {opset} to {MIN_OPSET}")
    if ir_version < MIN_IR_VERSION:
        raised.append(f"IR version {ir_version} to {MIN_IR_VERSION}")
    if raised:
        _log.warning("%s is raised from %s", model.name, " and from ".join(raised))


def find_opset(holder: ModelProto | onnx.FunctionProto) -> int | None:
    """The version of the standard operators that a model or function imports, None without one."""
    versions = [one.version for one in holder.opset_import if one.domain in ("", "ai.onnx")]
    return max(versions) if versions else None


def _require_convertible(model: CompressibleModel, opset: int) -> None:
    problem = f"cannot raise {model.name} from opset {opset} to {MIN_OPSET}"
    for function in model.proto.functions:
        raise model_error(
            f"{problem}: it must have no model-local functions, got {function.domain}::"
            f"{function.name}; {_ADVICE}"
        )
    gap = find_gap(model.proto.graph.node, opset)
    if gap is not None:
        raise model_error(f"{problem}: its nodes must convert exactly, got {gap}; {_ADVICE}")
    for node in model.proto.graph.node:
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise model_error(
                f"{problem}: its nodes must have no subgraphs, got {describe_node(node)}; {_ADVICE}"
            )


def _convert_nodes(model: CompressibleModel, opset: int) -> None:
    proto = model.proto
    skeleton, withheld = _form_skeleton(model)
    try:
        converted = version_converter.convert_version(skeleton, MIN_OPSET)
        _check_nodes(converted)
    except Exception as error:  # the converter raises RuntimeError and errors of its own
        text = str(error).strip().splitlines() or [type(error).__name__]
        named = [node for node in proto.graph.node if node.op_type in str(error)]
        where = f" at {describe_node(named[0])}" if named else ""
        raise model_error(
            f"cannot raise {model.name} from opset {opset} to {MIN_OPSET}{where}: "
            f"onnx's version converter must know all its nodes, got: {text[0]}; {_ADVICE}"
        ) from error
    constants = {place.name: place.tensor for place in find_places(find_bodies(skeleton))}
    mend_resizes(proto.graph.node, converted.graph.node, constants, opset)
    before = {tuple(node.output): node for node in proto.graph.node}
    nodes = [_prefer(before.get(tuple(node.output)), node) for node in converted.graph.node]
    shown = {tensor.name for tensor in skeleton.graph.initializer}
    added = [tensor for tensor in converted.graph.initializer if tensor.name not in shown]
    del proto.graph.node[:]
    proto.graph.node.extend([*withheld, *nodes])
    proto.graph.initializer.extend(added)
    for one in proto.opset_import:
        if one.domain in ("", "ai.onnx"):
            one.version = MIN_OPSET
    try:
        check_structure(model)
    except ModelError as error:
        raise model_error(
            f"cannot raise {model.name} from opset {opset} to {MIN_OPSET}: onnx's version "
            f"converter must keep its names, got: {error}; {_ADVICE}"
        ) from error


def _check_nodes(model: ModelProto) -> None:
    """Checks that each node is one of its operator at the model's opset."""
    context = type(onnx.checker.DEFAULT_CONTEXT)()
    context.ir_version = model.ir_version
    context.opset_imports = {one.domain: one.version for one in model.opset_import}
    for node in model.graph.node:
        onnx.checker.check_node(node, context)


def _form_skeleton(model: CompressibleModel) -> tuple[ModelProto, list[NodeProto]]:
    """The model with inputs in place of large tensors; and the Constant nodes that they replace."""
    proto = model.proto
    skeleton = ModelProto(ir_version=MIN_IR_VERSION, opset_import=proto.opset_import)
    graph = skeleton.graph
    graph.name = proto.graph.name or "graph"
    graph.output.extend(proto.graph.output)
    graph.value_info.extend(proto.graph.value_info)
    inputs = {info.name: info for info in proto.graph.input}
    large: dict[str, TensorProto] = {}
    main = find_bodies(proto)[0]
    for place in find_places([main]):
        if is_external(place.tensor) or inline_bytes(place.tensor) > _MAX_SHOWN_BYTES:
            large[place.name] = place.tensor
        elif place.node is None:
            graph.initializer.append(place.tensor)
    for sparse in proto.graph.sparse_initializer:
        dense = TensorProto(data_type=sparse.values.data_type, dims=sparse.dims)
        large[sparse.values.name] = dense
    shown = {tensor.name for tensor in graph.initializer}
    graph.input.extend(info for name, info in inputs.items() if name not in shown)
    for name, tensor in large.items():
        if name not in inputs:
            shape = list(tensor.dims)
            graph.input.append(onnx_helper.make_tensor_value_info(name, tensor.data_type, shape))
    withheld = []
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.output[0] in large:
            withheld.append(_copy(node))
        else:
            graph.node.append(node)
    return skeleton, withheld


def _prefer(before: NodeProto | None, after: NodeProto) -> NodeProto:
    """The node as it was where the converter left it alone, else the new one with its texts."""
    if before is None:
        return after
    old, new = _copy(before), _copy(after)
    for node in (old, new):
        for field in ("doc_string", "metadata_props"):
            node.ClearField(field)
        attributes = sorted(node.attribute, key=lambda one: one.name)
        del node.attribute[:]
        for attribute in attributes:
            attribute.ClearField("doc_string")
            node.attribute.append(attribute)
    if old == new:
        return _copy(before)
    new.doc_string = before.doc_string
    new.metadata_props.extend(before.metadata_props)
    return new


def _copy(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy
