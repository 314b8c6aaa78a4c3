"""Finding the weights of a model: which float tensors reach a weight's place in an operator."""

from __future__ import annotations

import collections
import dataclasses
import math
from typing import TYPE_CHECKING, Literal

from onnx import FunctionProto, ModelProto, NodeProto

from wl_onnx.graph.scopes import Body, Place, find_bodies, find_places
from wl_onnx.graph.tensors import FLOAT_TYPES, count_bytes
from wl_onnx.graph.weight_positions import (
    forwards_first_input,
    is_weight_position,
    needs_constant,
)

if TYPE_CHECKING:
    import numpy as np

    from wl_onnx.graph.model import CompressibleModel

__all__ = ["MAX_WEIGHTS", "WeightSite", "find_weights"]

MAX_WEIGHTS = 2**32 - 1
"""Most weights of a tensor that can be encoded: an index is 32 bits wide."""


@dataclasses.dataclass(frozen=True)
class WeightSite:
    """A float tensor that is some operator's weight.

    Attributes:
        key: its name, unique in the model: after the scope and a slash outside the main graph.
        name: the value's name.
        scope: "" for the main graph, else the path of node, attribute and function names.
        kind: whether it is an initializer or the value of a Constant node.
        op_types: operators that use it as a weight, sorted; directly, through Identity,
            Transpose, Reshape and their like, or inside a function that it is passed to.
        shape: dimensions.
        data_type: ONNX element type: 1 float32, 10 float16, 11 float64, 16 bfloat16.
        skip_reason: why it cannot be replaced, to be read after "it", or None.
        model: the model that it is read from.
        place: where it lies; no longer valid once the model is rewritten.
    """

    key: str
    name: str
    scope: str
    kind: Literal["initializer", "constant"]
    op_types: tuple[str, ...]
    shape: tuple[int, ...]
    data_type: int
    skip_reason: str | None
    model: CompressibleModel = dataclasses.field(repr=False, compare=False)
    place: Place = dataclasses.field(repr=False, compare=False)

    @property
    def num_weights(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of the dense tensor."""
        return count_bytes(self.data_type, self.shape) or 0

    def numpy(self) -> np.ndarray:
        """The weights, read-only: float32, float16, bfloat16 (of ml_dtypes) or float64.

        Read at each call, external data mapped from its file.

        Raises:
            ModelError: the data is gone or does not match the shape.
        """
        return self.model.read(self.place.tensor)


def find_weights(model: CompressibleModel) -> list[WeightSite]:
    """Every float tensor in a weight's place, in file order; a shared one appears once.

    Main graph, subgraphs and functions are searched; in each, initializers and Constant nodes.
    Those that cannot be replaced are there too, with a `skip_reason`. Values are not read.

    Args:
        model: the model; nothing is changed.
    """
    bodies = find_bodies(model.proto)
    graph = _Uses(model.proto, bodies)
    sites = []
    for place in find_places(bodies):
        if place.tensor.data_type not in FLOAT_TYPES:
            continue
        op_types = graph.operators(place.body, place.name)
        if not op_types:
            continue
        sites.append(
            WeightSite(
                key=place.key,
                name=place.name,
                scope=place.body.scope,
                kind="initializer" if place.node is None else "constant",
                op_types=tuple(sorted(op_types)),
                shape=tuple(place.tensor.dims),
                data_type=place.tensor.data_type,
                skip_reason=_reason_to_skip(place, graph),
                model=model,
                place=place,
            )
        )
    return sites


def _reason_to_skip(place: Place, graph: _Uses) -> str | None:
    shape = tuple(place.tensor.dims)
    num_weights = math.prod(shape)
    is_subgraph = place.body.parent is not None
    for holds, reason in (
        (not shape, "is a scalar"),
        (num_weights == 0, "is empty"),
        (num_weights > MAX_WEIGHTS, f"has more than {MAX_WEIGHTS} elements"),
        (graph.is_output(place.body, place.name), "is a graph output"),
        (is_subgraph and place.name in place.body.inputs, "is an input of its subgraph"),
        (not is_subgraph and place.name in graph.trained, "is updated by training_info"),
    ):
        if holds:
            return reason
    operator = graph.constant_for(place.body, place.name)
    return f"must be constant for {operator}" if operator else None


class _Uses:
    """Who uses which value, over all bodies of a model."""

    def __init__(self, proto: ModelProto, bodies: list[Body]) -> None:
        self._uses: dict[tuple[Body, str], list[tuple[Body, NodeProto, int]]] = (
            collections.defaultdict(list)
        )
        self._functions: dict[tuple[str, str, str], Body] = {}
        self._outputs: set[tuple[Body | None, str]] = set()
        self.trained = {
            binding.value
            for info in proto.training_info
            for binding in [*info.initialization_binding, *info.update_binding]
        } | {
            binding.key
            for info in proto.training_info
            for binding in [*info.initialization_binding, *info.update_binding]
        }
        for body in bodies:
            if isinstance(body.graph, FunctionProto):
                function = body.graph
                self._functions[function.domain, function.name, function.overload] = body
            self._outputs.update((body.resolve(name), name) for name in body.outputs)
            for node in body.graph.node:
                for index, name in enumerate(node.input):
                    owner = body.resolve(name) if name else None
                    if owner is not None:
                        self._uses[owner, name].append((body, node, index))

    def is_output(self, body: Body, name: str) -> bool:
        """Whether any graph or function gives the value as an output."""
        return (body, name) in self._outputs

    def constant_for(self, body: Body, name: str) -> str | None:
        """An operator that needs the value to be an initializer, if there is one."""
        for _, node, index in self._uses[body, name]:
            if needs_constant(node, index):
                return node.op_type
        return None

    def operators(self, body: Body, name: str) -> set[str]:
        """The operators that use the value as a weight."""
        found: set[str] = set()
        self._follow(body, name, found, set())
        return found

    def _follow(self, body: Body, name: str, found: set[str], seen: set[tuple[Body, str]]) -> None:
        if (body, name) in seen:
            return
        seen.add((body, name))
        for user, node, index in self._uses.get((body, name), ()):
            function = self._functions.get((node.domain, node.op_type, node.overload))
            if function is not None:
                if index < len(function.inputs):
                    self._follow(function, function.inputs[index], found, seen)
            elif is_weight_position(node, index):
                found.add(node.op_type)
            elif index == 0 and forwards_first_input(node):
                self._follow(user, node.output[0], found, seen)
