"""Files that a script writes: whole, or not at all."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

from script_command import ScriptError


def check_folder(path: Path) -> None:
    """Refuses, before any work, a file that has no folder to lie in.

    Raises:
        ScriptError: there is no such folder.
    """
    if not path.absolute().parent.is_dir():
        raise ScriptError(f"cannot write {path}: its folder must exist, got none")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place where the block succeeds.

    Raises:
        ScriptError: the folder cannot be written to, or the block met the system's refusal.
    """
    temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise ScriptError(
            f"cannot write {path}: its folder must be writable, got: {error.strerror}"
        ) from error
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise ScriptError(
            f"cannot write {path}: there must be room and the right to write, got: "
            f"{error.strerror or error}"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
