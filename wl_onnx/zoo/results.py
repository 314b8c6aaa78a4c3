"""What came of each model, and the manifest that says so beside the compressed files."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from wl_onnx.errors import InputError
from wl_onnx.files import temporary_beside
from wl_onnx.zoo.entry import OWN_FIELD, Entry
from wl_onnx.zoo.manifest import parse_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["MANIFEST_NAME", "ZooResult", "add_record", "make_record", "read_records"]

MANIFEST_NAME = "ONNX_HUB_MANIFEST.json"


@dataclasses.dataclass(frozen=True)
class ZooResult:
    """What came of one model.

    Attributes:
        entry: the model.
        output: its compressed file; that of a failed one may be absent, or an earlier one.
        state: "converted"; "unchanged" where the earlier result is the one that would come out; or
            "failed".
        record: its entry in the manifest of the results.
    """

    entry: Entry
    output: Path
    state: Literal["converted", "unchanged", "failed"]
    record: Mapping[str, Any]

    @property
    def facts(self) -> Mapping[str, Any]:
        """Our part of the record: `ratio`, `source_sha`, `source_bytes`, `recipe`, `error`, ..."""
        own: Mapping[str, Any] = self.record["metadata"][OWN_FIELD]
        return own

    @property
    def error(self) -> str | None:
        """Why a failed one did; None of others."""
        return self.facts.get("error")

    @property
    def source_size_bytes(self) -> int | None:
        """Bytes of the model before, with its external data; None where they are not known."""
        source_bytes: int | None = self.facts.get("source_bytes")
        return None if source_bytes is None else source_bytes + self._count("source_data_bytes")

    @property
    def size_bytes(self) -> int | None:
        """Bytes of the compressed model with its external data; None where there is none."""
        model_bytes = self.record["metadata"].get("model_bytes")
        return None if model_bytes is None else model_bytes + self._count("data_bytes")

    def _count(self, name: str) -> int:
        count: int = self.facts.get(name, 0)
        return count


def make_record(entry: Entry, facts: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of the manifest of the results.

    Args:
        entry: the model; what its manifest says of tags, ports and version is kept.
        facts: as `run_job` gives them, or `metadata` with an `error`.
    """
    metadata = dict(facts["metadata"])
    if entry.tags or "tags" not in metadata:
        metadata["tags"] = list(entry.tags)
    if entry.io_ports is not None:
        metadata["io_ports"] = entry.io_ports
    return {
        "model": entry.model,
        "model_path": entry.model_path,
        "onnx_version": entry.onnx_version or facts.get("onnx_version"),
        "opset_version": facts.get("opset_version") or entry.opset_version,
        "metadata": dict(sorted(metadata.items())),
    }


def read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """The manifest of earlier results, by path; empty where there is none.

    Raises:
        InputError: it is not one that was written here.
    """
    path = folder / MANIFEST_NAME
    if not path.exists():
        return {}
    records = parse_json(path.read_bytes(), str(path))
    for record in records:
        if not _is_result(record):
            raise InputError(
                f"cannot write results to {folder}: its {MANIFEST_NAME} must be one of results, "
                "got that of another zoo; choose another folder"
            )
    return {record["model_path"]: record for record in records}


def _is_result(record: Any) -> bool:
    if not isinstance(record, dict) or not isinstance(record.get("model_path"), str):
        return False
    metadata = record.get("metadata")
    own = metadata.get(OWN_FIELD) if isinstance(metadata, dict) else None
    return isinstance(own, dict) and bool({"source_sha", "error"} & own.keys())


def add_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Puts an entry into the manifest of the results, in place of the one of the same path.

    Entries are sorted by path. The manifest appears whole or not at all, and what other runs put
    into it in the meantime stays.

    Args:
        folder: of the results.
        record: as `make_record` gives it.

    Raises:
        InputError: the folder holds another zoo's manifest.
    """
    with _lock(folder):
        records = {**read_records(folder), record["model_path"]: record}
        values = [value for _, value in sorted(records.items())]
        path = folder / MANIFEST_NAME
        with temporary_beside(path) as temporary:
            temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
            temporary.replace(path)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Waits for other runs that write to a folder, on systems that can lock one."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a network's file system may not know of it
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
