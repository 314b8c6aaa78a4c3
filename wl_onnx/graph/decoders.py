"""The nodes of a compressed model that give weights: what they hold, and their blobs."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
from onnx import AttributeProto, NodeProto, TensorProto

from wl_onnx.graph.analog import ANALOG_INPUTS, ANALOG_OPERATOR
from wl_onnx.graph.failures import model_error
from wl_onnx.graph.metadata import DOMAIN, OPSET_VERSION
from wl_onnx.graph.scopes import Body, Names, Place, find_bodies, find_places, form_key
from wl_onnx.graph.tensors import FLOAT_TYPES, count_bytes, is_external

if TYPE_CHECKING:
    from wl_onnx.graph.model import CompressibleModel

__all__ = [
    "OPERATORS",
    "TYPED_BUNDLE",
    "Decoder",
    "find_decoders",
    "find_stored",
    "form_node_name",
    "set_cache",
]

OPERATORS = {
    "analog": ANALOG_OPERATOR,
    "bloomier": "BloomierDecode",
    "bundle": "BundleDecode",
    "palette": "PaletteDecode",
}
"""Operator types of the nodes that take the place of weights, by the codec of their blobs."""

TYPED_BUNDLE = "TypedBundleDecode"
"""The operator of bundles of another type than float32."""

_CODECS = {operator: codec for codec, operator in OPERATORS.items()} | {TYPED_BUNDLE: "bundle"}


@dataclasses.dataclass(frozen=True)
class Decoder:
    """A weight that a node gives; a node that decodes a bundle has several.

    Attributes:
        key: the weight's name, unique in the model: after the scope outside the main graph.
        codec: "analog", "bloomier", "bundle" or "palette", after the node's operator.
        scope: "" for the main graph, else the path of node, attribute and function names.
        name: the weight's name, which an output of the node has.
        shape: dimensions of the weight.
        data_type: ONNX element type of the weight: 1, 10, 11 or 16.
        cache: whether the operator keeps the decoded tensor between runs; an analog read keeps the
            programmed cells, and gives another tensor at each run.
        summary: one readable line.
        node: the node itself.
        model: the model that it is in.
        body: the graph or function that it is in.
        blob_tensor: the tensor that holds the blob.
        index: which of the node's outputs the weight is.
        bundle_shapes: of a bundle, the shapes of all its weights, else empty.
    """

    key: str
    codec: str
    scope: str
    name: str
    shape: tuple[int, ...]
    data_type: int
    cache: bool
    summary: str
    node: NodeProto = dataclasses.field(repr=False, compare=False)
    model: CompressibleModel = dataclasses.field(repr=False, compare=False)
    body: Body = dataclasses.field(repr=False, compare=False)
    blob_tensor: TensorProto = dataclasses.field(repr=False, compare=False)
    index: int = 0
    bundle_shapes: tuple[tuple[int, ...], ...] = ()

    @property
    def blob(self) -> bytes | memoryview:
        """The blob: bytes of its own, or a view of the mapped file where it is external.

        Made at each access, so keep it no longer than needed.
        """
        tensor = self.blob_tensor
        if not is_external(tensor) and tensor.HasField("raw_data"):
            return tensor.raw_data
        return np.ascontiguousarray(self.model.read(tensor)).data

    @property
    def blob_bytes(self) -> int:
        """Size of the blob."""
        return math.prod(self.blob_tensor.dims)

    @property
    def num_weights(self) -> int:
        """Number of weights that the blob decodes to."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of the decoded tensor."""
        return count_bytes(self.data_type, self.shape) or 0


def form_node_name(weight: str) -> str:
    """What the node that decodes a weight is called, if the node before it had no name."""
    return f"{weight}.decode"


def find_decoders(model: CompressibleModel) -> list[Decoder]:
    """Every weight that a model decodes, in subgraphs and functions too, in file order.

    Those that are read from analog cells are not among them: see `find_stored`.

    Args:
        model: the model; nothing is changed. One without such nodes gives an empty list.

    Raises:
        ModelError: a node of our domain is malformed or of a kind or version not known here.
    """
    return [one for one in find_stored(model) if one.codec != "analog"]


def find_stored(model: CompressibleModel) -> list[Decoder]:
    """As `find_decoders`, with the weights that are read from analog cells.

    Raises:
        ModelError: a node of our domain is malformed or of a kind or version not known here.
    """
    bodies = find_bodies(model.proto)
    found = [(b, n) for b in bodies for n in b.graph.node if n.domain == DOMAIN]
    if not found:
        return []
    versions = [opset.version for opset in model.proto.opset_import if opset.domain == DOMAIN]
    if not versions:
        raise model_error(
            f"cannot read {model.name}: a model with nodes of {DOMAIN} must import it, got none; "
            "the file is damaged or cut short"
        )
    if max(versions) > OPSET_VERSION:
        raise model_error(
            f"cannot read {model.name}: the version of {DOMAIN} must be at most "
            f"{OPSET_VERSION}, got {max(versions)}; install a newer wl-onnx"
        )
    places: dict[tuple[Body, str], Place] = {}
    if any(any(_blob_inputs(node)) for _, node in found):
        places = {(place.body, place.name): place for place in find_places(bodies)}
    keys = Names(())
    decoders = []
    for body, node in found:
        for decoder in _read(model, body, node, places):
            decoders.append(dataclasses.replace(decoder, key=keys.claim(decoder.key)))
    return decoders


