"""The structural check of a model that was just opened: is it whole?

A protobuf that was cut short between two fields still parses. What is gone then shows in what is
left: tensors shorter than their shape, values that nothing gives, no outputs, no opset.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from wl_onnx.errors import ModelError
from wl_onnx.graph.failures import model_error
from wl_onnx.graph.scopes import Body, find_bodies, find_tensors
from wl_onnx.graph.tensors import check_inline, is_external

if TYPE_CHECKING:
    from onnx import TensorProto

    from wl_onnx.graph.model import CompressibleModel

__all__ = ["check_structure"]


def check_structure(model: CompressibleModel) -> None:
    """Checks that a parsed model is a whole one, in time that grows with its nodes.

    Raises:
        ModelError: no graph, no IR version, no opset, no output, a value that nothing gives, a
            name given twice or not UTF-8, or a tensor whose data does not match its shape.
    """
    proto = model.proto
    for what, present in (
        ("a graph", proto.HasField("graph")),
        ("an IR version", proto.ir_version > 0),
        ("nodes or initializers", bool(proto.graph.node or proto.graph.initializer)),
        ("an output", bool(proto.graph.output)),
        ("an operator set", bool(proto.opset_import) or proto.ir_version < 3),
    ):
        if not present:
            raise model_error(
                f"cannot load {model.name}: an ONNX model must have {what}, got none; "
                "the file is damaged, cut short or of another format"
            )
    _check_text(model, (entry.key for entry in proto.metadata_props))
    bodies = find_bodies(proto)
    for body in bodies:
        _check_names(model, body)
    for tensor in find_tensors(bodies):
        if not is_external(tensor):
            _check_tensor(model, tensor)


def _check_text(model: CompressibleModel, texts: Iterable[object]) -> None:
    # protobuf gives bytes where a text is not UTF-8.
    for text in texts:
        if not isinstance(text, str):
            raise model_error(
                f"cannot load {model.name}: names must be UTF-8, got {text!r}; the file is damaged"
            )


def _check_names(model: CompressibleModel, body: Body) -> None:
    where = f" in {body.scope}" if body.scope else ""
    given: set[str] = set()
    names = [name for node in body.graph.node for name in node.output if name]
    for name in [*(tensor.name for tensor in body.initializers), *names]:
        if name in given or not name:
            raise model_error(
                f"cannot load {model.name}: names of initializers and node outputs must be given "
                f"once{where}, got {name or 'an initializer without a name'}"
            )
        given.add(name)
    declared = body.declared
    _check_text(model, declared)
    _check_text(model, (body.scope, *body.inputs, *body.outputs))
    _check_text(model, (node.name for node in body.graph.node))
    _check_text(model, (info.name for info in body.graph.value_info))
    for node in body.graph.node:
        for name in node.input:
            if name and name not in declared and body.resolve(name) is None:
                raise model_error(
                    f"cannot load {model.name}: inputs of node {node.name or node.op_type}{where} "
                    f"must be given by something, got {name}; the file is damaged or cut short"
                )
    for name in body.outputs:
        if body.resolve(name) is None:
            raise model_error(
                f"cannot load {model.name}: outputs{where} must be given by something, got {name}; "
                "the file is damaged or cut short"
            )


def _check_tensor(model: CompressibleModel, tensor: TensorProto) -> None:
    try:
        check_inline(tensor)
    except ModelError as error:
        raise model_error(f"cannot load {model.name}: {error}") from error
