"""Making a compressed model plain again: decode nodes become initializers."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from onnx import GraphProto, NodeProto, TensorProto

from wl_onnx.errors import InputError
from wl_onnx.graph.decoders import Decoder, find_decoders, find_stored, form_node_name
from wl_onnx.graph.metadata import DOMAIN, remove_metadata
from wl_onnx.graph.save import INLINE_LIMIT_BYTES
from wl_onnx.graph.scopes import Body, find_bodies, find_tensors, may_hold_initializers
from wl_onnx.graph.tensors import (
    EXTERNAL_MINIMUM_BYTES,
    fill_raw,
    inline_bytes,
    is_external,
    make_constant,
    numpy_dtype,
)
from wl_onnx.graph.value_info import withdraw_types

if TYPE_CHECKING:
    import numpy as np

    from wl_onnx.graph.model import CompressibleModel

__all__ = ["decode_checked", "detach_decoders", "restore_weights"]


def restore_weights(
    model: CompressibleModel, decode: Callable[[Decoder], np.ndarray], *, keeps_analog: bool = False
) -> None:
    """Puts the decoded weights back as initializers, under the same names in the same graphs.

    In functions, which have no initializers, they become Constant nodes. Our domain, our metadata
    and stored blobs go; below IR version 4 the initializers are graph inputs again. Where the
    weights do not fit in a protobuf, or the model has external data already, tensors above 1 KiB
    are decoded when the model is saved, one at a time, into its external data.

    Args:
        model: the model, changed in place. One that is not compressed stays as it is.
        decode: gives the weights of a decoder in its shape, and the dtype of its data_type
            (bfloat16: that of ml_dtypes); the same at every call.
        keeps_analog: whether weights that are read from analog cells stay as they are; else they
            go too, with the inputs of their reads.

    Raises:
        ModelError: a decode node is malformed.
        InputError: `decode` gives another shape or dtype.
    """
    decoders = find_decoders(model) if keeps_analog else find_stored(model)
    if not decoders:
        return
    tensors = list(find_tensors(find_bodies(model.proto)))
    size_bytes = sum(decoder.size_bytes for decoder in decoders) + sum(map(inline_bytes, tensors))
    defers = size_bytes > INLINE_LIMIT_BYTES or any(map(is_external, tensors))
    constants: dict[str, NodeProto] = {}
    initializers: list[tuple[Body, TensorProto]] = []
    for decoder in decoders:
        tensor = _describe(decoder)
        if defers and decoder.size_bytes > EXTERNAL_MINIMUM_BYTES:
            model.defer(tensor, functools.partial(decode_checked, decoder, decode))
        else:
            fill_raw(tensor, decode_checked(decoder, decode))
        if may_hold_initializers(model.proto, decoder.body):
            initializers.append((decoder.body, tensor))
        else:
            constants[decoder.key] = _make_constant(decoder, tensor)
    detach_decoders(model, decoders, constants)
    for body, tensor in initializers:
        if isinstance(body.graph, GraphProto):
            body.graph.initializer.append(tensor)


def decode_checked(decoder: Decoder, decode: Callable[[Decoder], np.ndarray]) -> np.ndarray:
    """What `decode` gives for a decoder, if it has the shape and dtype that the decoder says.

    Raises:
        InputError: it has not.
    """
    array = decode(decoder)
    dtype = numpy_dtype(decoder.data_type)
    if array.shape != decoder.shape or array.dtype != dtype:
        raise InputError(
            f"cannot restore {decoder.key}: decoded weights must be {dtype} of shape "
            f"{list(decoder.shape)}, got {array.dtype} of shape {list(array.shape)}"
        )
    return array


def detach_decoders(
    model: CompressibleModel,
    decoders: Iterable[Decoder],
    constants: Mapping[str, NodeProto],
) -> None:
    """Removes decode nodes and all that came with them.

    That is: blobs and other inputs that only they used, value_info that they brought, and, where
    no other node of ours is left, our domain and our metadata. The weights' names are undefined
    afterwards, but for those of `constants`.

    Args:
        model: the model, changed in place.
        decoders: what is removed, all weights of a bundle or none; each keeps its node and blob.
        constants: nodes to put in the place of decode nodes, by key.
    """
    by_body: dict[Body, dict[str, Decoder]] = collections.defaultdict(dict)
    blobs: set[str] = set()
    for decoder in decoders:
        by_body[decoder.body][decoder.name] = decoder
        blobs.update(name for name in decoder.node.input if name)
    for body, by_name in by_body.items():
        nodes = body.graph.node
        for index in reversed(range(len(nodes))):
            if nodes[index].domain != DOMAIN or not any(n in by_name for n in nodes[index].output):
                continue
            keys = [by_name[name].key for name in nodes[index].output if name]
            del nodes[index]
            for key in reversed(keys):
                if key in constants:
                    nodes.insert(index, constants[key])
        names = [name for name, one in by_name.items() if one.key not in constants]
        withdraw_types(model.proto, body, names)
    if blobs:
        _remove_unused(find_bodies(model.proto), blobs)
    bodies = find_bodies(model.proto)
    in_use = {
        id(body.root().graph)
        for body in bodies
        if any(node.domain == DOMAIN for node in body.graph.node)
    }
    holders = [f for f in model.proto.functions if id(f) not in in_use]
    for holder in [*holders, *([] if in_use else [model.proto])]:
        for index in reversed(range(len(holder.opset_import))):
            if holder.opset_import[index].domain == DOMAIN:
                del holder.opset_import[index]
    if not in_use:
        remove_metadata(model.proto)


def _make_constant(decoder: Decoder, tensor: TensorProto) -> NodeProto:
    is_ours = bool(decoder.bundle_shapes) or decoder.node.name.startswith(
        form_node_name(decoder.name)
    )
    return make_constant(tensor, "" if is_ours else decoder.node.name)


def _describe(decoder: Decoder) -> TensorProto:
    tensor = TensorProto(name=decoder.name, data_type=decoder.data_type, dims=decoder.shape)
    if decoder.bundle_shapes:
        return tensor
    if decoder.node.HasField("doc_string"):
        tensor.doc_string = decoder.node.doc_string
    tensor.metadata_props.extend(decoder.node.metadata_props)
    return tensor


def _remove_unused(bodies: list[Body], names: set[str]) -> None:
    used = {name for body in bodies for node in body.graph.node for name in node.input}
    used.update(name for body in bodies for name in body.outputs)
    unused = names - used
    for body in bodies:
        graph = body.graph
        for index in reversed(range(len(graph.node))):
            if graph.node[index].op_type == "Constant" and graph.node[index].output[0] in unused:
                del graph.node[index]
        if isinstance(graph, GraphProto):
            for field in (graph.initializer, graph.input, graph.value_info):
                for index in reversed(range(len(field))):
                    if field[index].name in unused:
                        del field[index]
