"""Who reads which value of a main graph, and which of its tensors may be given another shape."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, NamedTuple

from onnx import GraphProto, TensorProto

from wl_onnx.graph.products import UnsupportedError
from wl_onnx.graph.scopes import Body, find_bodies, find_places
from wl_onnx.graph.shapes import infer_shapes
from wl_onnx.graph.tensors import FLOAT_TYPES

if TYPE_CHECKING:
    from onnx import NodeProto

    from wl_onnx.graph.model import CompressibleModel

__all__ = ["Reader", "Wiring"]


class Reader(NamedTuple):
    """A node that reads a value of the main graph.

    Attributes:
        body: the body that the node stands in.
        position: of the node among those of its body.
        node: the node.
        slot: which of its inputs the value is.
    """

    body: Body
    position: int
    node: NodeProto
    slot: int


class Wiring:
    """The main graph of a model: readers, constant tensors and shapes of its values.

    Attributes:
        model: the model.
        main: its main graph.
        tensors: initializers and values of Constant nodes there, by name.
        shapes: of values, as far as known.
        functions: (domain, name) of the model's own operators.
        opset: version of the standard operators.
    """

    def __init__(self, model: CompressibleModel) -> None:
        bodies = find_bodies(model.proto)
        self.model = model
        self.main = bodies[0]
        self.tensors = {p.name: p.tensor for p in find_places(bodies) if p.body is self.main}
        self.shapes = infer_shapes(model)
        self.functions = {(f.domain, f.name) for f in model.proto.functions}
        versions = [o.version for o in model.proto.opset_import if o.domain in ("", "ai.onnx")]
        self.opset = max(versions, default=1)
        self._readers: dict[str, list[Reader]] = collections.defaultdict(list)
        self._named: set[str] = set()
        for body in bodies:
            for position, node in enumerate(body.graph.node):
                for slot, name in enumerate(node.input):
                    if name and body.resolve(name) is self.main:
                        self._readers[name].append(Reader(body, position, node, slot))
            self._named.update(n for n in body.outputs if body.resolve(n) is self.main)
            if isinstance(body.graph, GraphProto):
                for annotation in body.graph.quantization_annotation:
                    self._named.add(annotation.tensor_name)
                    self._named.update(e.value for e in annotation.quant_parameter_tensor_names)
        # From IR version 4 on, an initializer that is an input too may be given another value.
        self._defaults = set(self.main.inputs) if model.proto.ir_version >= 4 else set()

    def readers(self, value: str) -> list[Reader]:
        """The nodes that read a value, once for each of their inputs, in file order.

        Args:
            value: name of a value of the main graph.
        """
        return self._readers.get(value, [])

    def is_named(self, value: str) -> bool:
        """Whether something that is no node means a value: an output, an annotation, training.

        Args:
            value: name of a value of the main graph.
        """
        return value in self._named or bool(self.model.proto.training_info)

    def find_constant(self, name: str) -> TensorProto | None:
        """The tensor that a name always stands for, or None where it is no constant.

        Args:
            name: of a value of the main graph.
        """
        return None if name in self._defaults else self.tensors.get(name)

    def require_own(self, name: str) -> TensorProto:
        """The float tensor of a name, which a single node reads and nothing else means.

        Args:
            name: of a value of the main graph.

        Raises:
            UnsupportedError: there is no such tensor, or it has other users.
        """
        tensor = self.find_constant(name)
        if tensor is None:
            raise UnsupportedError(f"depends on {name}, which is not constant")
        if tensor.data_type not in FLOAT_TYPES:
            raise UnsupportedError(f"depends on {name}, which is of no float type")
        if len(self.readers(name)) != 1 or self.is_named(name):
            raise UnsupportedError(f"depends on {name}, which is used elsewhere too")
        return tensor

    def read_ints(self, name: str) -> list[int] | None:
        """The numbers of a constant tensor, or None where it is no constant.

        Args:
            name: of a value of the main graph.

        Raises:
            ModelError: the data is gone or does not match the shape.
        """
        tensor = self.find_constant(name)
        if tensor is None:
            return None
        return [int(value) for value in self.model.read(tensor).reshape(-1)]
