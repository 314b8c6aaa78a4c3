"""A trained perceptron and its data: three of 40 features tell the classes."""

from __future__ import annotations

import functools

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from wl_onnx.finetune.training_data import TrainingData

NUM_FEATURES = 40
NUM_CLASSES = 4
HIDDEN = 64


def draw_samples(count: int, seed: int) -> TrainingData:
    """Points about one centre a class, which differ in three features."""
    rng = np.random.default_rng(seed)
    centers = np.zeros((NUM_CLASSES, NUM_FEATURES))
    centers[:, :3] = [[2, 0, 0], [0, 2, 0], [0, 0, 2], [-2, -2, -2]]
    labels = rng.integers(NUM_CLASSES, size=count)
    points = centers[labels] + 0.6 * rng.normal(size=(count, NUM_FEATURES))
    return TrainingData({"x": points.astype(np.float32)}, labels)


def build(arrays: dict[str, np.ndarray]) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gemm", ["x", "fc1.weight", "fc1.bias"], ["a"], transB=1),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Gemm", ["b", "fc2.weight", "fc2.bias"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "perceptron",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", NUM_FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", NUM_CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@functools.cache
def _train() -> bytes:
    import torch
    from torch import nn

    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(NUM_FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, NUM_CLASSES)
    )
    data = draw_samples(1024, seed=1)
    x, y = torch.from_numpy(data.inputs["x"]), torch.from_numpy(data.labels)
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(x), y).backward()
        optimizer.step()
    first, second = module[0], module[2]
    arrays = {
        "fc1.weight": first.weight,
        "fc1.bias": first.bias,
        "fc2.weight": second.weight,
        "fc2.bias": second.bias,
    }
    graph = build({name: tensor.detach().numpy() for name, tensor in arrays.items()})
    return graph.SerializeToString()


def trained() -> onnx.ModelProto:
    """The perceptron, trained until it tells nearly all samples."""
    return onnx.ModelProto.FromString(_train())
