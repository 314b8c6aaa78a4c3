"""How many bytes a model takes, all its files together, and what they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnx import TensorProto

from wl_onnx.graph.decoders import find_stored
from wl_onnx.graph.save import INLINE_LIMIT_BYTES
from wl_onnx.graph.scopes import find_bodies, find_tensors
from wl_onnx.graph.tensors import external_span, inline_bytes, is_external

if TYPE_CHECKING:
    from wl_onnx.graph.model import CompressibleModel

__all__ = ["FileParts", "fits_in_proto", "measure_file", "measure_parts", "measure_tensors"]

_DATA_FIELDS = (
    "float_data", "double_data", "int32_data", "int64_data", "uint64_data", "string_data",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class FileParts:
    """What the bytes of a model are.

    Attributes:
        blob_bytes: blobs of the nodes that give weights.
        initializer_bytes: data of all other initializers and tensor attributes, of any type.
        graph_bytes: the rest: nodes, names, shapes, metadata.
    """

    blob_bytes: int
    initializer_bytes: int
    graph_bytes: int


def measure_tensors(model: CompressibleModel) -> int:
    """Bytes of all initializers and tensor attributes; data that several share counts once.

    Of each as its type and shape make it, however it is written in the protobuf.
    """
    tensors = list(find_tensors(find_bodies(model.proto)))
    return sum(map(inline_bytes, tensors)) + _external_bytes(tensors)


def measure_file(model: CompressibleModel) -> int:
    """Bytes of the model's protobuf and of its external data, without the latter's padding."""
    tensors = find_tensors(find_bodies(model.proto))
    return int(model.proto.ByteSize()) + _external_bytes(tensors)


def measure_parts(model: CompressibleModel, *, blobs: Iterable[TensorProto] = ()) -> FileParts:
    """The bytes of `measure_file` by what they are, as they are written.

    Args:
        model: the model.
        blobs: tensors of it that count as blobs beside those of our nodes.

    Raises:
        ModelError: a decode node is malformed.
    """
    # Nodes may share one initializer, which is then one and the same object.
    held = [*blobs, *(one.blob_tensor for one in find_stored(model))]
    blob_bytes = _stored_bytes({id(tensor): tensor for tensor in held}.values())
    initializer_bytes = _stored_bytes(find_tensors(find_bodies(model.proto))) - blob_bytes
    return FileParts(
        blob_bytes, initializer_bytes, measure_file(model) - blob_bytes - initializer_bytes
    )


def fits_in_proto(model: CompressibleModel) -> bool:
    """Whether `to_proto` can hold the model."""
    return measure_tensors(model) <= INLINE_LIMIT_BYTES


def _external_bytes(tensors: Iterable[TensorProto]) -> int:
    spans = {external_span(tensor) for tensor in tensors if is_external(tensor)}
    return sum(span.length for span in spans)


def _stored_bytes(tensors: Iterable[TensorProto]) -> int:
    """Bytes of the tensors' data as they are written, in the protobuf and outside of it."""
    tensors = list(tensors)
    return sum(map(_written_bytes, tensors)) + _external_bytes(tensors)


def _written_bytes(tensor: TensorProto) -> int:
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    # Integers are written in as few bytes as each needs.
    fields = TensorProto()
    for name in _DATA_FIELDS:
        getattr(fields, name).MergeFrom(getattr(tensor, name))
    return int(fields.ByteSize())
