from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.marked_images import make_marked_images
from tests.model_scripts import MODELS, load_script

lenet, network = load_script("lenet"), load_script("lenet_network")
measure_accuracy = load_script("accuracy").measure_accuracy
to_input = load_script("mnist").to_input


def random_parameters(name: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    parameters = {}
    for layer in network.MODELS[name]:
        if layer.name:
            scale = 1 / np.sqrt(np.prod(layer.shape[1:]))
            for suffix, shape in (("weight", layer.shape), ("bias", layer.shape[:1])):
                values = scale * rng.standard_normal(shape)
                parameters[f"{layer.name}.{suffix}"] = values.astype(np.float32)
    return parameters


def convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5), axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, weight) + bias[:, None, None]


def pool(x: np.ndarray) -> np.ndarray:
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))


def numpy_logits(name: str, p: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The networks, written down a second time."""
    p = {key: value.astype(np.float64) for key, value in p.items()}

    def linear(x: np.ndarray, layer: str) -> np.ndarray:
        return x @ p[f"{layer}.weight"].T + p[f"{layer}.bias"]

    if name == "lenet300":
        x = np.maximum(linear(x.reshape(len(x), -1), "fc1"), 0)
        return linear(np.maximum(linear(x, "fc2"), 0), "fc3")
    for layer in ("conv1", "conv2"):
        x = pool(convolve(x, p[f"{layer}.weight"], p[f"{layer}.bias"]))
    return linear(np.maximum(linear(x.reshape(len(x), -1), "fc1"), 0), "fc2")


def test_digits_are_written_as_feeds(tmp_path: Path) -> None:
    arrays = make_marked_images(30, 20)
    data, digits = tmp_path / "mnist.npz", tmp_path / "digits.npz"
    np.savez(data, **arrays)
    options = ["--data", str(data), "--digits", str(digits), "--num-digits", "15"]
    assert lenet.main(options) == 0
    with np.load(digits) as archive:
        assert set(archive.files) == {"input", "labels"}
        assert archive["input"].dtype == np.float32
        np.testing.assert_array_equal(
            archive["input"], arrays["x_test"][:15, None] / np.float32(255)
        )
        np.testing.assert_array_equal(archive["labels"], arrays["y_test"][:15])


@pytest.mark.parametrize(("name", "num_weights"), [("lenet300", 266_610), ("lenet5", 431_080)])
def test_the_onnx_model_computes_the_network(name: str, num_weights: int) -> None:
    parameters = random_parameters(name)
    model = network.build_onnx(name, parameters, {"dataset": "none"})
    assert sum(array.size for array in parameters.values()) == num_weights
    for tensor in model.graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), parameters[tensor.name])
    assert {entry.key: entry.value for entry in model.metadata_props} == {"dataset": "none"}

    images = make_marked_images(30, 20)["x_test"]
    x = to_input(images)
    expected = numpy_logits(name, parameters, x.astype(np.float64))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (logits,) = session.run(["logits"], {"input": x})
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    np.testing.assert_allclose(
        ReferenceEvaluator(model).run(None, {"input": x})[0], expected, atol=1e-5
    )
    labels = np.where(np.arange(20) < 13, expected.argmax(axis=1), 10).astype(np.uint8)
    assert measure_accuracy(model, images, labels, to_input) == 13 / 20


@pytest.mark.parametrize("name", ["lenet300", "lenet5"])
def test_training_learns(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="needs the extra models")
    arrays = make_marked_images(1280, 200)
    data, out = tmp_path / "mnist.npz", tmp_path / "out.onnx"
    np.savez(data, **arrays)
    options = ["--data", str(data), "--model", name, "--out", str(out), "--epochs", "8"]
    assert lenet.main(options) == 0
    assert "test accuracy" in capsys.readouterr().out
    model = onnx.load(out)
    assert measure_accuracy(model, arrays["x_test"], arrays["y_test"], to_input) > 0.9


def test_the_bundled_model_and_digits_fit_together() -> None:
    model = onnx.load(MODELS / "lenet5.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    with np.load(MODELS / "digits.npz") as digits:
        images, labels = digits["input"], digits["labels"]
    assert images.shape == (1000, 1, 28, 28)
    assert images.dtype == np.float32
    assert (images.min(), images.max()) == (0, 1)
    assert labels.shape == (1000,)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (logits,) = session.run(["logits"], {"input": images})
    accuracy = np.mean(logits.argmax(axis=1) == labels)
    # The digits are a tenth of the test set: within four standard errors of its accuracy.
    expected = float(metadata["test_accuracy"])
    assert abs(accuracy - expected) < 4 * np.sqrt(expected * (1 - expected) / 1000)
    assert sum((MODELS / name).stat().st_size for name in ("lenet5.onnx", "digits.npz")) < 3e6
