"""Models dense, with operators and portable, and how a program is run on them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import wl_onnx
from tests.deployment.forms import Case, Forms

# What has a portable form.
RECIPES = {
    "xor": wl_onnx.Recipe(codec="bloomier", layout="xor"),
    "ribbon": wl_onnx.Recipe(codec="bloomier", layout="ribbon"),
    "palette": wl_onnx.Recipe(codec="palette"),
}


def open_session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="session", params=["lenet5", "slim-320"])
def case(
    request: pytest.FixtureRequest,
    find_model: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Case:
    """LeNet-5, and a face detector of 96 nodes."""
    path = find_model(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    (value,) = open_session(path).get_inputs()
    dims = tuple(dim if isinstance(dim, int) else 2 for dim in value.shape)
    values = np.random.default_rng(0).standard_normal(dims, np.float32)
    values.tofile(folder / "input")

    by_recipe = {}
    for name, recipe in RECIPES.items():
        paths = {
            form: folder / f"{name}-{form}.onnx" for form in ("dense", "operators", "portable")
        }
        wl_onnx.compress(path, paths["operators"], recipe=recipe)
        wl_onnx.decompress(paths["operators"], paths["dense"])
        portable = wl_onnx.convert(paths["operators"], paths["portable"], to="portable")
        if name == "palette":  # some of its weights with a mask, some without
            names = [tensor.name for tensor in portable.graph.initializer]
            assert (
                0
                < sum(n.endswith(".mask") for n in names)
                < sum(n.endswith(".cells") for n in names)
            )
        outputs = open_session(paths["dense"]).run(None, {value.name: values})
        expected = np.concatenate([output.ravel() for output in outputs])
        by_recipe[name] = Forms(**paths, expected=expected)
    ir_version = onnx.load(paths["portable"]).ir_version
    return Case(by_recipe, source=folder / "input", dims=dims, ir_version=ir_version)


@pytest.fixture
def run_command(case: Case, tmp_path: Path) -> Callable[..., list[np.ndarray]]:
    """Runs a program as `COMMAND... INPUT DIM,DIM... MODEL OUTPUT [MODEL OUTPUT]...`."""

    def run(models: Sequence[Path], *command: str | Path) -> list[np.ndarray]:
        outputs = [tmp_path / f"{index}" for index in range(len(models))]
        pairs = [path for pair in zip(models, outputs, strict=True) for path in pair]
        done = subprocess.run(
            [*command, case.source, ",".join(map(str, case.dims)), *pairs],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return [np.fromfile(output, np.float32) for output in outputs]

    return run
