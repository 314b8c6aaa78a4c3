"""Files that a command writes beside the model: checked before the work is done."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from wl_onnx.errors import InputError

__all__ = ["check_side_file"]


def check_side_file(path: Path, others: Iterable[Path], kind: str, *, force: bool) -> None:
    """Refuses a path for a report or a plan.

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
    if path.is_dir():
        raise InputError(f"cannot write {path}: the {kind} must be a file, got a directory")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: its folder must exist, got {path.parent}")
    if path.exists() and not force:
        raise InputError(
            f"cannot write {path}: the {kind} must not exist, got a file there; --force replaces it"
        )
