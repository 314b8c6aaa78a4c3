"""LeNet-5 as a user's own torch module: treated, trained, and back in its ONNX file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import wl_onnx
from wl_onnx import finetune
from wl_onnx.finetune import Cluster, Freeze, Mask, attach, export_state

torch = pytest.importorskip("torch", reason="torch is not installed")

README = Path(__file__).parents[2] / "README.md"
NUM_STEPS = 6
BATCH_SIZE = 50


class LeNet5(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, 20, 5)
        self.conv2 = torch.nn.Conv2d(20, 50, 5)
        self.fc1 = torch.nn.Linear(800, 500)
        self.fc2 = torch.nn.Linear(500, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.max_pool2d(self.conv1(x), 2)
        x = torch.max_pool2d(self.conv2(x), 2)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


Digits = dict[str, np.ndarray]


@pytest.fixture
def model_path(find_model: Callable[[str], Path]) -> Path:
    return find_model("lenet5")


@pytest.fixture
def net(model_path: Path) -> LeNet5:
    net = LeNet5()
    tensors = onnx.load(model_path).graph.initializer
    state = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in tensors}
    net.load_state_dict(state)
    return net


def measure_loss(net: LeNet5, digits: Digits) -> torch.Tensor:
    inputs, labels = torch.from_numpy(digits["input"]), torch.from_numpy(digits["labels"])
    return torch.nn.functional.cross_entropy(net(inputs), labels)


def train(net: LeNet5, digits: Digits) -> None:
    trained = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=5e-4)
    for step in range(NUM_STEPS):
        rows = slice(step * BATCH_SIZE, (step + 1) * BATCH_SIZE)
        optimizer.zero_grad()
        measure_loss(net, {name: array[rows] for name, array in digits.items()}).backward()
        optimizer.step()


def check_alike(net: LeNet5, session: onnxruntime.InferenceSession, digits: Digits) -> None:
    inputs = digits["input"][:100]
    (found,) = session.run(None, {"input": inputs})
    with torch.no_grad():
        expected = net(torch.from_numpy(inputs)).numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=1e-5)


def read(model: onnx.ModelProto, name: str) -> np.ndarray:
    return next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == name)


def test_treated_training_comes_back_as_a_palette(
    net: LeNet5, model_path: Path, digits: Digits, tmp_path: Path
) -> None:
    plan: dict[str, Any] = {"fc?.weight": (Mask(0.9), Cluster(16)), "conv1.*": Freeze()}
    attach(net, plan)
    before = measure_loss(net, digits).item()
    train(net, digits)
    assert measure_loss(net, digits).item() < before
    trained = finetune.to_onnx(export_state(net), model_path)
    check_alike(net, onnxruntime.InferenceSession(trained.SerializeToString()), digits)
    original = onnx.load(model_path)
    for name in ("conv1.weight", "conv1.bias"):
        assert read(trained, name).tobytes() == read(original, name).tobytes()
    recipe = wl_onnx.Recipe(codec="palette", sparsity=0.9, codebook="float32", include=("fc?.w*",))
    small = tmp_path / "small.onnx"
    result = wl_onnx.compress(trained, small, recipe=recipe)
    assert {t["name"]: t["codec"] for t in result.report["tensors"]}["fc1.weight"] == "palette"
    weight = read(trained, "fc1.weight")
    assert len(np.unique(weight[weight != 0])) == 16
    np.testing.assert_array_equal(read(wl_onnx.decompress(small), "fc1.weight"), weight)
    check_alike(net, wl_onnx.InferenceSession(small), digits)


@pytest.mark.parametrize("codec", ["palette", "bloomier"])
def test_centroids_of_a_compressed_file_recover(
    codec: str, net: LeNet5, model_path: Path, digits: Digits, tmp_path: Path
) -> None:
    recipe = wl_onnx.Recipe(codec=codec, sparsity=0.9, clusters=8, bits=6, codebook="float32")
    small = tmp_path / "small.onnx"
    wl_onnx.compress(model_path, small, recipe=recipe)
    attach(net, small)
    check_alike(net, wl_onnx.InferenceSession(small), digits)
    before = measure_loss(net, digits).item()
    train(net, digits)
    assert measure_loss(net, digits).item() < before
    trained = finetune.to_onnx(export_state(net), small)
    check_alike(net, wl_onnx.InferenceSession(trained), digits)
    assert abs(trained.ByteSize() - small.stat().st_size) < 256


def test_the_loop_of_the_readme_runs(
    net: LeNet5,
    model_path: Path,
    digits: Digits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = [block for block in blocks if "attach(net" in block]
    (tmp_path / "model.onnx").write_bytes(model_path.read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(code, {"net": net, "train": lambda net: train(net, digits), "onnx": onnx})
    check_alike(net, onnxruntime.InferenceSession("trained.onnx"), digits)
    assert np.count_nonzero(export_state(net)["fc1.weight"]) == 40_000
