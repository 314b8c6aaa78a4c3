from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from wl_onnx.errors import InputError
from wl_onnx.evaluation import load_validation_fn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder of modules, all gone from the interpreter afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_function_of_the_working_folder_is_found(folder: Path) -> None:
    (folder / "mine_a.py").write_text("def f(session):\n    return 2.5\nclass C:\n    g = f\n")
    assert load_validation_fn("mine_a:f")(None) == 2.5  # type: ignore[arg-type]
    assert load_validation_fn("mine_a:C.g")(None) == 2.5  # type: ignore[arg-type]


def test_a_module_of_a_package_is_found(folder: Path) -> None:
    (folder / "pack_a").mkdir()
    (folder / "pack_a" / "inner.py").write_text("def f(session):\n    return 1\n")
    assert load_validation_fn("pack_a.inner:f")(None) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mine_b", "it must be given as module:function, got 'mine_b'"),
        (":f", "it must be given as module:function, got ':f'"),
        ("mine_b:", "it must be given as module:function, got 'mine_b:'"),
        ("mine_b.py:f", "got none named mine_b.py"),
        ("absent_b:f", "from the working folder or be installed, got none named absent_b"),
        ("absent_b.inner:f", "got none named absent_b"),
        ("needs_b:f", "what needs_b imports must be installed, got no module not_there_b"),
        ("broken_b:f", "broken_b must be importable, got ZeroDivisionError: division by zero"),
        ("wrong_b:f", "wrong_b must be importable, got SyntaxError: "),
        (".mine_b:f", "must be importable, got TypeError"),
        ("mine_b:g", "mine_b must have the function, got none named g"),
        ("mine_b:f.x", "mine_b must have the function, got none named f.x"),
        ("mine_b:number", "it must be a function, got int"),
    ],
)
def test_what_cannot_be_loaded(folder: Path, text: str, message: str) -> None:
    (folder / "mine_b.py").write_text("number = 3\ndef f(session):\n    return 2.5\n")
    (folder / "needs_b.py").write_text("import not_there_b\n")
    (folder / "broken_b.py").write_text("1 / 0\n")
    (folder / "wrong_b.py").write_text("def f(:\n")
    with pytest.raises(InputError, match=message) as caught:
        load_validation_fn(text)
    assert str(caught.value).startswith(f"cannot load validation function {text}: ")
    assert "\n" not in str(caught.value)
