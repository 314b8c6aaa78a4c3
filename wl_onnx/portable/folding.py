"""What onnxruntime has to hold while it folds nodes into a weight."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, ValueInfoProto, helper, shape_inference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["infer_values", "measure_values"]


def infer_values(
    nodes: Iterable[NodeProto],
    inputs: Mapping[str, npt.NDArray[Any]],
    output: ValueInfoProto,
) -> list[ValueInfoProto]:
    """Type and shape of everything that nodes give, as far as they can be inferred.

    Args:
        nodes: the nodes, in order.
        inputs: what they read, by its name.
        output: what the last one gives.
    """
    graph = helper.make_graph(
        list(nodes),
        "g",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in inputs.items()
        ],
        [output],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    inferred = shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    return [*inferred.graph.value_info, *inferred.graph.output]


def measure_values(values: Iterable[ValueInfoProto]) -> list[int]:
    """Bytes of each of some values whose shapes are known.

    Args:
        values: their types and shapes.
    """
    sizes = []
    for value in values:
        tensor = value.type.tensor_type
        count = math.prod(dim.dim_value for dim in tensor.shape.dim)
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        sizes.append(count * dtype.itemsize)
    return sizes
