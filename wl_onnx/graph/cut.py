"""The part of a model that some of its values need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto

from wl_onnx.graph.model import CompressibleModel

__all__ = ["cut_model"]


def cut_model(model: CompressibleModel, values: Iterable[str]) -> CompressibleModel:
    """A model that gives values of the main graph and has no node that they do not need.

    Args:
        model: the model; nothing is changed, and what is cut away is not copied.
        values: names of values of the main graph, graph inputs among them; they become the
            outputs, without a type.

    Returns:
        The cut model, with all graph inputs of the model.
    """
    source = model.proto.graph
    outputs = list(values)
    nodes, needed = _find_needed(source, outputs)
    # A graph input without its initializer would have to be fed.
    needed |= {info.name for info in source.input}
    graph = GraphProto(
        name=source.name,
        node=nodes,
        input=source.input,
        output=[ValueInfoProto(name=name) for name in outputs],
        value_info=[info for info in source.value_info if info.name in needed],
        initializer=[one for one in source.initializer if one.name in needed],
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


def _find_needed(graph: GraphProto, outputs: Iterable[str]) -> tuple[list[NodeProto], set[str]]:
    """The nodes that lead to values, in order, and the names of all that they read or give."""
    needed = set(outputs)
    nodes = []
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
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
