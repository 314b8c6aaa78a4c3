"""The only door to the compiled module: finds it, and says what is wrong where it is not there."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

from wl_onnx.errors import LibraryError

try:
    from wl_onnx.kernels import _core  # type: ignore[attr-defined]
except ImportError as error:  # pragma: no cover - an installation without a compiler
    _core = None
    _import_error: ImportError | None = error
else:
    _import_error = None

__all__ = ["core", "installed_directory", "resolve_threads"]


def core() -> ModuleType:
    """The compiled module `wl_onnx.kernels._core`.

    Raises:
        LibraryError: the module was not built or cannot be loaded.
    """
    if _core is None:
        raise LibraryError(
            "cannot load the compiled core: wl_onnx.kernels._core must be built, "
            f"got {_import_error}; reinstall wl-onnx with a C++ compiler at hand"
        ) from _import_error
    module: ModuleType = _core
    return module


def installed_directory() -> Path:
    """The folder of the package as it was installed, where compiled files and data lie.

    In an editable install this is not the folder of the Python sources.

    Raises:
        LibraryError: the compiled module is not there.
    """
    path = core().__file__
    if path is None:
        raise LibraryError("cannot find the compiled core: it must be a file, got none")
    return Path(path).resolve().parent.parent


def resolve_threads(threads: int) -> int:
    """A number of threads, where 0 stands for one for each core that this process may use."""
    if threads > 0:
        return threads
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
