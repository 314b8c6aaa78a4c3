"""Taking a portable file back: dense weights, or the nodes of our operators, in its place."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from onnx import GraphProto, TensorProto

from wl_onnx.graph import Replacement, read_metadata
from wl_onnx.graph.metadata import PORTABLE_RECORD, remove_metadata
from wl_onnx.graph.rewrite import replace_tensors
from wl_onnx.graph.save import INLINE_LIMIT_BYTES
from wl_onnx.graph.scopes import Place, find_bodies, find_places, find_tensors
from wl_onnx.graph.tensors import (
    EXTERNAL_MINIMUM_BYTES,
    fill_raw,
    inline_bytes,
    is_external,
    make_constant,
)
from wl_onnx.portable.extraction import (
    PortableWeight,
    describe_tensor,
    detach_portable,
    find_portable,
)

if TYPE_CHECKING:
    from wl_onnx.graph import CompressibleModel

__all__ = ["restore_dense", "restore_operators"]

_NAMES = {"bloomier": "Bloomier filter", "palette": "Palette"}


def restore_dense(model: CompressibleModel) -> None:
    """Puts decoded weights in the place of the nodes of a portable file, as initializers.

    In functions, which have no initializers, they become Constant nodes. Our metadata goes; opset
    and IR version stay. Where the weights do not fit in a protobuf, or the model has external data
    already, those above 1 KiB are decoded when the model is saved, one at a time.

    Args:
        model: a portable model, changed in place.

    Raises:
        ModelError: the record is damaged, or does not fit the graph.
        BlobError: a weight's tensors are damaged, or it is not what was recorded.
    """
    weights = find_portable(model)
    tensors = list(find_tensors(find_bodies(model.proto)))
    size_bytes = sum(weight.size_bytes for weight in weights) + sum(map(inline_bytes, tensors))
    defers = size_bytes > INLINE_LIMIT_BYTES or any(map(is_external, tensors))

    def fill(tensor: TensorProto, weight: PortableWeight) -> None:
        if defers and weight.size_bytes > EXTERNAL_MINIMUM_BYTES:
            model.defer(tensor, functools.partial(weight.decode, threads=0))
        else:
            fill_raw(tensor, weight.decode(threads=0))

    _put_back(model, weights, fill)
    remove_metadata(model.proto)


def restore_operators(model: CompressibleModel) -> list[PortableWeight]:
    """Puts nodes of our operators, with their blobs, in the place of those of a portable file.

    Blobs of filters are byte for byte those that the portable file was made of; palettes are coded
    anew. Every weight is decoded and checked first. Opset and IR version stay.

    Args:
        model: a portable model, changed in place.

    Returns:
        The weights, in the order of the record.

    Raises:
        ModelError: the record is damaged, or does not fit the graph.
        BlobError: a weight's tensors are damaged, or it is not what was recorded.
    """
    weights = find_portable(model)
    replacements: dict[tuple[str, str], Replacement] = {}
    for weight in weights:
        blob = weight.restore_blob()
        weight.decode(blob, threads=0)
        record = weight.record
        ratio = weight.size_bytes / len(blob)
        summary = f"{_NAMES[record.codec]}, from a portable file: {ratio:.1f}x smaller"
        replacements[record.scope, record.name] = Replacement(blob, summary, codec=record.codec)
    metadata = read_metadata(model)
    metadata.pop(PORTABLE_RECORD, None)
    _put_back(model, weights, lambda _tensor, _weight: None)
    chosen: list[tuple[Place, Replacement]] = []
    for place in find_places(find_bodies(model.proto)):
        replacement = replacements.get((place.body.scope, place.name))
        if replacement is not None:
            chosen.append((place, replacement))
    replace_tensors(model, chosen, metadata=metadata)
    return weights


def _put_back(
    model: CompressibleModel,
    weights: list[PortableWeight],
    fill: Callable[[TensorProto, PortableWeight], None],
) -> None:
    """Makes the weights initializers, or Constant nodes, again."""
    tensors = []
    for weight in weights:
        tensor = describe_tensor(weight)
        fill(tensor, weight)
        tensors.append(tensor)
    detach_portable(model, weights)
    for weight, tensor in zip(weights, tensors, strict=True):
        graph = weight.body.graph
        if isinstance(graph, GraphProto):
            graph.initializer.append(tensor)
        else:
            graph.node.insert(0, make_constant(tensor, ""))
