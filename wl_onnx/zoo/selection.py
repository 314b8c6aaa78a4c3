"""Which models are meant: by name, by file, by folder."""

from __future__ import annotations

import difflib
import fnmatch
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from wl_onnx.errors import InputError
from wl_onnx.zoo.entry import Entry

__all__ = ["find_entries"]


def find_entries(
    names: Iterable[str | os.PathLike[str]],
    manifest: Sequence[Entry],
    *,
    leave_out: str | os.PathLike[str] | None = None,
) -> list[Entry]:
    """The models that are asked for, each once.

    A name is that of a model, of which the version with the newest opset is taken, or of its file
    without `.onnx`; a glob takes all that match. A folder stands for the ONNX files in it and
    below.

    Args:
        names: names, globs, files and folders.
        manifest: the models that names are looked up in.
        leave_out: a folder whose files are none of the models: that of the results.

    Raises:
        InputError: there is no such model or file, or none in a folder.
    """
    entries = [entry for name in names for entry in _find(os.fspath(name), manifest, leave_out)]
    return list({(entry.source, entry.model_path): entry for entry in entries}.values())


def _find(
    name: str, manifest: Sequence[Entry], leave_out: str | os.PathLike[str] | None
) -> list[Entry]:
    path = Path(name)
    if path.is_dir():
        return _find_files(path, leave_out)
    if path.is_file():
        return [Entry(model=path.stem, model_path=path.name, source=str(path.parent))]
    if path.suffix == ".onnx" or "/" in name or os.sep in name:
        raise InputError(f"cannot find {name}: it must be a file or a folder, got none there")
    wanted = name.casefold()
    same = [e for e in manifest if wanted in (e.model.casefold(), e.stem.casefold())]
    if same:
        return [max(same, key=lambda e: (e.stem.casefold() == wanted, e.opset_version or 0))]
    if any(char in name for char in "*?["):
        matching = [
            entry
            for entry in manifest
            if fnmatch.fnmatchcase(entry.model.casefold(), wanted)
            or fnmatch.fnmatchcase(entry.stem.casefold(), wanted)
        ]
        if matching:
            return matching
    known = {text.casefold(): text for e in manifest for text in (e.stem, e.model)}
    near = [known[one] for one in difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)]
    near = near or list(known.values())[:6]
    raise InputError(
        f"cannot find model {name}: it must be a file, a folder or in the manifest, got neither; "
        f"near are {', '.join(near) or 'none'}"
    )


def _find_files(folder: Path, leave_out: str | os.PathLike[str] | None) -> list[Entry]:
    """The ONNX files of a folder, without hidden ones and without results."""
    results = None if leave_out is None else Path(leave_out).resolve()
    found = []
    for path in sorted(folder.rglob("*.onnx")):
        relative = path.relative_to(folder)
        is_hidden = any(part.startswith(".") for part in relative.parts)
        is_result = (
            results is not None
            and results != folder.resolve()
            and path.resolve().is_relative_to(results)
        )
        if path.is_file() and not is_hidden and not is_result:
            found.append(Entry(model=path.stem, model_path=relative.as_posix(), source=str(folder)))
    if not found:
        raise InputError(f"cannot convert {folder}: it must hold ONNX files, got none")
    return found
