"""Files that appear whole or not at all, their checksums, and where external data go."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path

__all__ = ["data_path", "hash_file", "rename_both", "temporary_beside"]

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
