"""The formatters and checkers that the project uses, each as a test where it is installed."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def find_tool(name: str) -> list[str]:
    """How a tool is called: beside this interpreter, as a module, or on the path."""
    beside = shutil.which(name, path=str(Path(sys.executable).parent))
    if beside:
        return [beside]
    if importlib.util.find_spec(name.replace("-", "_")):
        return [sys.executable, "-m", name.replace("-", "_")]
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return [found]


def check(command: list[str], advice: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{advice}\n{done.stdout}{done.stderr}"


def test_ruff_finds_nothing() -> None:
    check([*find_tool("ruff"), "check", "."], "run `ruff check --fix .`")


def test_python_is_formatted() -> None:
    check([*find_tool("ruff"), "format", "--check", "."], "run `ruff format .`")


def test_types_are_right() -> None:
    check([*find_tool("mypy")], "mypy is set up in pyproject.toml: strict, on wl_onnx")


def test_cpp_is_formatted() -> None:
    tool = find_tool("clang-format")
    folders = (
        ROOT / "custom_ops",
        ROOT / "tests" / "native",
        ROOT / "tests" / "deployment" / "cpp",
    )
    files = sorted(
        str(path)
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in (".cc", ".h") and "build" not in path.relative_to(ROOT).parts
    )
    assert files
    check(
        [*tool, "--dry-run", "-Werror", *files], "run clang-format -i on the files that are named"
    )
