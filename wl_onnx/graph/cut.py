"""The part of a model that some of its values need."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto, helper

from wl_onnx.graph.model import CompressibleModel
from wl_onnx.graph.weight_positions import forwards_first_input

__all__ = ["cut_model", "find_live", "follows_from", "hash_part"]


def cut_model(
    model: CompressibleModel, values: Iterable[str], *, given: Mapping[str, int] | None = None
) -> CompressibleModel:
    """A model that gives values of the main graph and has no node that they do not need.

    Args:
        model: the model; nothing is changed, and what is cut away is not copied.
        values: names of values of the main graph, graph inputs among them; they become the
            outputs, without a type.
        given: values that become graph inputs in place of what leads to them, initializers among
            them: name and ONNX element type.

    Returns:
        The cut model, with all graph inputs of the model; with those alone that are needed, and
        the given values before them, where values are given.
    """
    source = model.proto.graph
    outputs = list(values)
    nodes, needed = _find_needed(source, outputs, given or {})
    inputs = list(source.input)
    if given is not None:
        inputs = [helper.make_tensor_value_info(*one, None) for one in given.items()]
        inputs += [one for one in source.input if one.name in needed - given.keys()]
    computed = needed - {info.name for info in inputs}
    # A graph input without its initializer would have to be fed.
    needed |= {info.name for info in inputs}
    graph = GraphProto(
        name=source.name,
        node=nodes,
        input=inputs,
        output=[ValueInfoProto(name=name) for name in outputs],
        value_info=[info for info in source.value_info if info.name in computed],
        initializer=[
            one
            for one in source.initializer
            if one.name in needed and one.name not in (given or {})
        ],
        sparse_initializer=[one for one in source.sparse_initializer if one.values.name in needed],
    )
    proto = ModelProto(
        ir_version=model.proto.ir_version,
        opset_import=model.proto.opset_import,
        graph=graph,
        functions=model.proto.functions,
        metadata_props=model.proto.metadata_props,
    )
    return CompressibleModel(proto, model.path, model.folder, model.deferred)


def find_live(model: CompressibleModel, weight: str) -> list[str]:
    """Values from which all that is left can be computed once a weight's first layer is reached.

    Args:
        model: the model, its nodes sorted.
        weight: name of a value of the main graph.

    Returns:
        Sorted names of values, no constants among them, that are graph inputs or given before the
        first node that uses the weight, not only in another form, and are read by it or later.
        Graph inputs where no node does.
    """
    graph = model.proto.graph
    constant = {one.name for one in graph.initializer}
    constant.update(one.values.name for one in graph.sparse_initializer)
    inputs = {info.name for info in graph.input} - constant
    forms = {weight}
    given = set(inputs)
    later: set[str] = {info.name for info in graph.output}
    found = False
    for node in graph.node:
        if not found and not forms.isdisjoint(node.input):
            if forwards_first_input(node):
                forms.update(node.output)
            else:
                found = True
        if found:
            later.update(_find_reads(node))
        elif constant.issuperset(name for name in _find_reads(node) if name):
            constant.update(node.output)
        else:
            given.update(node.output)
    return sorted(given & later) if found else sorted(inputs)


def follows_from(model: CompressibleModel, values: Iterable[str], given: Collection[str]) -> bool:
    """Whether values can be computed without any graph input that is not given.

    Args:
        model: the model.
        values: names of values of the main graph.
        given: likewise.
    """
    graph = model.proto.graph
    _, needed = _find_needed(graph, values, given)
    constant = {one.name for one in graph.initializer}
    inputs = {info.name for info in graph.input} - constant
    return inputs.isdisjoint(needed - set(given))


def hash_part(model: CompressibleModel, values: Iterable[str]) -> str:
    """SHA-256 in hex of all that some values of the main graph depend on, but for graph inputs.

    Args:
        model: the model.
        values: their names.
    """
    graph = model.proto.graph
    nodes, needed = _find_needed(graph, values, ())
    tensors = [one for one in graph.initializer if one.name in needed]
    sparse = [one for one in graph.sparse_initializer if one.values.name in needed]
    digest = hashlib.sha256()
    for message in (*model.proto.opset_import, *model.proto.functions, *nodes, *tensors, *sparse):
        digest.update(message.SerializeToString(deterministic=True))
    return digest.hexdigest()


def _find_needed(
    graph: GraphProto, outputs: Iterable[str], given: Collection[str]
) -> tuple[list[NodeProto], set[str]]:
    """The nodes that lead to values, in order, and the names of all that they read or give."""
    needed = set(outputs)
    nodes = []
    for node in reversed(graph.node):
        if any(name in needed and name and name not in given for name in node.output):
            nodes.append(node)
            needed.update(node.output, _find_reads(node))
    return nodes[::-1], needed


def _find_reads(node: NodeProto) -> Iterator[str]:
    """Names that a node reads, and all names that are read inside its subgraphs."""
    yield from node.input
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs
        for graph in graphs:
            yield from (info.name for info in graph.output)
            for inner in graph.node:
                yield from _find_reads(inner)
