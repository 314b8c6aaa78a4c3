"""The shape of the repository: what lies where, and how long a file may be."""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"wl_onnx", "custom_ops", "tests", "models"}
MAX_LINES = 400
OWN_SUFFIXES = {".py", ".cc", ".h", ".md", ".toml", ".txt", ".cmake"}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}


def list_files() -> list[Path]:
    """The files of the repository, without what git ignores."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and its repository")
    listed = subprocess.run(
        [git, "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    return [Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()]


def read(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_the_root_holds_four_folders_and_files() -> None:
    tops = {path.parts[0] for path in list_files() if len(path.parts) > 1}
    others = {top for top in tops - FOLDERS if not top.startswith(".")}
    assert not others, f"move {', '.join(sorted(others))} into one of {', '.join(sorted(FOLDERS))}"


def test_no_file_is_too_long() -> None:
    lines = {
        path: len(read(path).splitlines()) for path in list_files() if path.suffix in OWN_SUFFIXES
    }
    long = {str(path): count for path, count in lines.items() if count > MAX_LINES}
    assert not long, f"split what has more than {MAX_LINES} lines: {long}"


def test_no_file_has_a_vague_name() -> None:
    vague = [str(path) for path in list_files() if VAGUE_NAMES & {path.stem, *path.parts}]
    assert not vague, f"name these after what they hold: {', '.join(vague)}"


def test_package_files_hold_nothing_but_names() -> None:
    for path in list_files():
        if path.name != "__init__.py" or path.parts[0] != "wl_onnx":
            continue
        for node in ast.parse(read(path)).body:
            is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            is_all = isinstance(node, ast.Assign | ast.AnnAssign) and "__all__" in ast.unparse(node)
            is_import = isinstance(node, ast.Import | ast.ImportFrom)
            assert is_docstring or is_all or is_import, f"move {ast.unparse(node)} out of {path}"


def test_only_the_command_line_prints_and_exits() -> None:
    # The process that measures memory answers on its standard output.
    allowed = {Path("wl_onnx/runtime/measure.py"): {"print"}}
    for path in list_files():
        if path.parts[0] != "wl_onnx" or path.suffix != ".py" or "cli" in path.parts:
            continue
        found = {
            ast.unparse(node.func)
            for node in ast.walk(ast.parse(read(path)))
            if isinstance(node, ast.Call)
        } & {"print", "sys.exit", "exit", "quit", "SystemExit"}
        assert found <= allowed.get(path, set()), f"{path} calls {', '.join(sorted(found))}"


def test_the_package_and_the_core_know_nothing_of_tests_and_models() -> None:
    for path in list_files():
        if path.parts[0] == "wl_onnx" and path.suffix == ".py":
            for node in ast.walk(ast.parse(read(path))):
                if isinstance(node, ast.ImportFrom):
                    assert (node.module or "").split(".")[0] not in ("tests", "models"), path
                if isinstance(node, ast.Import):
                    roots = {alias.name.split(".")[0] for alias in node.names}
                    assert not roots & {"tests", "models"}, path
