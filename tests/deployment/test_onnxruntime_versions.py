"""Files run in older and newer onnxruntimes, each by itself, without this package."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import wl_onnx
from tests.deployment.forms import Case
from tests.deployment.prepare import VERSIONS, find_python

SCRIPT = Path(__file__).with_name("run_model.py")


def read_graph(path: Path) -> tuple[Counter[str], Counter[tuple[object, ...]]]:
    """How often each operator stands in a graph, and each constant by type, shape and bytes."""
    graph = onnx.load(path).graph
    constants = (
        (tensor.data_type, *tensor.dims, numpy_helper.to_array(tensor).tobytes())
        for tensor in graph.initializer
    )
    return Counter(node.op_type for node in graph.node), Counter(constants)


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest, case: Case) -> Path:
    """The interpreter that has one version of onnxruntime."""
    version = request.param
    path = find_python(version)
    if not path.exists():
        pytest.skip(f"onnxruntime {version} is not there: python tests/deployment/prepare.py")
    if version == "1.17.3" and case.ir_version > 9:
        pytest.skip("onnxruntime 1.17 takes models up to IR version 9")
    return path


def test_portable_runs_as_the_dense_model_does(
    python: Path, case: Case, run_command: Callable[..., list[np.ndarray]], tmp_path: Path
) -> None:
    case.check(lambda models: run_command(models, python, "-I", SCRIPT, "-"))
    graphs = [read_graph(tmp_path / f"{index}.onnx") for index in range(2 * len(case.by_recipe))]
    for dense, portable in zip(graphs[::2], graphs[1::2], strict=True):
        assert portable == dense  # nothing is left of decoding: weights are constants, bit for bit


def test_operators_run_by_their_library(
    python: Path, case: Case, run_command: Callable[..., list[np.ndarray]]
) -> None:
    library = wl_onnx.get_library_path()
    case.check(lambda models: run_command(models, python, "-I", SCRIPT, library), form="operators")
