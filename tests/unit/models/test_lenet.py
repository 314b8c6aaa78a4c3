from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.marked_images import make_marked_images
from tests.model_scripts import MODELS, load_script

lenet = load_script("lenet")


def fake_mnist(num_train: int = 30, num_test: int = 20) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", num_train), ("test", num_test)):
        arrays[f"x_{split}"] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"y_{split}"] = rng.integers(0, 10, count, np.uint8)
    return arrays


def idx_bytes(array: np.ndarray) -> bytes:
    sizes = np.array(array.shape, ">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def random_parameters(name: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    parameters = {}
    for layer in lenet.MODELS[name]:
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


@pytest.mark.parametrize(
    ("form", "suffix"), [("idx", ""), ("idx", ".gz"), ("dotted", ".gz"), ("npz", "")]
)
def test_mnist_is_read_in_every_form(tmp_path: Path, form: str, suffix: str) -> None:
    arrays = fake_mnist()
    path = tmp_path
    if form == "npz":
        path = tmp_path / "mnist.npz"
        np.savez(path, **arrays)
    else:
        for name, stem in lenet.SPLITS.items():
            data = idx_bytes(arrays[name])
            stem = stem.replace("-idx", ".idx") if form == "dotted" else stem
            (tmp_path / f"{stem}{suffix}").write_bytes(gzip.compress(data) if suffix else data)
    read = lenet.read_mnist(path)
    assert set(read) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], r"\[30, 28, 28\] must be followed by 23520 bytes, got 23519"),
        (lambda data: b"\0\0\x0d" + data[3:], "must begin with 00 00 08, got 00 00 0d 03"),
        (lambda data: data[:9], "must begin with 00 00 08, got 00 00 08 03"),
        (lambda _: b"", "must begin with 00 00 08, got nothing"),
        (lambda data: idx_bytes(np.frombuffer(data, np.uint8)), r"must be uint8 \[n, 28, 28\]"),
    ],
)
def test_a_damaged_idx_file_is_refused(tmp_path: Path, change: object, message: str) -> None:
    for name, stem in lenet.SPLITS.items():
        (tmp_path / stem).write_bytes(idx_bytes(fake_mnist()[name]))
    damaged = tmp_path / lenet.SPLITS["x_train"]
    damaged.write_bytes(change(damaged.read_bytes()))
    with pytest.raises(lenet.LeNetError, match=f"^cannot read .*{message}"):
        lenet.read_mnist(tmp_path)


def test_missing_and_foreign_data_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path / "foreign.npz"
    np.savez(foreign, x=np.zeros(3))
    text = tmp_path / "text.npz"
    text.write_text("no archive")
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"no gzip")
    wrong = tmp_path / "labels.npz"
    np.savez(wrong, **(fake_mnist() | {"y_test": np.full(20, 11)}))
    for path, message in (
        (foreign, "it must hold x_train, y_train, x_test, y_test, got no such array"),
        (text, "it must be an .npz file or a folder"),
        (tmp_path, "it must be a gzip file"),
        (tmp_path / "none", "No such file"),
        (wrong, "y_test must be 20 whole numbers in 0..9"),
    ):
        out = tmp_path / "out.onnx"
        assert lenet.main(["--data", os.fspath(path), "--out", os.fspath(out)]) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert not out.exists()


def test_digits_are_written_as_feeds(tmp_path: Path) -> None:
    arrays = fake_mnist()
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
    model = lenet.build_onnx(name, parameters, {"dataset": "none"})
    assert sum(array.size for array in parameters.values()) == num_weights
    for tensor in model.graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), parameters[tensor.name])
    assert {entry.key: entry.value for entry in model.metadata_props} == {"dataset": "none"}

    images = fake_mnist()["x_test"]
    x = lenet.to_input(images)
    expected = numpy_logits(name, parameters, x.astype(np.float64))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (logits,) = session.run(["logits"], {"input": x})
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    np.testing.assert_allclose(
        ReferenceEvaluator(model).run(None, {"input": x})[0], expected, atol=1e-5
    )
    labels = np.where(np.arange(20) < 13, expected.argmax(axis=1), 10).astype(np.uint8)
    assert lenet.measure_accuracy(model, images, labels) == 13 / 20


def test_an_output_that_fails_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "digits.npz"
    with pytest.raises(KeyError):
        lenet.write_digits(target, {"x_test": np.zeros((2, 28, 28), np.uint8)}, 2)
    assert list(tmp_path.iterdir()) == []


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
    assert lenet.measure_accuracy(model, arrays["x_test"], arrays["y_test"]) > 0.9


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
