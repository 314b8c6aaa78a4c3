"""Who imports whom: the contracts in pyproject.toml, and that they can fail."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter", reason="import-linter is not installed")

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "wl_onnx"
LINT = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LINT], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_contracts_hold() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("graph/load.py", "import wl_onnx.runtime", "upper layer"),
        ("codecs/bounds.py", "from wl_onnx.simplify import prune", "upper layer"),
        ("errors.py", "from wl_onnx.kernels import native", "upper layer"),
        ("cli/console.py", "import onnxruntime", "onnxruntime is imported in runtime alone"),
        ("graph/load.py", "import onnx_ir", "onnx_ir is imported nowhere"),
        ("compress.py", "import matplotlib.pyplot", "matplotlib is imported in evaluation alone"),
        ("runtime/session.py", "from torch import nn", "torch is imported in finetune alone"),
    ],
)
def test_a_broken_contract_is_found(module: str, line: str, contract: str, tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "wl_onnx", ignore=shutil.ignore_patterns("*.so", "*.onnx"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / "wl_onnx" / module
    path.write_text(path.read_text(encoding="utf-8") + f"\n\n{line}\n", encoding="utf-8")
    done = lint(tmp_path)
    assert done.returncode == 1
    broken = re.findall(r"(.*) BROKEN", done.stdout)
    assert len(broken) == 1
    assert contract in broken[0]


def test_a_module_outside_the_layers_is_found(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "wl_onnx", ignore=shutil.ignore_patterns("*.so", "*.onnx"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "wl_onnx" / "other.py").write_text("", encoding="utf-8")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert "wl_onnx.other" in done.stdout


def test_the_compiled_module_is_imported_in_kernels_alone() -> None:
    importers = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")]
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{name}" for name in names]
            elif not isinstance(node, ast.Import):
                continue
            if any("_core" in name.split(".") for name in names):
                importers.add(path.relative_to(PACKAGE).as_posix())
    assert importers == {"kernels/native.py"}
