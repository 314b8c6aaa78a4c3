"""`wl-onnx finetune` on the bundled LeNet-5, as a user calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import wl_onnx

pytest.importorskip("torch", reason="torch is not installed")

MODELS = Path(__file__).parents[2] / "models"
RECIPE = """
kind = "weightless"
codec = "{codec}"
rate_weight = 0.01
batch_size = 32
augment = "affine"
precision = "bfloat16"
exclude = ["conv1.*"]
"""


@pytest.mark.parametrize("codec", ["palette", "bloomier"])
def test_a_model_is_retrained_and_runs_everywhere(
    codec: str, run_cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.toml").write_text(RECIPE.format(codec=codec), encoding="utf-8")
    original, digits = MODELS / "lenet5.onnx", MODELS / "digits.npz"
    outcome = run_cli(
        *("finetune", original, "-o", "o.onnx", "--data", digits, "--recipe", "r.toml"),
        *("--epochs", "3", "--report", "r.json"),
    )
    assert outcome.status == 0, outcome.err
    report = json.loads(Path("r.json").read_text())
    assert report["file"]["compressed_bytes"] == Path("o.onnx").stat().st_size
    codecs = {one["name"]: one["codec"] for one in report["tensors"]}
    assert codecs["conv1.weight"] == "none"
    assert codecs["fc1.weight"] == ("bundle" if codec == "palette" else "bloomier")
    untouched = {one.name: one for one in onnx.load(original).graph.initializer}
    assert onnx.load("o.onnx").graph.initializer[0] == untouched["conv1.weight"]

    with np.load(digits) as archive:
        images, labels = archive["input"], archive["labels"]
    (scores,) = wl_onnx.InferenceSession("o.onnx").run(None, {"input": images})
    assert (scores.argmax(1) == labels).mean() > 0.9
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(wl_onnx.get_library_path())
    stock = onnxruntime.InferenceSession("o.onnx", options)
    np.testing.assert_allclose(stock.run(None, {"input": images})[0], scores, atol=1e-4)
