"""What the tests of compressions share: a recipe, and what a compressed model holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

import wl_onnx
from wl_onnx import Recipe

GIVEN = Recipe(sparsity=0.9, clusters=16, bits=8)


def arrays_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def tensors_of(result: wl_onnx.Result) -> dict[str, dict[str, Any]]:
    return {tensor["name"]: tensor for tensor in result.report["tensors"]}


def blobs_of(model: onnx.ModelProto) -> dict[str, bytes]:
    return {
        node.output[0]: attribute.t.raw_data
        for node in model.graph.node
        for attribute in node.attribute
        if node.domain == "com.wl_onnx" and attribute.name == "blob"
    }
