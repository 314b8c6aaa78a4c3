"""Making a compressed model ready for weights that are handed to onnxruntime from outside.

Each decode node becomes an external initializer of the main graph whose file does not exist;
`SessionOptions.add_external_initializers` supplies it. It is a graph input only below IR version
4, where it must be; from 4 on that would make it a default value, which is no constant.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto
from onnx import helper as onnx_helper

from wl_onnx.graph.decoders import Decoder, find_decoders
from wl_onnx.graph.restore import decode_checked, detach_decoders
from wl_onnx.graph.scopes import Body, Names, Place, find_bodies, find_places, form_key
from wl_onnx.graph.tensors import (
    ExternalSpan,
    count_bytes,
    fill_raw,
    is_external,
    make_constant,
    point_to_external,
)

if TYPE_CHECKING:
    import numpy as np

    from wl_onnx.graph.model import CompressibleModel

__all__ = ["ExternalizedModel", "externalize_weights"]

_NO_FILE = "weights-are-handed-over-by-wl_onnx"


@dataclasses.dataclass(frozen=True)
class ExternalizedModel:
    """A model whose weights are to be supplied by name when its session is created.

    Attributes:
        proto: the model.
        weights: initializers that stand for decoders: name in `proto`, and the decoder.
        dense: initializers that were external data before: name in `proto`, ONNX element type,
            and the array, mapped from its file (raw uint8 for types that NumPy lacks).
    """

    proto: ModelProto
    weights: list[tuple[str, Decoder]]
    dense: list[tuple[str, int, np.ndarray]]


def externalize_weights(
    model: CompressibleModel, decode: Callable[[Decoder], np.ndarray]
) -> ExternalizedModel:
    """Replaces decode nodes by external initializers, for values handed over from outside.

    Weights of subgraphs move to the main graph under a name of their own, since onnxruntime
    refuses values for a subgraph's initializers. Weights of functions become Constant nodes. Nodes
    that read analog cells stay.

    Args:
        model: the model, changed in place; not to be saved afterwards.
        decode: as of `restore_weights`; called for the weights of functions alone.

    Raises:
        ModelError: a decode node is malformed.
        InputError: `decode` gives another shape or dtype.
    """
    decoders = find_decoders(model)
    constants: dict[str, NodeProto] = {}
    for decoder in decoders:
        if decoder.body.root().is_function:
            tensor = TensorProto(name=decoder.name, data_type=decoder.data_type, dims=decoder.shape)
            fill_raw(tensor, decode_checked(decoder, decode))
            name = "" if decoder.bundle_shapes else decoder.node.name
            constants[decoder.key] = make_constant(tensor, name)
    detach_decoders(model, decoders, constants)
    bodies = find_bodies(model.proto)
    external = [place for place in find_places(bodies) if is_external(place.tensor)]
    names = Names.of_values(bodies)
    for decoder in decoders:
        names.claim(decoder.name)
    dense = _hand_over_dense(model, external, names)
    weights = []
    for decoder in decoders:
        if decoder.key not in constants:
            name = _name_in_main_graph(decoder.body, decoder.name, names)
            _add_initializer(model.proto, name, decoder.data_type, decoder.shape)
            weights.append((name, decoder))
    return ExternalizedModel(model.proto, weights, dense)


def _hand_over_dense(
    model: CompressibleModel, places: list[Place], names: Names
) -> list[tuple[str, int, np.ndarray]]:
    dense = []
    # From the back, so that the positions of those before stay right.
    for place in reversed(places):
        tensor, body = place.tensor, place.body
        array = model.read(tensor)
        if isinstance(body.root().graph, FunctionProto):
            fill_raw(tensor, array)
        elif body.parent is None and place.node is None:
            _leave_empty(tensor)
            dense.append((place.name, tensor.data_type, array))
        elif isinstance(body.graph, GraphProto):
            field = body.graph.initializer if place.node is None else body.graph.node
            del field[place.index]
            name = _name_in_main_graph(body, place.name, names)
            _add_initializer(model.proto, name, tensor.data_type, tuple(tensor.dims))
            dense.append((name, tensor.data_type, array))
    return dense[::-1]


def _add_initializer(proto: ModelProto, name: str, data_type: int, shape: tuple[int, ...]) -> None:
    _leave_empty(proto.graph.initializer.add(name=name, data_type=data_type, dims=shape))
    if proto.ir_version < 4 and all(info.name != name for info in proto.graph.input):
        proto.graph.input.append(onnx_helper.make_tensor_value_info(name, data_type, shape))


def _leave_empty(tensor: TensorProto) -> None:
    size_bytes = count_bytes(tensor.data_type, tensor.dims) or 0
    point_to_external(tensor, ExternalSpan(_NO_FILE, 0, size_bytes))


def _name_in_main_graph(body: Body, name: str, names: Names) -> str:
    """The name that a value of a body gets in the main graph; what uses it there follows."""
    if body.parent is None:
        return name
    new = names.claim(form_key(body.scope, name))
    _rename_uses(body, name, new)
    if name in body.outputs:
        # onnxruntime accepts no value of an outer graph as a subgraph's output.
        body.graph.node.insert(0, NodeProto(op_type="Identity", input=[new], output=[name]))
    for index in reversed(range(len(body.graph.value_info))):
        if body.graph.value_info[index].name == name and name not in body.outputs:
            del body.graph.value_info[index]
    return new


def _rename_uses(body: Body, old: str, new: str) -> None:
    for node in body.graph.node:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new
    for child in body.children:
        _rename_uses(child, old, new)
