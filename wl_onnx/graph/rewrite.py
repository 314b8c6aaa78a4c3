"""Replacing weights by nodes that decode them, or read them from analog cells."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
)
from onnx import helper as onnx_helper

from wl_onnx.errors import InputError
from wl_onnx.graph.analog import (
    ANALOG_INPUTS,
    AnalogDefaults,
    add_analog_inputs,
    check_analog_inputs,
    why_not_analog,
)
from wl_onnx.graph.decoders import OPERATORS, TYPED_BUNDLE, form_node_name
from wl_onnx.graph.metadata import DOMAIN, OPSET_VERSION, write_metadata
from wl_onnx.graph.parameters import Parameter, find_parameters
from wl_onnx.graph.scopes import Body, Names, Place, find_bodies, may_hold_initializers
from wl_onnx.graph.select import WeightSite, find_weights
from wl_onnx.graph.tensors import EXTERNAL_MINIMUM_BYTES, make_constant
from wl_onnx.graph.value_info import declare_types, remove_inputs

if TYPE_CHECKING:
    from wl_onnx.graph.model import CompressibleModel

__all__ = ["Bundle", "Replacement", "replace_tensors", "replace_weights"]


@dataclasses.dataclass(frozen=True)
class Replacement:
    """What takes the place of a weight.

    Attributes:
        blob: the encoded weight; its bytes are not looked at.
        summary: one readable line, shown by viewers.
        cache: whether the operator keeps the decoded tensor between runs; no matter for "analog".
        codec: "bloomier" or "palette", whose operator decodes the blob, or "analog", whose operator
            reads its cells at each run.
    """

    blob: bytes
    summary: str
    cache: bool = True
    codec: str = "bloomier"


@dataclasses.dataclass(frozen=True)
class Bundle:
    """What takes the place of several weights or parameters of the main graph at once.

    Attributes:
        blob: the encoded tensors in the order of `keys`; its bytes are not looked at.
        keys: of each tensor, `WeightSite.key` or `Parameter.key`; all of one element type.
        summary: one readable line, shown by viewers.
        cache: whether the operator keeps the decoded tensors between runs.
    """

    blob: bytes
    keys: tuple[str, ...]
    summary: str
    cache: bool = True


def replace_weights(
    model: CompressibleModel,
    replacements: Mapping[str, Replacement],
    *,
    bundles: Sequence[Bundle] = (),
    blobs: Literal["attribute", "initializer"] = "attribute",
    metadata: Mapping[str, str] | None = None,
    analog: AnalogDefaults | None = None,
) -> None:
    """Puts decode nodes in the place of weights, under the weights' names.

    A node stands in the graph or function where the weight stood: before all other nodes for an
    initializer, in its place for a Constant node. An initializer that is also a graph input loses
    the input. The type and shape of the value are always written, in functions where the IR
    version (10) has a place for it. Nothing else changes.

    The node of a bundle stands before all other nodes of the main graph. Types and shapes of its
    float32 values are not written down: they would cost more than many of the tensors, and the
    operator tells them. Texts that came with its tensors (`doc_string`, `metadata_props`) go.

    With analog reads the model gets the inputs `wl_write_seed`, `wl_read_seed` and `wl_time_s`,
    once for all of them; a model of IR version 3 is raised to 4, which a warning says.

    Args:
        model: the model, changed in place.
        replacements: what to put, by `WeightSite.key`.
        bundles: what to put for several tensors together; none of them in two bundles, or in
            `replacements` too.
        blobs: where blobs go: "attribute" of the nodes, or uint8 "initializer" (in functions,
            which have none, a Constant node) that is the node's input, external when saved if
            above 1 KiB.
        metadata: texts by names without the domain; see `write_metadata`.
        analog: what analog reads take for seeds and time where a session feeds nothing.

    Raises:
        InputError: a key is no weight of the model, or one that cannot be replaced; a bundle
            holds a tensor twice, one outside the main graph, or several element types; or the
            model has values named like the inputs of analog reads.
    """
    sites = {site.key: site for site in find_weights(model)}
    for key, replacement in replacements.items():
        _require_replaceable(key, sites, is_analog=replacement.codec == "analog")
    bundled = _find_bundled(model, bundles, sites, replacements)
    if any(replacement.codec == "analog" for replacement in replacements.values()):
        check_analog_inputs(model)
        add_analog_inputs(model, analog or AnalogDefaults())
    chosen = [(site.place, replacements[key]) for key, site in sites.items() if key in replacements]
    rewriter = _Rewriter(model, blobs)
    rewriter.replace_all(chosen)
    for bundle, tensors in zip(bundles, bundled, strict=True):
        rewriter.replace_together(bundle, tensors)
    write_metadata(model, metadata or {})


def replace_tensors(
    model: CompressibleModel,
    replacements: Sequence[tuple[Place, Replacement]],
    *,
    metadata: Mapping[str, str],
) -> None:
    """Puts decode nodes in the place of tensors of any use; see `replace_weights`.

    Args:
        model: the model, changed in place.
        replacements: tensors of `find_places`, whose data is not looked at, and what to put there.
        metadata: texts by names without the domain; see `write_metadata`.
    """
    _Rewriter(model, "attribute").replace_all(replacements)
    write_metadata(model, metadata)


def _require_replaceable(
    key: str, sites: Mapping[str, WeightSite], *, is_analog: bool = False
) -> None:
    reason: str | None = "is none"
    if key in sites:
        reason = why_not_analog(sites[key]) if is_analog else sites[key].skip_reason
    if reason is not None:
        raise InputError(
            f"cannot replace {key}: it must be a weight that can be replaced, got one that {reason}"
        )


def _find_bundled(
    model: CompressibleModel,
    bundles: Sequence[Bundle],
    sites: Mapping[str, WeightSite],
    replacements: Mapping[str, Replacement],
) -> list[list[WeightSite | Parameter]]:
    """The tensors of each bundle."""
    parameters = {one.key: one for one in find_parameters(model)} if bundles else {}
    taken = set(replacements)
    found: list[list[WeightSite | Parameter]] = []
    for bundle in bundles:
        tensors: list[WeightSite | Parameter] = []
        for key in bundle.keys:
            if key in taken:
                raise InputError(f"cannot replace {key}: it must be replaced once, got it again")
            taken.add(key)
            if key in parameters:
                tensors.append(parameters[key])
                continue
            _require_replaceable(key, sites)
            if sites[key].scope:
                raise InputError(
                    f"cannot bundle {key}: it must lie in the main graph, got {sites[key].scope}"
                )
            tensors.append(sites[key])
        types = sorted({tensor.data_type for tensor in tensors})
        if len(types) != 1:
            raise InputError(
                f"cannot bundle {', '.join(bundle.keys) or 'nothing'}: tensors must be of one "
                f"element type, got {types}"
            )
        found.append(tensors)
    return found


def _remove_tensors(body: Body, names: set[str]) -> None:
    """Removes the initializers, and the Constant nodes, of these names."""
    graph = body.graph
    for index in reversed(range(len(graph.node))):
        node = graph.node[index]
        if node.op_type == "Constant" and node.output[0] in names:
            del graph.node[index]
    if isinstance(graph, GraphProto):
        for index in reversed(range(len(graph.initializer))):
            if graph.initializer[index].name in names:
                del graph.initializer[index]


class _Rewriter:
    def __init__(self, model: CompressibleModel, blobs: str) -> None:
        bodies = find_bodies(model.proto)
        self._model = model
        self._as_input = blobs == "initializer"
        self._values = Names.of_values(bodies)
        self._nodes = Names.of_nodes(bodies)
        self._by_scope = {body.scope: body for body in bodies}

    def replace_all(self, replacements: Sequence[tuple[Place, Replacement]]) -> None:
        """Replaces tensors, each by a node of its own."""
        by_scope: dict[str, list[tuple[Place, Replacement]]] = collections.defaultdict(list)
        for place, replacement in replacements:
            by_scope[place.body.scope].append((place, replacement))
        for scope, some in by_scope.items():
            self._replace(self._by_scope[scope], some)
            root = self._by_scope[scope].root().graph
            if isinstance(root, FunctionProto):
                _import_domain(root)
        if replacements:
            _import_domain(self._model.proto)

    def _replace(self, body: Body, some: Sequence[tuple[Place, Replacement]]) -> None:
        """Replaces tensors of one body."""
        in_front: list[NodeProto] = []
        at_nodes: list[tuple[int, list[NodeProto]]] = []
        types: list[tuple[str, int, list[int]]] = []
        for place, replacement in some:
            node, before = self._make_node(body, place, replacement)
            types.append((place.name, place.tensor.data_type, list(place.tensor.dims)))
            if place.node is None:
                in_front += [*before, node]
            else:
                at_nodes.append((place.index, [*before, node]))
        if isinstance(body.graph, GraphProto):
            for index in reversed([place.index for place, _ in some if place.node is None]):
                del body.graph.initializer[index]
        declare_types(self._model.proto, body, types)
        for index, nodes in reversed(at_nodes):
            del body.graph.node[index]
            for node in reversed(nodes):
                body.graph.node.insert(index, node)
        for node in reversed(in_front):
            body.graph.node.insert(0, node)

    def replace_together(self, bundle: Bundle, tensors: Sequence[WeightSite | Parameter]) -> None:
        """Replaces tensors of the main graph by one node."""
        body = self._by_scope[""]
        graph = body.graph
        names = [tensor.name for tensor in tensors]
        _remove_tensors(body, set(names))
        data_type = tensors[0].data_type
        is_float32 = data_type == TensorProto.FLOAT
        if is_float32 and self._model.proto.ir_version >= 4:
            remove_inputs(body, names)
        else:
            # onnxruntime 1.17 knows other types from here alone, and below IR version 4 the inputs
            # come back from here.
            types = [(tensor.name, data_type, tensor.shape) for tensor in tensors]
            declare_types(self._model.proto, body, types)
        node = NodeProto(
            op_type=OPERATORS["bundle"] if is_float32 else TYPED_BUNDLE,
            domain=DOMAIN,
            name=self._nodes.claim(form_node_name("bundle")),
            output=names,
        )
        flat = [number for tensor in tensors for number in (len(tensor.shape), *tensor.shape)]
        node.attribute.append(onnx_helper.make_attribute("shapes", flat))
        before = self._finish(body, node, "bundle", data_type, bundle)
        for one in reversed([*before, node]):
            graph.node.insert(0, one)
        _import_domain(self._model.proto)

    def _make_node(
        self, body: Body, place: Place, replacement: Replacement
    ) -> tuple[NodeProto, list[NodeProto]]:
        old, tensor = place.node, place.tensor
        # The operator's errors name the node, so it has a name even where the Constant had none.
        name = old.name if old is not None else ""
        name = name or self._nodes.claim(form_node_name(place.name))
        node = NodeProto(
            op_type=OPERATORS[replacement.codec], domain=DOMAIN, name=name, output=[place.name]
        )
        described = tensor if old is None else old
        if described.HasField("doc_string"):
            node.doc_string = described.doc_string
        node.metadata_props.extend(described.metadata_props)
        if replacement.codec == "analog":
            node.input.extend(ANALOG_INPUTS)
        node.attribute.append(
            onnx_helper.make_attribute("shape", list(tensor.dims), attr_type=AttributeProto.INTS)
        )
        return node, self._finish(body, node, place.name, tensor.data_type, replacement)

    def _finish(
        self, body: Body, node: NodeProto, name: str, data_type: int, content: Replacement | Bundle
    ) -> list[NodeProto]:
        """Gives a node all that comes behind its shape; returns nodes to put before it."""
        node.attribute.append(onnx_helper.make_attribute("data_type", data_type))
        blob = TensorProto(data_type=TensorProto.UINT8, dims=[len(content.blob)])
        before: list[NodeProto] = []
        if self._as_input:
            blob.name = self._values.claim(f"{name}.blob")
            node.input.append(blob.name)
            before = self._add_blob(body, blob, content.blob)
        else:
            blob.raw_data = content.blob
            node.attribute.append(onnx_helper.make_attribute("blob", blob))
        if node.op_type != OPERATORS["analog"]:
            node.attribute.append(onnx_helper.make_attribute("cache", int(content.cache)))
        node.attribute.append(onnx_helper.make_attribute("summary", content.summary))
        return before

    def _add_blob(self, body: Body, blob: TensorProto, data: bytes) -> list[NodeProto]:
        blob.raw_data = data
        if isinstance(body.graph, FunctionProto) or not may_hold_initializers(
            self._model.proto, body
        ):
            return [make_constant(blob, self._nodes.claim(blob.name))]
        body.graph.initializer.append(blob)
        stored = body.graph.initializer[-1]
        if self._model.proto.ir_version < 4:
            body.graph.input.append(
                onnx_helper.make_tensor_value_info(blob.name, blob.data_type, list(blob.dims))
            )
        if len(data) > EXTERNAL_MINIMUM_BYTES:
            self._model.defer(stored, _hold(data))
        return []


def _import_domain(holder: ModelProto | FunctionProto) -> None:
    """Adds our operators to what a model or function imports, if they are not there."""
    if all(opset.domain != DOMAIN for opset in holder.opset_import):
        holder.opset_import.add(domain=DOMAIN, version=OPSET_VERSION)


def _hold(data: bytes) -> Callable[[], np.ndarray]:
    return lambda: np.frombuffer(data, np.uint8)
