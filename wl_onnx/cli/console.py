"""What the commands print: tables to standard output, progress and warnings to standard error."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from wl_onnx.errors import InputError
from wl_onnx.files import temporary_beside

__all__ = [
    "ERRORS",
    "OUTPUT",
    "format_bytes",
    "print_json",
    "progress_bar",
    "set_up_logging",
    "write_json",
]

# Where nobody's terminal sets a width, rows stay on one line.
_WIDTH = None if sys.stdout.isatty() else 120

# Names of files and tensors may hold what rich reads as markup.
OUTPUT = Console(highlight=False, markup=False, emoji=False, width=_WIDTH)
ERRORS = Console(stderr=True, highlight=False, markup=False, emoji=False)


def set_up_logging(*, quiet: bool) -> None:
    """Sends the package's warnings to standard error, one line each."""
    handler = RichHandler(
        console=ERRORS, show_time=False, show_path=False, level=logging.WARNING, markup=False
    )
    logger = logging.getLogger("wl_onnx")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.ERROR if quiet else logging.WARNING)


@contextlib.contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar that is driven by calls with (what, done, total)."""
    columns = (
        TextColumn("{task.description:<32.32}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    hidden = quiet or not ERRORS.is_terminal
    with Progress(*columns, console=ERRORS, transient=True, disable=hidden) as progress:
        task = progress.add_task("", total=None)

        def report(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total)

        yield report


def print_json(value: Any) -> None:
    """Prints a value as JSON, and nothing else, to standard output."""
    OUTPUT.out(json.dumps(value, indent=2), highlight=False)


def write_json(value: Any, path: Path) -> None:
    """Writes a value as JSON; the file appears whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        with temporary_beside(path) as temporary:
            temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
            temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: its folder must be writable, got {error.strerror}"
        ) from error


def format_bytes(count: float | None) -> str:
    """A number of bytes as people read it, in powers of 1,000."""
    if count is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
