"""Manifests in the form of the ONNX model zoo's: the built-in one, a file's, an address's."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wl_onnx.errors import InputError
from wl_onnx.kernels.native import installed_directory
from wl_onnx.zoo.download import fetch_bytes
from wl_onnx.zoo.entry import OWN_FIELD, Entry, is_url, parse_entry

__all__ = ["BUILTIN_MANIFEST", "load_manifest", "parse_json"]

BUILTIN_MANIFEST = Path(__file__).with_name("manifest.json")
"""Entries with our recipes: paths, checksums and ports as ONNX_HUB_MANIFEST.json of
github.com/onnx/models has them (06189933463e51adb5ac34a5ead67cf6a3f51e2d), and the addresses where
the same files are kept now."""

_ZOO = "https://huggingface.co/onnxmodelzoo"
_MAX_BYTES = 64 << 20


def load_manifest(source: str | os.PathLike[str] | None = None) -> list[Entry]:
    """The models of a manifest, in its order.

    Args:
        source: path or address of a manifest, whose entries lie below the folder that it lies in;
            the built-in one where there is none.

    Raises:
        InputError: it cannot be read, is not JSON, or an entry lacks a field, leaves its folder or
            has a recipe that cannot be.
    """
    if source is None:
        name = "the built-in manifest"
        values = parse_json(BUILTIN_MANIFEST.read_bytes(), name)
        return [parse_entry(value, _builtin_source(value), name) for value in values]
    name = os.fspath(source)
    if is_url(name):
        data = fetch_bytes(name, max_bytes=_MAX_BYTES)
        folder = name.partition("?")[0].rpartition("/")[0]
    else:
        data = _read(Path(name))
        folder = str(Path(name).parent)
    return [
        parse_entry(value, folder, f"entry {index} of {name}")
        for index, value in enumerate(parse_json(data, name))
    ]


def parse_json(data: bytes, name: str) -> list[Any]:
    """The list that a manifest is.

    Args:
        data: the file.
        name: of the manifest, for messages.

    Raises:
        InputError: it is not JSON, or not a list.
    """
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"cannot read manifest {name}: it must be JSON, got {error}") from error
    if not isinstance(values, list):
        raise InputError(
            f"cannot read manifest {name}: it must be a list of models, got {type(values).__name__}"
        )
    return values


def _builtin_source(value: Mapping[str, Any]) -> str:
    """Where an entry of the built-in manifest is: in the package, or in the zoo."""
    is_bundled = value["metadata"][OWN_FIELD].get("bundled", False)
    return str(installed_directory() / "models") if is_bundled else _ZOO


def _read(path: Path) -> bytes:
    try:
        size_bytes = path.stat().st_size
        if size_bytes > _MAX_BYTES:
            raise InputError(
                f"cannot read manifest {path}: it must have at most {_MAX_BYTES} bytes, "
                f"got {size_bytes}"
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read manifest {path}: it must be a file that can be read, "
            f"got {error.strerror or error}"
        ) from error
