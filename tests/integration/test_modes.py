"""Compressed models in every mode give what the plain model does that they decompress to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import wl_onnx

MODES = ("materialize", "cached", "streaming")
MODELS = ("lenet5", "lenet300", "slim-320")
# Fusions that a plain model gets and a decoding one does not change the order of sums.
TOLERANCE = 1e-5


def open_stock(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(wl_onnx.get_library_path())
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def make_feed(path: Path, digits: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (value,) = session.get_inputs()
    if name.startswith("lenet"):
        return {value.name: digits["input"]}
    shape = [dim if isinstance(dim, int) else 1 for dim in value.shape]
    return {value.name: np.random.default_rng(0).standard_normal(shape, np.float32)}


def assert_close(actual: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(actual) == len(expected) > 0
    for one, other in zip(actual, expected, strict=True):
        assert one.shape == other.shape
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE * np.abs(other).max())


@pytest.mark.parametrize("blobs", ["attribute", "initializer"])
@pytest.mark.parametrize("name", MODELS)
def test_every_mode_agrees_with_the_decompressed_model(
    name: str,
    blobs: str,
    find_model: Callable[[str], Path],
    digits: dict[str, np.ndarray],
    tmp_path: Path,
) -> None:
    model = find_model(name)
    small, dense = tmp_path / "small.onnx", tmp_path / "dense.onnx"
    result = wl_onnx.compress(model, small, recipe=wl_onnx.Recipe(blobs=blobs))
    wl_onnx.decompress(small, dense)
    onnx.checker.check_model(dense)
    assert sum(tensor["codec"] == "bloomier" for tensor in result.report["tensors"]) >= 2
    assert sum(p.stat().st_size for p in tmp_path.glob("small*")) < model.stat().st_size / 2

    feed = make_feed(model, digits, name)
    providers = ["CPUExecutionProvider"]
    expected = onnxruntime.InferenceSession(dense, providers=providers).run(None, feed)
    sessions = [wl_onnx.InferenceSession(small, None, providers, mode=mode) for mode in MODES]
    for session in (*sessions, open_stock(small)):
        assert_close(session.run(None, feed), expected)
        assert_close(session.run(None, feed), expected)
    # A plain session: the same initializers, the same fusions, the same bits.
    for one, other in zip(sessions[0].run(None, feed), expected, strict=True):
        np.testing.assert_array_equal(one, other)

    if name.startswith("lenet"):
        original = onnxruntime.InferenceSession(model, providers=providers).run(None, feed)[0]
        before, after = (np.mean(x.argmax(1) == digits["labels"]) for x in (original, expected[0]))
        assert before > 0.98
        assert after >= before - 0.01


@pytest.mark.parametrize("name", MODELS)
def test_decompressed_initializers_differ_only_where_weights_were_compressed(
    name: str, find_model: Callable[[str], Path]
) -> None:
    model = find_model(name)
    result = wl_onnx.compress(model)
    compressed = {t["name"]: t for t in result.report["tensors"] if t["codec"] == "bloomier"}
    before = onnx.load(model)
    after = wl_onnx.decompress(result.model)
    arrays = {t.name: numpy_helper.to_array(t) for t in after.graph.initializer}
    assert {t.name for t in before.graph.initializer} == arrays.keys()
    for tensor in before.graph.initializer:
        weights, decoded = numpy_helper.to_array(tensor), arrays[tensor.name]
        if tensor.name not in compressed:
            np.testing.assert_array_equal(decoded, weights)
            continue
        energy = np.square(weights, dtype=np.float64).sum()
        share = np.square(weights.astype(np.float64) - decoded).sum() / energy
        assert share == pytest.approx(compressed[tensor.name]["error_share"], rel=1e-6)
        assert 0 < share <= 0.02
    assert list(after.graph.node) == list(before.graph.node)


def test_the_four_commands_in_processes_of_their_own(
    find_model: Callable[[str], Path], tmp_path: Path, child_environment: dict[str, str]
) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "wl_onnx", *map(str, arguments)],
            cwd=tmp_path,
            env=child_environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == "" or arguments[0] == "decompress"
        return done

    model, small, dense = find_model("lenet5"), tmp_path / "small.onnx", tmp_path / "dense.onnx"
    assert "fc1.weight" in run("compress", model, "-o", small).stdout
    assert "fc1.weight" in run("inspect", small).stdout
    assert str(dense) in run("decompress", small, "-o", dense).stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dense.onnx", "small.onnx"]
    assert dense.stat().st_size == pytest.approx(model.stat().st_size, rel=0.001)
    table = run("compare", model, small, "--data", Path(model).with_name("digits.npz")).stdout
    for word in ("original", *MODES, "cosine", "peak memory", "%"):
        assert word in table
