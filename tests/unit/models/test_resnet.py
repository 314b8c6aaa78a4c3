from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.marked_images import make_marked_images
from tests.model_scripts import load_script

CHANNELS = (16, 16, 16, 32, 32, 32, 64, 64, 64)
SHAPE = (32, 32, 3)

resnet, network = load_script("resnet"), load_script("resnet_network")
measure_accuracy = load_script("accuracy").measure_accuracy
to_input = load_script("cifar10").to_input
ScriptError = load_script("script_command").ScriptError


def random_parameters() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    shapes = {"stem": (16, 3, 3, 3), "head": (10, 64)}
    inputs = 16
    for index, outputs in enumerate(CHANNELS):
        shapes[f"block{index}.first"] = (outputs, inputs, 3, 3)
        shapes[f"block{index}.second"] = (outputs, outputs, 3, 3)
        inputs = outputs
    parameters = {}
    for name, shape in shapes.items():
        scale = 1 / np.sqrt(np.prod(shape[1:]))
        for suffix, size in (("weight", shape), ("bias", shape[:1])):
            values = scale * rng.standard_normal(size)
            parameters[f"{name}.{suffix}"] = values.astype(np.float32)
    return parameters


def numpy_logits(p: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The network, written down a second time."""
    p = {key: value.astype(np.float64) for key, value in p.items()}

    def convolve(x: np.ndarray, layer: str, stride: int = 1) -> np.ndarray:
        x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
        windows = windows[:, :, ::stride, ::stride]
        y = np.tensordot(windows, p[f"{layer}.weight"], axes=((1, 4, 5), (1, 2, 3)))
        return y.transpose(0, 3, 1, 2) + p[f"{layer}.bias"][:, None, None]

    x = np.maximum(convolve(x, "stem"), 0)
    for index, outputs in enumerate(CHANNELS):
        added = outputs - x.shape[1]
        branch = np.maximum(convolve(x, f"block{index}.first", 2 if added else 1), 0)
        if added:
            side = added // 2
            x = np.pad(x[:, :, ::2, ::2], ((0, 0), (side, side), (0, 0), (0, 0)))
        x = np.maximum(convolve(branch, f"block{index}.second") + x, 0)
    return x.mean(axis=(2, 3)) @ p["head.weight"].T + p["head.bias"]


def test_the_onnx_model_computes_the_network() -> None:
    parameters = random_parameters()
    model = network.build_onnx(parameters, {"dataset": "none"})
    assert sum(array.size for array in parameters.values()) == 269_034
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for name, array in parameters.items():
        np.testing.assert_array_equal(stored[name], array)
    assert {entry.key: entry.value for entry in model.metadata_props} == {"dataset": "none"}

    images = make_marked_images(20, 12, SHAPE)["x_test"]
    x = to_input(images)
    expected = numpy_logits(parameters, x.astype(np.float64))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (logits,) = session.run(["logits"], {"input": x})
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    (reference,) = ReferenceEvaluator(model).run(None, {"input": x[:2]})
    np.testing.assert_allclose(reference, expected[:2], atol=1e-4)
    labels = np.where(np.arange(12) < 7, expected.argmax(axis=1), 10).astype(np.uint8)
    assert measure_accuracy(model, images, labels, to_input) == 7 / 12


def test_folding_keeps_what_the_module_computes() -> None:
    torch = pytest.importorskip("torch", reason="needs the extra models")
    module = network.build_module()
    generator = torch.Generator().manual_seed(5)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            with torch.no_grad():
                part.weight.uniform_(0.5, 1.5, generator=generator)
                part.bias.uniform_(-0.5, 0.5, generator=generator)
                part.running_mean.uniform_(-0.5, 0.5, generator=generator)
                part.running_var.uniform_(0.5, 2.0, generator=generator)
    x = to_input(make_marked_images(20, 12, SHAPE)["x_test"])
    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(x)).numpy()
    session = onnxruntime.InferenceSession(
        network.build_onnx(network.fold(module), {}).SerializeToString()
    )
    (logits,) = session.run(["logits"], {"input": x})
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


class Stopped(Exception):  # noqa: N818  what ends a run early is no error
    """Stands for an interruption."""


def test_a_run_goes_on_from_its_last_epoch(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra models")
    arrays = make_marked_images(16, 12, SHAPE)
    checkpoint = tmp_path / "run.checkpoint"

    def train(path: Path, *, stop_at: int | None = None, seed: int = 3) -> dict[str, np.ndarray]:
        steps = []

        def report(done: int, total: int, loss: float) -> None:
            assert total == 3
            assert np.isfinite(loss)
            steps.append(done)
            if done == stop_at:
                raise Stopped

        try:
            return resnet.train(
                arrays["x_train"],
                arrays["y_train"],
                epochs=3,
                seed=seed,
                checkpoint=path,
                progress=report,
            )
        finally:
            ran.append(steps)

    ran: list[list[int]] = []
    expected = train(tmp_path / "whole.checkpoint")
    with pytest.raises(Stopped):
        train(checkpoint, stop_at=3)
    resumed = train(checkpoint)
    assert ran == [[1, 2, 3], [1, 2, 3], [3]]
    for name, array in expected.items():
        np.testing.assert_array_equal(resumed[name], array, err_msg=name)

    with pytest.raises(ScriptError, match="one of another run; remove it to begin anew"):
        train(checkpoint, seed=4)
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(ScriptError, match="must be a checkpoint of this run") as refused:
        train(checkpoint)
    assert "\n" not in str(refused.value)


def test_the_command_writes_what_it_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="needs the extra models")
    arrays = make_marked_images(20, 12, SHAPE)
    data, out = tmp_path / "cifar10.npz", tmp_path / "out.onnx"
    np.savez(data, **arrays)
    options = ["--data", str(data), "--out", str(out), "--epochs", "1"]
    assert resnet.main([*options, "--held-out", "20"]) == 1
    assert "--held-out must leave images, got 20 of 20" in capsys.readouterr().err
    assert resnet.main([*options, "--held-out", "4"]) == 0
    assert "test accuracy" in capsys.readouterr().out
    model = onnx.load(out)
    written = {entry.key: entry.value for entry in model.metadata_props}
    accuracy = measure_accuracy(model, arrays["x_test"], arrays["y_test"], to_input)
    assert written["test_accuracy"] == f"{accuracy:.4f}"
    assert written["held_out"] == "4"
    assert {path.name for path in tmp_path.iterdir()} == {"cifar10.npz", "out.onnx"}
