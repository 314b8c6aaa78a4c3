"""Removing what a model says but does not need: documentation, metadata, unused initializers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from onnx import GraphProto

from wl_onnx.graph.metadata import DOMAIN
from wl_onnx.graph.scopes import Body, find_bodies

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from onnx import ModelProto

    from wl_onnx.graph.model import CompressibleModel

__all__ = ["strip_model"]

_TEXTS = ("doc_string", "metadata_props")


def strip_model(model: CompressibleModel) -> None:
    """Removes all that does not change what a model computes, and nothing else.

    That is doc strings and metadata wherever they stand, functions and subgraphs included, but
    for our own metadata of the model; and initializers, sparse ones too, that no node reads, that
    are no output, no default of an input, and no parameter of a quantisation annotation. A model
    with training information keeps its initializers, which that may refer to. Names stay.

    Args:
        model: the model, changed in place.
    """
    own = [entry for entry in model.proto.metadata_props if entry.key.startswith(f"{DOMAIN}.")]
    _clear_texts(model.proto)
    model.proto.metadata_props.extend(own)
    if not model.proto.training_info:
        _remove_unused(model.proto)


def _clear_texts(message: Message) -> None:
    # By the descriptors, for which messages have these fields depends on the version of onnx.
    for name in _TEXTS:
        if name in message.DESCRIPTOR.fields_by_name:
            message.ClearField(name)
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for one in value if _is_repeated(value) else (value,):
            _clear_texts(one)


def _is_repeated(value: Any) -> bool:
    return not hasattr(value, "DESCRIPTOR")


def _remove_unused(proto: ModelProto) -> None:
    bodies = find_bodies(proto)
    used = {body: set(body.inputs) for body in bodies}
    for body in bodies:
        for name in _read_names(body):
            owner = body.resolve(name)
            if owner is not None:
                used[owner].add(name)
    for body in bodies:
        graph = body.graph
        if not isinstance(graph, GraphProto):
            continue
        unused = body.initializer_names - used[body]
        _keep(graph.initializer, [t.name not in unused for t in graph.initializer])
        _keep(
            graph.sparse_initializer,
            [sparse.values.name not in unused for sparse in graph.sparse_initializer],
        )
        _keep(graph.value_info, [info.name not in unused for info in graph.value_info])


def _read_names(body: Body) -> Iterable[str]:
    """Every name that something in this very body refers to."""
    for node in body.graph.node:
        yield from node.input
    yield from body.outputs
    if isinstance(body.graph, GraphProto):
        for annotation in body.graph.quantization_annotation:
            yield annotation.tensor_name
            for entry in annotation.quant_parameter_tensor_names:
                yield entry.value


def _keep(field: Any, kept: list[bool]) -> None:
    for index in reversed(range(len(kept))):
        if not kept[index]:
            del field[index]
