"""A small network as a user would write it, and the graph that it is exported as."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn


class Net(nn.Module):
    """A convolution, a normalisation and two fully connected layers for inputs [n, 1, 8, 8]."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv1 = nn.Conv2d(1, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.fc1 = nn.Linear(216, 24)
        self.fc2 = nn.Linear(24, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv1(x)))
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


def to_graph(net: Net) -> onnx.ModelProto:
    """What torch's exporter gives of a `Net` in evaluation mode without folding."""
    nodes = [
        helper.make_node("Conv", ["x", "conv1.weight", "conv1.bias"], ["c"], kernel_shape=[3, 3]),
        helper.make_node(
            "BatchNormalization",
            ["c", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"],
            ["n"],
        ),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "fc1.weight", "fc1.bias"], ["g"], transB=1),
        helper.make_node("Relu", ["g"], ["h"]),
        helper.make_node("Gemm", ["h", "fc2.weight", "fc2.bias"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [
            numpy_helper.from_array(value.numpy(), name)
            for name, value in net.state_dict().items()
            if value.is_floating_point()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def make_batch(seed: int = 0, size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(size, 1, 8, 8)).astype(np.float32)
    return torch.from_numpy(inputs), torch.from_numpy(rng.integers(0, 5, size))


def train(
    net: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    steps: int = 3,
    watch: Callable[[], None] | None = None,
    in_evaluation: tuple[str, ...] = (),
) -> None:
    optimizer = optimizer or torch.optim.Adam(net.parameters(), lr=1e-2, weight_decay=1e-3)
    net.train()
    for name in in_evaluation:
        net.get_submodule(name).eval()
    for step in range(steps):
        inputs, labels = make_batch(step)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(inputs), labels).backward()
        if watch is not None:
            watch()
        optimizer.step()


def check_runs_alike(net: nn.Module, model: onnx.ModelProto) -> None:
    """onnxruntime gives what torch does, within float32's rounding."""
    net.eval()
    inputs, _ = make_batch(99)
    with torch.no_grad():
        expected = net(inputs).numpy()
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, {"x": inputs.numpy()})
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
