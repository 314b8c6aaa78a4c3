"""A model's file on this machine: a local one, one from the cache, or a download."""

from __future__ import annotations

import os
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from wl_onnx.errors import InputError
from wl_onnx.files import hash_file
from wl_onnx.zoo.download import DownloadProgress, download

if TYPE_CHECKING:
    from wl_onnx.zoo.entry import Entry

__all__ = ["default_cache", "obtain"]


def default_cache() -> Path:
    """Where this system keeps what can be had again, with a folder of ours in it."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "wl-onnx" / "zoo"


def obtain(entry: Entry, cache: Path, progress: DownloadProgress | None = None) -> Path:
    """The file of a model, checked against what the manifest says of it.

    A download goes to `<cache>/<sha256>/<name>`, and is found there the next time.

    Args:
        entry: the model.
        cache: folder of the downloads; made where it is absent.
        progress: called while a download goes on.

    Raises:
        InputError: the file is not there, leaves its folder, cannot be downloaded, or is not the
            one that the manifest speaks of.
    """
    url = entry.address
    if url is None:
        return _check_local(entry)
    if entry.sha256 is None or entry.size_bytes is None:
        raise InputError(
            f"cannot download {entry.model}: the manifest must give its SHA-256 and its size, "
            "got none"
        )
    path = cache / entry.sha256 / PurePosixPath(entry.model_path).name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and hash_file(path) == entry.sha256:
            return path
        download(url, path, sha256=entry.sha256, size_bytes=entry.size_bytes, progress=progress)
    except OSError as error:
        raise InputError(
            f"cannot keep {entry.model} in {path.parent}: the cache must be writable and have "
            f"space, got {error.strerror or error}"
        ) from error
    return path


def _check_local(entry: Entry) -> Path:
    path, folder = entry.local_path, Path(entry.source)
    if not path.is_file():
        raise InputError(f"cannot read {path}: it must be a file, got none there")
    if entry.sha256 is None:  # named by the user, not by a manifest
        return path
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"cannot use {entry.model}: {path} must stay within its folder, got a link to "
            f"{path.resolve()}"
        )
    found = hash_file(path)
    if found != entry.sha256:
        raise InputError(
            f"cannot use {path}: its SHA-256 must be {entry.sha256} as the manifest has it, "
            f"got {found}"
        )
    return path
