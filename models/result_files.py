"""What a reproduction keeps: baselines and results, each told from those of another run."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
from image_data import ReproductionError
from result_table import Row


def check_baseline(path: Path, properties: Mapping[str, str]) -> None:
    """Refuses a baseline that another run left.

    Args:
        path: of an ONNX file.
        properties: what its metadata must have.

    Raises:
        ReproductionError: it is damaged, or of another run.
    """
    try:
        found = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    except Exception as error:  # protobuf's errors have no public base
        raise ReproductionError(
            f"cannot read {path}: it must be a baseline that an earlier run wrote, got a "
            "damaged file; remove it"
        ) from error
    others = [key for key, value in properties.items() if found.get(key) != value]
    if others:
        raise ReproductionError(
            f"cannot go on from {path}: it must be of the same run, got one with other "
            f"{', '.join(others)}; remove it, or name another --out"
        )


def read_record(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A result that was kept.

    Args:
        path: of a JSON file.
        settings: what it must have been made with.

    Raises:
        ReproductionError: it is damaged, or of another run.
    """
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = result["settings"]
        Row(**result["figures"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReproductionError(
            f"cannot read {path}: it must be a result that this version wrote, got a damaged or "
            "another kind of file; remove it"
        ) from error
    others = [key for key, value in settings.items() if found.get(key) != value]
    if others:
        raise ReproductionError(
            f"cannot keep {path}: it must be of the same run, got one with another "
            f"{', '.join(others)}; remove it, or name another --out"
        )
    return result


def write_text(path: Path, text: str) -> None:
    """Writes a file that is there whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place where the block succeeds."""
    temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise ReproductionError(
            f"cannot write {path}: there must be room and the right to write, got: {error.strerror}"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
