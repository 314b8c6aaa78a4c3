from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from wl_onnx.errors import LibraryError
from wl_onnx.runtime import InferenceSession, get_library_path, library


def test_path_is_that_of_the_library() -> None:
    path = Path(get_library_path())
    assert path.is_absolute()
    assert path.is_file()
    assert "wl_onnx_ops" in path.name


def test_absent_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(library, "installed_directory", lambda: tmp_path)
    with pytest.raises(LibraryError, match=r"cannot find the operator library: .*; reinstall"):
        get_library_path()


@pytest.mark.parametrize("version", ["1.16.3", "0.9.0"])
def test_old_onnxruntime(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", version)
    message = f"onnxruntime must be 1.17 or newer, got {version}; pip install"
    with pytest.raises(LibraryError, match=message):
        get_library_path()
    with pytest.raises(LibraryError, match=message):
        InferenceSession(b"")


@pytest.mark.parametrize("version", ["1.17.0", "1.31.1", "2.0.0", "1.20.0+cpu", "1.23.0.dev2"])
def test_recent_onnxruntime(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", version)
    library.check_onnxruntime()
