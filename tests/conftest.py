"""What several folders of tests share: models, the command line, and lines for the summary."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

ROOT = Path(__file__).parents[1]
SHARED_MODELS = ROOT.parent / "shared" / "models"

# Behind what is installed, even where `python -m pytest` put it in front: the sources have no
# compiled module unless it was built in place.
sys.path[:] = [path for path in sys.path if Path(path).resolve() != ROOT]
sys.path.append(str(ROOT))

_SUMMARY = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def find_model() -> Callable[[str], Path]:
    """Gives the path of a trained model by its name; the test is skipped where it is absent."""

    def find(name: str) -> Path:
        for folder in (ROOT / "models", SHARED_MODELS):
            path = folder / f"{name}.onnx"
            if path.is_file():
                return path
        pytest.skip(f"{name}.onnx is neither in models/ nor in ../shared/models")

    return find


@pytest.fixture(scope="session")
def digits() -> dict[str, np.ndarray]:
    """The bundled digits: `input` float32 [1000, 1, 28, 28] and `labels` int64 [1000]."""
    with np.load(ROOT / "models" / "digits.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="session")
def make_mlp() -> Callable[..., onnx.ModelProto]:
    """Makes a chain of matrix products, each followed by a bias."""

    def make(*weights: np.ndarray, names: tuple[str, ...] = ()) -> onnx.ModelProto:
        names = names or tuple(f"w{index}" for index in range(len(weights)))
        kind = helper.np_dtype_to_tensor_dtype(weights[0].dtype)
        nodes, initializers, value = [], [], "x"
        for index, (name, weight) in enumerate(zip(names, weights, strict=True)):
            bias = np.linspace(-1, 1, weight.shape[1]).astype(weight.dtype)
            initializers += [
                numpy_helper.from_array(weight, name),
                numpy_helper.from_array(bias, f"b{index}"),
            ]
            nodes += [
                helper.make_node("MatMul", [value, name], [f"p{index}"]),
                helper.make_node("Add", [f"p{index}", f"b{index}"], [f"y{index}"]),
            ]
            value = f"y{index}"
        graph = helper.make_graph(
            nodes,
            "mlp",
            [helper.make_tensor_value_info("x", kind, ["n", weights[0].shape[0]])],
            [helper.make_tensor_value_info(value, kind, ["n", weights[-1].shape[1]])],
            initializers,
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="test"
        )

    return make


@pytest.fixture(scope="session")
def small_mlp(make_mlp: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    """Two layers of 4,096 and 1,024 weights."""
    rng = np.random.default_rng(3)
    return make_mlp(
        rng.laplace(size=(64, 64)).astype(np.float32), rng.laplace(size=(64, 16)).astype(np.float32)
    )


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command gave."""

    status: int
    out: str
    err: str


@pytest.fixture
def run_cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Outcome]]:
    """Runs the command line in this process, through its real entry point."""
    from wl_onnx.cli.main import main

    logger = logging.getLogger("wl_onnx")
    handlers, level = list(logger.handlers), logger.level

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["wl-onnx", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return Outcome(int(stop.value.code or 0), captured.out, captured.err)

    yield run
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.fixture(scope="session")
def child_environment() -> dict[str, str]:
    """The environment of a fresh interpreter that imports what this one does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.fixture
def add_to_summary(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Adds a line to what pytest prints at its end."""
    lines = request.config.stash.setdefault(_SUMMARY, [])
    return lines.append


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Prints the lines that tests left."""
    if lines := config.stash.get(_SUMMARY, []):
        terminalreporter.section("coverage of models")
        for line in lines:
            terminalreporter.write_line(line)
