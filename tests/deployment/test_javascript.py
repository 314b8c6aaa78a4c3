"""Portable files run in onnxruntime-node, and in onnxruntime-web within node and Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.deployment.browser import run_in_browser
from tests.deployment.forms import Case
from tests.deployment.prepare import NODE_MODULES

SCRIPT = Path(__file__).with_name("javascript") / "run_model.mjs"


@pytest.fixture(params=["onnxruntime-node", "onnxruntime-web"])
def package(request: pytest.FixtureRequest) -> str:
    if not (NODE_MODULES / request.param).is_dir():
        pytest.skip(f"{request.param} is not there: python tests/deployment/prepare.py")
    return request.param


def test_runs_in_node(
    package: str, case: Case, run_command: Callable[..., list[np.ndarray]]
) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    case.check(lambda models: run_command(models, node, SCRIPT, package))


@pytest.mark.parametrize("package", ["onnxruntime-web"], indirect=True)
def test_runs_in_chromium(package: str, case: Case) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    case.check(lambda models: run_in_browser(chromium, models, case.source, case.dims))
