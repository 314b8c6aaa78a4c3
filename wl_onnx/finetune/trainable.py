"""Which initializers of a graph are trained."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from onnx import NodeProto, TensorProto

if TYPE_CHECKING:
    from wl_onnx.finetune.registry import Operator
    from wl_onnx.graph.scopes import Body

__all__ = ["find_trainable"]

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_PRODUCTS = frozenset(("Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul"))


def find_trainable(
    bodies: Sequence[Body], find: Callable[[NodeProto], Operator | None]
) -> frozenset[str]:
    """The float initializers of the main graph that no use wants to hold still.

    Not among them are those that some node takes at a place that is never trained, and those of
    one element that are read by nothing but arithmetic: epsilons and factors of formulas, which
    some exporters write as initializers. What is added to a product is a bias, of one element too.

    Args:
        bodies: all bodies of the model.
        find: gives a node's operator, or None if it is not known.
    """
    main = bodies[0]
    held: set[str] = set()
    only_arithmetic: dict[str, bool] = collections.defaultdict(lambda: True)
    products = {
        name
        for body in bodies
        for node in body.graph.node
        if node.op_type in _PRODUCTS
        for name in node.output
    }
    for body in bodies:
        for node in body.graph.node:
            entry = find(node)
            if entry is None:
                continue
            is_bias = node.op_type == "Add" and not products.isdisjoint(node.input)
            for index, name in enumerate(node.input):
                if name and body.resolve(name) is main:
                    only_arithmetic[name] &= entry.is_arithmetic and not is_bias
                    if index in entry.fixed:
                        held.add(name)
    return frozenset(
        tensor.name
        for tensor in main.initializers
        if tensor.data_type in _FLOATS
        and tensor.name not in held
        and not (math.prod(tensor.dims) == 1 and only_arithmetic[tensor.name])
    )
