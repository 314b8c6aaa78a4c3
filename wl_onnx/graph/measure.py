"""How many bytes a model takes, all its files together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wl_onnx.graph.save import INLINE_LIMIT_BYTES
from wl_onnx.graph.scopes import find_bodies, find_tensors
from wl_onnx.graph.tensors import external_span, inline_bytes, is_external

if TYPE_CHECKING:
    from wl_onnx.graph.model import CompressibleModel

__all__ = ["fits_in_proto", "measure_file", "measure_tensors"]


def measure_tensors(model: CompressibleModel) -> int:
    """Bytes of all initializers and tensor attributes; data that several share counts once."""
    inline, external = _measure(model)
    return inline + external


def measure_file(model: CompressibleModel) -> int:
    """Bytes of the model's protobuf and of its external data, without the latter's padding."""
    return int(model.proto.ByteSize()) + _measure(model)[1]


def fits_in_proto(model: CompressibleModel) -> bool:
    """Whether `to_proto` can hold the model."""
    return measure_tensors(model) <= INLINE_LIMIT_BYTES


def _measure(model: CompressibleModel) -> tuple[int, int]:
    tensors = list(find_tensors(find_bodies(model.proto)))
    spans = {external_span(tensor) for tensor in tensors if is_external(tensor)}
    return sum(map(inline_bytes, tensors)), sum(span.length for span in spans)
