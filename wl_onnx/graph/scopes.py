"""The bodies of a model: main graph, subgraphs and functions, and the tensors in them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

__all__ = [
    "Body",
    "Names",
    "Place",
    "find_bodies",
    "find_places",
    "find_tensors",
    "form_key",
    "may_hold_initializers",
]


@dataclasses.dataclass(eq=False)
class Body:
    """A list of nodes with the names that it declares.

    Attributes:
        graph: the protobuf: a main graph, a subgraph or a model-local function.
        scope: "" for the main graph, else node/attribute names, or a function's, unique in the
            model and the same before and after weights are replaced.
        parent: the body that holds the node whose attribute this is, or None.
        children: subgraphs of this body's nodes, in file order.
    """

    graph: GraphProto | FunctionProto
    scope: str
    parent: Body | None = None
    children: list[Body] = dataclasses.field(default_factory=list)

    @property
    def is_function(self) -> bool:
        """Whether this is a function's body, which has no initializers and types no inputs."""
        return isinstance(self.graph, FunctionProto)

    @property
    def initializers(self) -> Iterable[TensorProto]:
        """The dense initializers; none in a function."""
        return () if isinstance(self.graph, FunctionProto) else self.graph.initializer

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs, in order."""
        return _names(self.graph.input)

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs, in order."""
        return _names(self.graph.output)

    @functools.cached_property
    def declared(self) -> frozenset[str]:
        """Every name that a value of this very body has, when first asked."""
        names = {name for node in self.graph.node for name in node.output}
        names.update(self.inputs)
        return frozenset((names | self.initializer_names) - {""})

    @property
    def initializer_names(self) -> frozenset[str]:
        """Names of the initializers, dense and sparse; none in a function."""
        if isinstance(self.graph, FunctionProto):
            return frozenset()
        sparse = (one.values.name for one in self.graph.sparse_initializer)
        return frozenset((*(tensor.name for tensor in self.graph.initializer), *sparse))

    def resolve(self, name: str) -> Body | None:
        """The body, this one or one around it, whose value a node in here means by a name."""
        body: Body | None = self
        while body is not None and name not in body.declared:
            body = body.parent
        return body

    def root(self) -> Body:
        """The main graph or the function that this body lies in."""
        return self if self.parent is None else self.parent.root()


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """A tensor that a name stands for: an initializer, or the value of a Constant node.

    Attributes:
        key: the tensor's name, unique in the model; see `form_key`.
        name: the value's name.
        body: where it is declared.
        index: position among the body's initializers, or its nodes.
        tensor: the tensor itself.
        node: the Constant node, or None for an initializer.
    """

    key: str
    name: str
    body: Body
    index: int
    tensor: TensorProto
    node: NodeProto | None = None


class Names:
    """Names in use, from which new ones keep away."""

    def __init__(self, used: Iterable[str]) -> None:
        self._used = set(used)

    @classmethod
    def of_values(cls, bodies: Iterable[Body]) -> Names:
        """The names of all values of a model."""
        return cls(name for body in bodies for name in body.declared)

    @classmethod
    def of_nodes(cls, bodies: Iterable[Body]) -> Names:
        """The names of all nodes of a model."""
        return cls(node.name for body in bodies for node in body.graph.node)

    def claim(self, wanted: str) -> str:
        """The wanted name, or it with the first free number behind it; taken from now on."""
        name, number = wanted, 1
        while name in self._used:
            number += 1
            name = f"{wanted}#{number}"
        self._used.add(name)
        return name


def find_bodies(model: ModelProto) -> list[Body]:
    """All bodies of a model in file order: the main graph with what is inside it, functions."""
    roots = [Body(model.graph, "")]
    for function in model.functions:
        overload = f":{function.overload}" if function.overload else ""
        roots.append(Body(function, f"{function.domain}::{function.name}{overload}"))
    bodies: list[Body] = []
    scopes = Names(())
    for root in roots:
        _visit(root, bodies, scopes)
    return bodies


def find_places(bodies: Iterable[Body]) -> list[Place]:
    """Every initializer and every Constant node with a tensor, in file order."""
    places: list[Place] = []
    keys = Names(())
    for body in bodies:
        for index, tensor in enumerate(body.initializers):
            key = keys.claim(form_key(body.scope, tensor.name))
            places.append(Place(key, tensor.name, body, index, tensor))
        for index, node in enumerate(body.graph.node):
            if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
                continue
            for attribute in node.attribute:
                if attribute.name == "value" and attribute.HasField("t") and node.output:
                    name = node.output[0]
                    key = keys.claim(form_key(body.scope, name))
                    places.append(Place(key, name, body, index, attribute.t, node))
    return places


def find_tensors(bodies: Iterable[Body]) -> Iterator[TensorProto]:
    """Every dense tensor of a model: initializers and all tensors among attributes."""
    for body in bodies:
        yield from body.initializers
        for node in body.graph.node:
            for attribute in node.attribute:
                if attribute.type == AttributeProto.TENSOR:
                    yield attribute.t
                elif attribute.type == AttributeProto.TENSORS:
                    yield from attribute.tensors


def form_key(scope: str, name: str) -> str:
    """How a tensor is called in reports and globs: its name, after the scope if it has one."""
    return f"{scope}/{name}" if scope else name


def may_hold_initializers(model: ModelProto, body: Body) -> bool:
    """Whether a body may have initializers: no function, and no subgraph below IR version 4.

    Below 4 every initializer must be a graph input too, and a subgraph's inputs are spoken for.
    """
    return not body.is_function and (body.parent is None or model.ir_version >= 4)


def _names(values: Iterable[Any]) -> list[str]:
    return [getattr(value, "name", value) for value in values]


def _visit(body: Body, bodies: list[Body], scopes: Names) -> None:
    body.scope = scopes.claim(body.scope)
    bodies.append(body)
    for node in body.graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                graphs = [(attribute.name, attribute.g)]
            elif attribute.type == AttributeProto.GRAPHS:
                graphs = [(f"{attribute.name}[{i}]", g) for i, g in enumerate(attribute.graphs)]
            else:
                continue
            for name, graph in graphs:
                path = form_key(body.scope, f"{node.name or node.op_type}/{name}")
                child = Body(graph, path, body)
                body.children.append(child)
                _visit(child, bodies, scopes)
