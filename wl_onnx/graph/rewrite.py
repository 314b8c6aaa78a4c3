"""Replacing weights by nodes that decode them."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping
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
from wl_onnx.graph.decoders import OPERATORS, form_node_name
from wl_onnx.graph.metadata import DOMAIN, OPSET_VERSION, write_metadata
from wl_onnx.graph.scopes import Body, Names, find_bodies, may_hold_initializers
from wl_onnx.graph.select import WeightSite, find_weights
from wl_onnx.graph.tensors import EXTERNAL_MINIMUM_BYTES, make_constant
from wl_onnx.graph.value_info import declare_types

if TYPE_CHECKING:
    from wl_onnx.graph.model import CompressibleModel

__all__ = ["Replacement", "replace_weights"]


@dataclasses.dataclass(frozen=True)
class Replacement:
    """What takes the place of a weight.

    Attributes:
        blob: the encoded weight; its bytes are not looked at.
        summary: one readable line, shown by viewers.
        cache: whether the operator keeps the decoded tensor between runs.
        codec: "bloomier" or "palette", whose operator decodes the blob.
    """

    blob: bytes
    summary: str
    cache: bool = True
    codec: str = "bloomier"


def replace_weights(
    model: CompressibleModel,
    replacements: Mapping[str, Replacement],
    *,
    blobs: Literal["attribute", "initializer"] = "attribute",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Puts decode nodes in the place of weights, under the weights' names.

    A node stands in the graph or function where the weight stood: before all other nodes for an
    initializer, in its place for a Constant node. An initializer that is also a graph input loses
    the input. The type and shape of the value are always written, in functions where the IR
    version (10) has a place for it. Nothing else changes.

    Args:
        model: the model, changed in place.
        replacements: what to put, by `WeightSite.key`.
        blobs: where blobs go: "attribute" of the nodes, or uint8 "initializer" (in functions,
            which have none, a Constant node) that is the node's input, external when saved if
            above 1 KiB.
        metadata: texts by names without the domain; see `write_metadata`.

    Raises:
        InputError: a key is no weight of the model, or one that cannot be replaced.
    """
    sites = {site.key: site for site in find_weights(model)}
    for key in replacements:
        reason = sites[key].skip_reason if key in sites else "is none"
        if reason is not None:
            raise InputError(
                f"cannot replace {key}: it must be a weight that can be replaced, got one that "
                f"{reason}"
            )
    chosen = [site for key, site in sites.items() if key in replacements]
    bodies = find_bodies(model.proto)
    by_scope = {body.scope: body for body in bodies}
    rewriter = _Rewriter(model, blobs, Names.of_values(bodies), Names.of_nodes(bodies))
    by_body = collections.defaultdict(list)
    for site in chosen:
        by_body[site.scope].append(site)
    for scope, some in by_body.items():
        rewriter.replace(by_scope[scope], some, replacements)
    if chosen:
        _import_domain(model.proto)
    for scope in by_body:
        root = by_scope[scope].root().graph
        if isinstance(root, FunctionProto):
            _import_domain(root)
    write_metadata(model, metadata or {})


class _Rewriter:
    def __init__(self, model: CompressibleModel, blobs: str, values: Names, nodes: Names) -> None:
        self._model = model
        self._as_input = blobs == "initializer"
        self._values = values
        self._nodes = nodes

    def replace(
        self, body: Body, sites: list[WeightSite], replacements: Mapping[str, Replacement]
    ) -> None:
        """Replaces weights of one body."""
        in_front: list[NodeProto] = []
        at_nodes: list[tuple[int, list[NodeProto]]] = []
        for site in sites:
            node, before = self._make_node(body, site, replacements[site.key])
            if site.place.node is None:
                in_front += [*before, node]
            else:
                at_nodes.append((site.place.index, [*before, node]))
        indexes = [site.place.index for site in sites if site.place.node is None]
        if isinstance(body.graph, GraphProto):
            for index in reversed(indexes):
                del body.graph.initializer[index]
        types = [(site.name, site.data_type, site.shape) for site in sites]
        declare_types(self._model.proto, body, types)
        for index, nodes in reversed(at_nodes):
            del body.graph.node[index]
            for node in reversed(nodes):
                body.graph.node.insert(index, node)
        for node in reversed(in_front):
            body.graph.node.insert(0, node)

    def _make_node(
        self, body: Body, site: WeightSite, replacement: Replacement
    ) -> tuple[NodeProto, list[NodeProto]]:
        old, tensor = site.place.node, site.place.tensor
        # The operator's errors name the node, so it has a name even where the Constant had none.
        name = (old.name if old is not None else "") or self._nodes.claim(form_node_name(site.name))
        node = NodeProto(
            op_type=OPERATORS[replacement.codec], domain=DOMAIN, name=name, output=[site.name]
        )
        described = tensor if old is None else old
        if described.HasField("doc_string"):
            node.doc_string = described.doc_string
        node.metadata_props.extend(described.metadata_props)
        node.attribute.append(
            onnx_helper.make_attribute("shape", list(site.shape), attr_type=AttributeProto.INTS)
        )
        node.attribute.append(onnx_helper.make_attribute("data_type", site.data_type))
        blob = TensorProto(data_type=TensorProto.UINT8, dims=[len(replacement.blob)])
        before: list[NodeProto] = []
        if self._as_input:
            blob.name = self._values.claim(f"{site.name}.blob")
            node.input.append(blob.name)
            before = self._add_blob(body, blob, replacement.blob)
        else:
            blob.raw_data = replacement.blob
            node.attribute.append(onnx_helper.make_attribute("blob", blob))
        node.attribute.append(onnx_helper.make_attribute("cache", int(replacement.cache)))
        node.attribute.append(onnx_helper.make_attribute("summary", replacement.summary))
        return node, before

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
