"""Shapes of a model's values, as ONNX infers them, without its weights' bytes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from google.protobuf.message import EncodeError  # type: ignore[import-untyped, unused-ignore]
from onnx import ModelProto, TensorProto, shape_inference

from wl_onnx.graph.scopes import find_bodies, find_places
from wl_onnx.graph.tensors import inline_bytes, is_external

if TYPE_CHECKING:
    from wl_onnx.graph.model import CompressibleModel

__all__ = ["infer_shapes"]

_MAX_SHAPE_BYTES = 256
"""Tensors up to this size may say a shape, and are shown to the inference whole."""


def infer_shapes(model: CompressibleModel) -> dict[str, tuple[int | None, ...]]:
    """The shapes of values of the main graph: what the file says, and what follows from it.

    Args:
        model: the model; nothing is changed.

    Returns:
        Dimensions by name, None for one that is not known. Where the inference fails, only what
        the file says.
    """
    graph = model.proto.graph
    infos = [*graph.input, *graph.output, *graph.value_info]
    with contextlib.suppress(shape_inference.InferenceError, EncodeError, ValueError):
        infos.extend(shape_inference.infer_shapes(_form_skeleton(model.proto)).graph.value_info)
    shapes: dict[str, tuple[int | None, ...]] = {}
    for info in infos:
        if info.type.HasField("tensor_type") and info.type.tensor_type.HasField("shape"):
            dims = info.type.tensor_type.shape.dim
            shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)
            known = shapes.get(info.name, shape)
            if len(known) == len(shape):  # a later entry says what an earlier one leaves open
                pairs = zip(known, shape, strict=True)
                shapes[info.name] = tuple(b if a is None else a for a, b in pairs)
    return shapes


def _form_skeleton(proto: ModelProto) -> ModelProto:
    """The model with no more than the types and shapes of its large tensors."""
    skeleton = ModelProto(
        ir_version=proto.ir_version, opset_import=proto.opset_import, functions=proto.functions
    )
    graph = skeleton.graph
    graph.name = proto.graph.name
    graph.input.extend(proto.graph.input)
    graph.output.extend(proto.graph.output)
    graph.value_info.extend(proto.graph.value_info)
    main = find_bodies(proto)[0]
    large = set()
    for place in find_places([main]):
        tensor = place.tensor
        if is_external(tensor) or inline_bytes(tensor) > _MAX_SHAPE_BYTES:
            large.add(place.name)
            graph.initializer.append(
                TensorProto(name=place.name, data_type=tensor.data_type, dims=tensor.dims)
            )
        elif place.node is None:
            graph.initializer.append(tensor)
    for node in proto.graph.node:
        if node.op_type != "Constant" or node.output[0] not in large:
            graph.node.append(node)
    return skeleton
