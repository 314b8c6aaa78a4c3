"""Putting standard operators that decode a weight in the weight's place."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto
from onnx import helper as onnx_helper

from wl_onnx.graph.scopes import Body, Names, Place, find_bodies, find_tensors
from wl_onnx.graph.tensors import (
    EXTERNAL_MINIMUM_BYTES,
    fill_raw,
    is_external,
    make_constant,
)
from wl_onnx.graph.value_info import declare_types
from wl_onnx.portable.form import PortableForm, build_nodes
from wl_onnx.portable.record import WeightRecord, digest_weight
from wl_onnx.portable.upgrade import MIN_OPSET, find_opset

if TYPE_CHECKING:
    import numpy.typing as npt

    from wl_onnx.graph import CompressibleModel

__all__ = [
    "FUNCTION_DOMAIN",
    "PlacedWeight",
    "measure_weight",
    "place_weights",
]

FUNCTION_DOMAIN = "com.wl_onnx.portable"
"""Domain of the functions that decode weights; their names are of this file alone."""

_FUNCTION_VERSION = 1
_RESULT = "weight"

# What a place in the graph and in the record takes beside the names in them.
_ENTRY_BYTES = 160


@dataclasses.dataclass(frozen=True)
class PlacedWeight:
    """A weight and what is to take its place.

    Attributes:
        place: the dense tensor that the form decodes to, bit for bit.
        form: its tensors and nodes.
    """

    place: Place
    form: PortableForm


def measure_weight(form: PortableForm, *, name: str, shape: Sequence[int], data_type: int) -> int:
    """About the bytes that a weight takes in a portable file: tensors, nodes and record.

    Args:
        form: what stands for it.
        name: the weight's.
        shape: of the weight.
        data_type: ONNX element type of the weight.
    """
    function = _make_function(form, "Decode", shape, data_type, MIN_OPSET)
    record = len(repr(form.fields))
    names = (2 + 2 * len(form.tensors)) * len(name)
    return form.size_bytes + int(function.ByteSize()) + record + names + _ENTRY_BYTES


def place_weights(
    model: CompressibleModel, weights: Sequence[PlacedWeight], *, inline: bool
) -> list[WeightRecord]:
    """Replaces dense tensors by the nodes that decode them, under the tensors' names.

    Each weight gets a model-local function, and a node that calls it. What holds the weight are
    initializers of the same graph, external if larger than 1 KiB where the model has external
    data, and inputs of that node; in functions, which have no initializers, Constant nodes. The
    nodes stand before all others, or where the Constant node of the weight stood.

    Args:
        model: the model, changed in place; of opset 18 and IR version 8 or later.
        weights: what is placed where.
        inline: put the decoding nodes into the graph itself in place of functions.

    Returns:
        What the record is to say of each.
    """
    bodies = find_bodies(model.proto)
    writer = _Writer(model, bodies, inline)
    by_scope: dict[str, list[PlacedWeight]] = collections.defaultdict(list)
    for weight in weights:
        by_scope[weight.place.body.scope].append(weight)
    by_name = {body.scope: body for body in bodies}
    records = [
        one for scope, some in by_scope.items() for one in writer.replace(by_name[scope], some)
    ]
    if weights and not inline:
        _import_domain(model.proto)
    return records


class _Writer:
    def __init__(self, model: CompressibleModel, bodies: Sequence[Body], inline: bool) -> None:
        self._model = model
        self._inline = inline
        self._values = Names.of_values(bodies)
        self._nodes = Names.of_nodes(bodies)
        declared = (name for body in bodies for name in body.declared)
        self._prefixes = Names(name.split("/", 1)[0] for name in declared)
        self._functions = Names(function.name for function in model.proto.functions)
        self._is_external = any(map(is_external, find_tensors(bodies)))

    def replace(self, body: Body, weights: Sequence[PlacedWeight]) -> list[WeightRecord]:
        """Replaces tensors of one body."""
        in_front: list[NodeProto] = []
        at_nodes: list[tuple[int, list[NodeProto]]] = []
        records: list[WeightRecord] = []
        for weight in weights:
            nodes, record = self._make_nodes(body, weight)
            records.append(record)
            if weight.place.node is None:
                in_front += nodes
            else:
                at_nodes.append((weight.place.index, nodes))
        graph = body.graph
        if isinstance(graph, GraphProto):
            gone = [weight.place.index for weight in weights if weight.place.node is None]
            for index in sorted(gone, reverse=True):
                del graph.initializer[index]
        types = [(one.name, one.data_type, one.shape) for one in records]
        declare_types(self._model.proto, body, types)
        for index, nodes in sorted(at_nodes, key=lambda one: one[0], reverse=True):
            del graph.node[index]
            for node in reversed(nodes):
                graph.node.insert(index, node)
        for node in reversed(in_front):
            graph.node.insert(0, node)
        return records

    def _make_nodes(self, body: Body, weight: PlacedWeight) -> tuple[list[NodeProto], WeightRecord]:
        place, form = weight.place, weight.form
        shape, data_type = tuple(place.tensor.dims), place.tensor.data_type
        digest = digest_weight(self._model.read(place.tensor))
        names: dict[str, str] = {}
        nodes: list[NodeProto] = []
        for role, array in form.tensors.items():
            names[role] = self._values.claim(f"{place.name}.{role}")
            nodes += self._add_tensor(body, names[role], array)
        if self._inline:
            prefix = f"{self._prefixes.claim('wl')}/"
            made = build_nodes(
                form,
                shape=shape,
                data_type=data_type,
                inputs=names,
                output=place.name,
                prefix=prefix,
            )
        else:
            made = [self._call_function(body, form, names, place)]
        described = place.tensor if place.node is None else place.node
        if described.HasField("doc_string"):
            made[-1].doc_string = described.doc_string
        made[-1].metadata_props.extend(described.metadata_props)
        record = WeightRecord(
            name=place.name,
            scope=body.scope,
            codec=form.codec,
            shape=shape,
            data_type=data_type,
            tensors=names,
            fields=form.fields,
            digest=digest,
        )
        return [*nodes, *made], record

    def _call_function(
        self, body: Body, form: PortableForm, names: Mapping[str, str], place: Place
    ) -> NodeProto:
        root = body.root().graph
        holder = root if isinstance(root, FunctionProto) else self._model.proto
        function = _make_function(
            form,
            self._functions.claim(f"Decode{len(self._model.proto.functions) + 1}"),
            tuple(place.tensor.dims),
            place.tensor.data_type,
            find_opset(holder) or MIN_OPSET,
        )
        self._model.proto.functions.append(function)
        if isinstance(root, FunctionProto):
            _import_domain(root)
        return NodeProto(
            op_type=function.name,
            domain=FUNCTION_DOMAIN,
            name=self._nodes.claim(f"{place.name}.decode"),
            input=list(names.values()),
            output=[place.name],
        )

    def _add_tensor(self, body: Body, name: str, array: npt.NDArray[np.generic]) -> list[NodeProto]:
        tensor = TensorProto(
            name=name,
            data_type=onnx_helper.np_dtype_to_tensor_dtype(array.dtype),
            dims=array.shape,
        )
        if isinstance(body.graph, FunctionProto):
            fill_raw(tensor, array)
            return [make_constant(tensor, self._nodes.claim(name))]
        body.graph.initializer.append(tensor)
        stored = body.graph.initializer[-1]
        if self._is_external and array.nbytes > EXTERNAL_MINIMUM_BYTES:
            self._model.defer(stored, functools.partial(np.asarray, array))
        else:
            fill_raw(stored, array)
        return []


def _make_function(
    form: PortableForm, name: str, shape: Sequence[int], data_type: int, opset: int
) -> FunctionProto:
    roles = list(form.tensors)
    nodes = build_nodes(
        form,
        shape=tuple(shape),
        data_type=data_type,
        inputs={role: role for role in roles},
        output=_RESULT,
        prefix="",
    )
    return onnx_helper.make_function(
        FUNCTION_DOMAIN, name, roles, [_RESULT], nodes, [onnx_helper.make_opsetid("", opset)]
    )


def _import_domain(holder: ModelProto | FunctionProto) -> None:
    if all(opset.domain != FUNCTION_DOMAIN for opset in holder.opset_import):
        holder.opset_import.add(domain=FUNCTION_DOMAIN, version=_FUNCTION_VERSION)
