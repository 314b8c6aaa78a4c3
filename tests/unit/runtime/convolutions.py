"""Convolutions of all kinds, and models of a few nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((3, 4, 8, 9), (5, 4, 3, 3), {}),
    "padded": ((3, 4, 8, 9), (5, 4, 3, 2), {"pads": [1, 0, 2, 1]}),
    "strided": ((3, 4, 9, 8), (5, 4, 3, 3), {"strides": [2, 3], "pads": [1, 1, 1, 1]}),
    "dilated": ((2, 4, 11, 12), (5, 4, 3, 2), {"dilations": [2, 3], "strides": [2, 1]}),
    "grouped": ((3, 6, 8, 8), (9, 2, 3, 3), {"group": 3, "pads": [1, 1, 1, 1]}),
    "depthwise": ((3, 6, 8, 8), (6, 1, 3, 3), {"group": 6, "strides": [2, 2]}),
    "pointwise": ((3, 6, 8, 8), (4, 6, 1, 1), {"strides": [2, 2]}),
    "same_upper": ((3, 4, 8, 7), (5, 4, 3, 2), {"auto_pad": "SAME_UPPER", "strides": [3, 2]}),
    "same_lower": ((3, 4, 8, 7), (5, 4, 4, 2), {"auto_pad": "SAME_LOWER"}),
    "valid": ((3, 4, 8, 7), (5, 4, 4, 2), {"auto_pad": "VALID"}),
    "one_dimension": ((3, 4, 20), (6, 2, 5), {"group": 2, "strides": [2], "dilations": [2]}),
    "three_dimensions": ((2, 2, 5, 6, 7), (3, 2, 2, 3, 2), {"strides": [1, 2, 2]}),
}


def make_model(
    nodes: list[onnx.NodeProto], x: np.ndarray, **weights: np.ndarray
) -> onnx.ModelProto:
    """A model with input x and output y."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
