"""Small graphs for the bridge, and what is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from wl_onnx import finetune

if TYPE_CHECKING:
    import torch


def make(
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    shape: tuple[int, ...],
    *,
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
    outputs: tuple[str, ...] = ("y",),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def linear(dtype: type = np.float32, name: str = "fc.1/weight") -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    return make(
        [helper.make_node("Gemm", ["x", name, "fc.1/bias"], ["y"], transB=1)],
        {
            name: rng.normal(size=(2, 3)).astype(dtype),
            "fc.1/bias": rng.normal(size=2).astype(dtype),
        },
        (4, 3),
        kind=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)),
    )


def normalized() -> onnx.ModelProto:
    return make(
        [helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], momentum=0.75)],
        {
            "s": np.array([1, 2], np.float32),
            "b": np.array([0, 1], np.float32),
            "m": np.array([0.5, -0.5], np.float32),
            "v": np.array([1, 4], np.float32),
        },
        (3, 2, 5),
    )


def parameters(module: torch.nn.Module) -> set[str]:
    names = finetune.initializer_names(module)
    return {names[key] for key, _ in module.named_parameters()}


def values_of(model: onnx.ModelProto, name: str) -> np.ndarray:
    return next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == name)
