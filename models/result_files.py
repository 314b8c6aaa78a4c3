"""What a reproduction keeps: baselines and results, each told from those of another run."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx
from script_command import ScriptError
from script_files import replacing

_PACKAGES = ("wl-onnx", "onnxruntime", "onnx", "numpy", "torch")


def check_baseline(path: Path, properties: Mapping[str, str]) -> None:
    """Refuses a baseline that another run left.

    Args:
        path: of an ONNX file.
        properties: what its metadata must have.

    Raises:
        ScriptError: it is damaged, or of another run.
    """
    try:
        found = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    except Exception as error:  # protobuf's errors have no public base
        raise ScriptError(
            f"cannot read {path}: it must be a baseline that an earlier run wrote, got a "
            "damaged file; remove it"
        ) from error
    others = [key for key, value in properties.items() if found.get(key) != value]
    if others:
        raise ScriptError(
            f"cannot go on from {path}: it must be of the same run, got one with other "
            f"{', '.join(others)}; remove it, or name another --out"
        )


def read_record(
    path: Path, settings: Mapping[str, Any], form_row: Callable[..., Any]
) -> dict[str, Any]:
    """A result that was kept.

    Args:
        path: of a JSON file.
        settings: what it must have been made with.
        form_row: makes a row of its figures.

    Raises:
        ScriptError: it is damaged, or of another run.
    """
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = result["settings"]
        form_row(**result["figures"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ScriptError(
            f"cannot read {path}: it must be a result that this version wrote, got a damaged or "
            "another kind of file; remove it"
        ) from error
    others = [key for key, value in settings.items() if found.get(key) != value]
    if others:
        raise ScriptError(
            f"cannot keep {path}: it must be of the same run, got one with another "
            f"{', '.join(others)}; remove it, or name another --out"
        )
    return result


def write_record(
    path: Path,
    settings: Mapping[str, Any],
    row: Any,
    *,
    baseline: Path,
    model: Path,
    report: Mapping[str, Any],
) -> dict[str, Any]:
    """Keeps a result.

    Args:
        path: of the JSON file.
        settings: what it was made with.
        row: a dataclass of its figures.
        baseline: the model before.
        model: the model after.
        report: of the job that made it.

    Returns:
        The result as the file has it, tuples as lists, as `read_record` gives it another time.
    """
    result = {
        "settings": settings,
        "figures": dataclasses.asdict(row),
        "files": {"baseline": baseline.name, "model": model.name},
        "environment": describe_environment(),
        "report": report,
    }
    write_text(path, json.dumps(result, indent=1))
    return read_record(path, settings, type(row))


def write_text(path: Path, text: str) -> None:
    """Writes a file that is there whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def describe_environment() -> dict[str, Any]:
    """What the times and the last digits depend on."""
    import torch

    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "versions": versions,
    }
