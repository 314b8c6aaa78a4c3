"""A C++ program runs portable files by onnxruntime alone, and operators by their library."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import wl_onnx
from tests.deployment.forms import Case
from tests.deployment.prepare import NODE_MODULES

SOURCE = Path(__file__).parent / "cpp" / "run_model.cc"
CUSTOM_OPS = Path(__file__).parents[2] / "custom_ops"
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built against the libonnxruntime that onnxruntime-node brings."""
    compilers = (os.environ.get("CXX"), "c++", "g++", "clang++")
    compiler = next((name for name in compilers if name and shutil.which(name)), None)
    if compiler is None:
        pytest.skip("no C++ compiler is installed")
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), "")
    pattern = f"onnxruntime-node/bin/napi-v*/linux/{machine}/libonnxruntime.so.1"
    library = next(NODE_MODULES.glob(pattern), None)
    if library is None:
        pytest.skip("no libonnxruntime is there: python tests/deployment/prepare.py")
    built = tmp_path_factory.mktemp("cpp") / "run_model"
    options = ["-std=c++17", "-O1", *WARNINGS, f"-I{CUSTOM_OPS}", f"-Wl,-rpath,{library.parent}"]
    done = subprocess.run(
        [compiler, *options, SOURCE, library, "-o", built],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return built


def test_portable_needs_no_library(
    program: Path, case: Case, run_command: Callable[..., list[np.ndarray]]
) -> None:
    case.check(lambda models: run_command(models, program, "-"))


def test_operators_run_by_their_library(
    program: Path, case: Case, run_command: Callable[..., list[np.ndarray]]
) -> None:
    library = wl_onnx.get_library_path()
    case.check(lambda models: run_command(models, program, library), form="operators")


def test_operators_need_their_library(
    program: Path, case: Case, run_command: Callable[..., list[np.ndarray]]
) -> None:
    for forms in case.by_recipe.values():
        with pytest.raises(AssertionError, match=r"com\.wl_onnx"):
            run_command([forms.operators], program, "-")