def set_cache(model: CompressibleModel, value: bool) -> None:
    """Sets whether the operators keep what they decode between runs.

    Args:
        model: the model, changed in place.
        value: False to decode at every run and give the memory back.

    Raises:
        ModelError: as `find_decoders`.
    """
    for decoder in find_decoders(model):
        attributes = {attribute.name: attribute for attribute in decoder.node.attribute}
        cache = attributes.get("cache") or decoder.node.attribute.add()
        cache.name, cache.type, cache.i = "cache", AttributeProto.INT, int(value)


def _read(
    model: CompressibleModel,
    body: Body,
    node: NodeProto,
    places: dict[tuple[Body, str], Place],
) -> list[Decoder]:
    attributes = {attribute.name: attribute for attribute in node.attribute}

    def require(condition: bool, what: str, got: object) -> None:
        if not condition:
            name = node.name or (node.output[0] if node.output else node.op_type)
            where = f" in {body.scope}" if body.scope else ""
            raise model_error(
                f"cannot read node {name}{where}: {what}, got {got}; the model is damaged"
            )

    def attribute(name: str, type_name: str, default: AttributeProto | None) -> AttributeProto:
        value = attributes.get(name, default)
        wanted = AttributeProto.AttributeType.Value(type_name)
        require(
            value is not None and value.type == wanted,
            f"attribute {name} must be of type {type_name}",
            "none" if value is None else AttributeProto.AttributeType.Name(value.type),
        )
        return value or AttributeProto()

    require(
        node.op_type in _CODECS, f"its operator must be one of {', '.join(_CODECS)}", node.op_type
    )
    is_bundle = _CODECS[node.op_type] == "bundle"
    outputs = [name for name in node.output if name]
    if is_bundle:
        shapes = _split_shapes(list(attribute("shapes", "INTS", None).ints))
        require(bool(shapes), "its shapes must each follow their rank", "others")
        require(
            len(outputs) == len(node.output) == len(shapes),
            "it must have an output for each of its shapes",
            f"{len(outputs)} and {len(shapes)}",
        )
    else:
        require(len(outputs) == 1, "it must have one output", len(outputs))
        shapes = [tuple(attribute("shape", "INTS", None).ints)]
    for shape in shapes:
        require(all(dim >= 0 for dim in shape), "its shape must not be negative", list(shape))
        require(math.prod(shape) < 2**32, "it must hold fewer than 2**32 weights", math.prod(shape))
    data_type = attribute("data_type", "INT", None).i
    require(data_type in FLOAT_TYPES, "its data_type must be 1, 10, 11 or 16", data_type)
    require(
        node.op_type != OPERATORS["bundle"] or data_type == TensorProto.FLOAT,
        "its data_type must be 1",
        data_type,
    )
    cache = attribute("cache", "INT", AttributeProto(type=AttributeProto.INT, i=1)).i
    empty = AttributeProto(type=AttributeProto.STRING)
    summary = attribute("summary", "STRING", empty).s.decode("utf-8", "replace")

    inputs = [name for name in _blob_inputs(node) if name]
    if "blob" in attributes or not inputs:
        require(not inputs, "it must have a blob as attribute or as input", "both")
        blob = attribute("blob", "TENSOR", None).t
    else:
        owner = body.resolve(inputs[0])
        place = places.get((owner, inputs[0])) if owner is not None else None
        require(
            place is not None and len(inputs) == 1,
            "its blob's input must be an initializer",
            ", ".join(inputs),
        )
        blob = place.tensor if place is not None else TensorProto()
    is_bytes = blob.data_type == TensorProto.UINT8 and len(blob.dims) == 1
    kind = f"element type {blob.data_type} and shape {list(blob.dims)}"
    require(is_bytes, "its blob must be a uint8 tensor with one dimension", kind)
    return [
        Decoder(
            key=form_key(body.scope, name),
            codec=_CODECS[node.op_type],
            scope=body.scope,
            name=name,
            shape=shape,
            data_type=data_type,
            cache=bool(cache),
            summary=summary,
            node=node,
            model=model,
            body=body,
            blob_tensor=blob,
            index=index,
            bundle_shapes=tuple(shapes) if is_bundle else (),
        )
        for index, (name, shape) in enumerate(zip(outputs, shapes, strict=True))
    ]


def _blob_inputs(node: NodeProto) -> list[str]:
    """The inputs of a node behind the seeds and the time."""
    names = list(node.input)
    return names[len(ANALOG_INPUTS) :] if node.op_type == ANALOG_OPERATOR else names


def _split_shapes(flat: list[int]) -> list[tuple[int, ...]]:
    """The shapes of a bundle's node, each after its rank; none where they are malformed."""
    shapes = []
    at = 0
    while at < len(flat):
        rank = flat[at]
        if not 0 <= rank < len(flat) - at:
            return []
        shapes.append(tuple(flat[at + 1 : at + 1 + rank]))
        at += 1 + rank
    return shapes
