"""Where files may go, files that appear whole or not at all, and their checksums."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from wl_onnx.errors import InputError

__all__ = [
    "check_place",
    "check_side_file",
    "data_path",
    "hash_file",
    "rename_both",
    "temporary_beside",
]

_CHUNK_BYTES = 1 << 20


def data_path(path: Path) -> Path:
    """Where the external data of a model at a path go: the name with `.data` behind it."""
    return path.with_name(f"{path.name}.data")


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def check_place(path: Path, kind: str) -> None:
    """Refuses a path that no file can be written to.

    Args:
        path: where it is to be written.
        kind: what it is, for messages.

    Raises:
        InputError: it is a directory, or its folder is absent or not writable.
    """
    if path.is_dir():
        raise InputError(f"cannot write {path}: the {kind} must be a file, got a directory")
    if not path.name or not path.parent.is_dir():
        raise InputError(f"cannot write {path}: its folder must exist, got {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"cannot write {path}: its folder must be writable, got {path.parent}")


def check_side_file(path: Path, others: Iterable[Path], kind: str, *, force: bool) -> None:
    """Refuses a path for a report or a plan, before the work is done.

    Args:
        path: where it is to be written.
        others: files that it must not be.
        kind: what it is, for messages.
        force: whether an existing file may be replaced.

    Raises:
        InputError: nothing can be written there, or something stands there.
    """
    for other in others:
        if path.resolve() == other.resolve():
            raise InputError(
                f"cannot write {path}: the {kind} must have a path of its own, got {other}"
            )
    check_place(path, kind)
    if path.exists() and not force:
        raise InputError(
            f"cannot write {path}: the {kind} must not exist, got a file there; force replaces it"
        )


@contextlib.contextmanager
def temporary_beside(target: Path) -> Iterator[Path]:
    """A name beside the target that is gone afterwards, unless it was renamed."""
    path = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def rename_both(model: Path, data: Path, target: Path) -> None:
    """Puts a model and its external data in their places, the data first.

    Args:
        model: the model's file, as it was written.
        data: the file of its external data.
        target: the model's place; that of the data is beside it.

    Raises:
        OSError: one of them cannot be renamed; new data do not stay without the model.
    """
    data_target = data_path(target)
    existed = data_target.exists()
    try:
        data.replace(data_target)
        model.replace(target)
    except BaseException:
        # An interrupt may come after either of the two was done.
        if model.exists() and not existed:
            data_target.unlink(missing_ok=True)
        raise
