"""A small network of images, as the scripts of models/ take it."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper


def make_image_network() -> onnx.ModelProto:
    """One filter bank and one product, random, of images [n, 3, 32, 32] in ten classes."""
    rng = np.random.default_rng(4)
    arrays = {
        "conv.weight": rng.normal(0, 0.2, (8, 3, 3, 3)),
        "conv.bias": rng.normal(0, 0.1, 8),
        "fc.weight": rng.normal(0, 0.05, (10, 512)),
        "fc.bias": rng.normal(0, 0.05, 10),
    }
    nodes = [
        helper.make_node("Conv", ["input", "conv.weight", "conv.bias"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["c"], ["d"], axis=1),
        helper.make_node("Gemm", ["d", "fc.weight", "fc.bias"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input", 1, ["N", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", 1, ["N", 10])],
        [numpy_helper.from_array(a.astype(np.float32), name) for name, a in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)
