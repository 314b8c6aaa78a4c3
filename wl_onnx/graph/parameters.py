"""Finding the small tensors beside the weights: biases, parameters of normalisation, slopes.

They are left in full precision by all that treats weights, and together they may outweigh what is
left of the weights. Only those are found whose every use is known to be a parameter's.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from typing import TYPE_CHECKING

from onnx import NodeProto, TensorProto

from wl_onnx.graph.layers import find_layers
from wl_onnx.graph.scopes import Body, Place, find_bodies, find_places
from wl_onnx.graph.select import find_weights

if TYPE_CHECKING:
    import numpy as np

    from wl_onnx.graph.model import CompressibleModel

__all__ = ["Parameter", "find_parameters"]

_KINDS: dict[tuple[str, str], dict[int, str]] = {
    ("", "Conv"): {2: "bias"},
    ("", "ConvTranspose"): {2: "bias"},
    ("", "Gemm"): {2: "bias"},
    ("", "LSTM"): {3: "bias"},
    ("", "GRU"): {3: "bias"},
    ("", "RNN"): {3: "bias"},
    ("", "PRelu"): {1: "slope"},
    ("", "BatchNormalization"): {1: "norm", 2: "norm", 3: "norm", 4: "norm"},
    ("", "InstanceNormalization"): {1: "norm", 2: "norm"},
    ("", "GroupNormalization"): {1: "norm", 2: "norm"},
    ("", "LayerNormalization"): {1: "norm", 2: "norm"},
    ("", "RMSNormalization"): {1: "norm"},
    ("", "SimplifiedLayerNormalization"): {1: "norm"},
    ("com.microsoft", "FusedConv"): {2: "bias"},
    ("com.microsoft", "NhwcConv"): {2: "bias"},
    ("com.microsoft", "NhwcFusedConv"): {2: "bias"},
    ("com.microsoft", "FusedGemm"): {2: "bias"},
    ("com.microsoft", "GemmFastGelu"): {2: "bias"},
    ("com.microsoft", "Attention"): {2: "bias"},
    ("com.microsoft", "BiasGelu"): {1: "bias"},
    ("com.microsoft", "FastGelu"): {1: "bias"},
    ("com.microsoft", "GroupNorm"): {1: "norm", 2: "norm"},
    ("com.microsoft", "SkipLayerNormalization"): {2: "norm", 3: "norm", 4: "bias"},
    ("com.microsoft", "SkipSimplifiedLayerNormalization"): {2: "norm", 3: "bias"},
    ("com.microsoft", "EmbedLayerNormalization"): {5: "norm", 6: "norm"},
}

_PRODUCTS = frozenset(
    (("", "MatMul"), ("com.microsoft", "FusedMatMul"), ("com.microsoft", "TransposeMatMul"))
)


@dataclasses.dataclass(frozen=True)
class Parameter:
    """An initializer of the main graph that is a parameter of its model, but no weight.

    Attributes:
        key: its name, which is unique among the initializers.
        kind: "bias", "norm" (scale, shift, mean or variance of a normalisation) or "slope".
        layer: `WeightSite.key` of the weight whose layer it is the bias of, or None.
        shape: dimensions, of two elements or more.
        data_type: ONNX element type: 1 float32 or 10 float16.
        model: the model that it is read from.
        place: where it lies; no longer valid once the model is rewritten.
    """

    key: str
    kind: str
    layer: str | None
    shape: tuple[int, ...]
    data_type: int
    model: CompressibleModel = dataclasses.field(repr=False, compare=False)
    place: Place = dataclasses.field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """The value's name, as of a weight."""
        return self.place.name

    @property
    def num_weights(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of the dense tensor."""
        return self.num_weights * (4 if self.data_type == TensorProto.FLOAT else 2)

    def numpy(self) -> np.ndarray:
        """The values, read-only: float32 or float16 in their shape.

        Raises:
            ModelError: the data is gone or does not match the shape.
        """
        return self.model.read(self.place.tensor)


def find_parameters(model: CompressibleModel) -> list[Parameter]:
    """The parameters of a model that are no weights, in file order.

    Initializers of the main graph, of float32 or float16, whose every use is one and the same kind
    of parameter. One that is listed as a graph input too is found, as of weights. Not found are
    weights (`find_weights`), graph outputs, and what training_info updates.

    Args:
        model: the model; nothing is changed.
    """
    bodies = find_bodies(model.proto)
    main = bodies[0]
    kinds = _find_kinds(bodies)
    excluded = {site.name for site in find_weights(model) if not site.scope}
    excluded.update(name for body in bodies for name in body.outputs)
    for info in model.proto.training_info:
        for binding in (*info.initialization_binding, *info.update_binding):
            excluded.update((binding.key, binding.value))
    layers = {layer.bias: layer.site.key for layer in find_layers(model) if layer.bias}
    parameters = []
    for place in find_places(bodies):
        tensor = place.tensor
        kind = kinds.get(place.name)
        if (
            place.body is not main
            or place.node is not None
            or kind is None
            or place.name in excluded
            or tensor.data_type not in (TensorProto.FLOAT, TensorProto.FLOAT16)
            or math.prod(tensor.dims) < 2
        ):
            continue
        parameters.append(
            Parameter(
                key=place.key,
                kind=kind,
                layer=layers.get(place.name) if kind == "bias" else None,
                shape=tuple(tensor.dims),
                data_type=tensor.data_type,
                model=model,
                place=place,
            )
        )
    return parameters


def _find_kinds(bodies: list[Body]) -> dict[str, str]:
    """The kind of each value of the main graph that has the same kind wherever it is used."""
    main = bodies[0]
    products = {
        output for node in main.graph.node if _operator(node) in _PRODUCTS for output in node.output
    }
    found: dict[str, set[str | None]] = collections.defaultdict(set)
    for body in bodies:
        for node in body.graph.node:
            for index, name in enumerate(node.input):
                if name and body.resolve(name) is main:
                    found[name].add(_kind_of(node, index, products))
    return {
        name: kind
        for name, kinds in found.items()
        if len(kinds) == 1 and (kind := next(iter(kinds))) is not None
    }


def _kind_of(node: NodeProto, index: int, products: set[str]) -> str | None:
    """What a node takes an input for, or None where that is no parameter."""
    operator = _operator(node)
    if operator == ("", "Add") and len(node.input) == 2:
        return "bias" if node.input[1 - index] in products else None
    return _KINDS.get(operator, {}).get(index)


def _operator(node: NodeProto) -> tuple[str, str]:
    return "" if node.domain == "ai.onnx" else node.domain, node.op_type
