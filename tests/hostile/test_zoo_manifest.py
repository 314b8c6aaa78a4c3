"""Damaged manifests: entries, or one line that says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wl_onnx.errors import InputError
from wl_onnx.zoo import Entry, convert, load_manifest

ENTRY = {
    "model": "Net",
    "model_path": "a/net.onnx",
    "onnx_version": "1.9",
    "opset_version": 12,
    "metadata": {
        "model_sha": "0f" * 32,
        "model_bytes": 123,
        "tags": ["vision"],
        "io_ports": {"inputs": []},
        "wl_onnx": {"recipe": {"codec": "palette", "rules": [{"match": "w*", "clusters": 4}]}},
    },
}
DATA = json.dumps([ENTRY]).encode()


def check(data: bytes, path: Path) -> None:
    """Loads a manifest; what is refused is refused on one line."""
    path.write_bytes(data)
    message, entries = "", []
    try:
        entries = load_manifest(path)
    except InputError as error:
        message = str(error)
    assert "\n" not in message
    for entry in entries:
        assert not {"..", ""} & set(entry.model_path.split("/"))
        assert len(entry.sha256 or "") == 64


def test_every_prefix(tmp_path: Path) -> None:
    for length in range(len(DATA)):
        check(DATA[:length], tmp_path / "m.json")


def test_changed_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(len(DATA)):
        for byte in rng.integers(0, 256, 2):
            check(DATA[:index] + bytes([byte]) + DATA[index + 1 :], tmp_path / "m.json")


@pytest.mark.parametrize(
    "value", [None, 1, -1.5, 10**400, "", "x" * 10**6, [], [[]], {}, {"a": {}}, True, "\ud800"]
)
def test_fields_of_other_kinds(value: Any, tmp_path: Path) -> None:
    def replace(fields: dict[str, Any]) -> Any:
        for name, inner in fields.items():
            yield {**fields, name: value}
            if isinstance(inner, dict):
                yield from ({**fields, name: changed} for changed in replace(inner))

    for entry in (value, *replace(ENTRY)):
        check(json.dumps([entry]).encode(), tmp_path / "m.json")


def test_a_changed_manifest_of_results(make_mlp: Callable[..., Any], tmp_path: Path) -> None:
    weight = np.random.default_rng(0).laplace(size=(64, 64)).astype(np.float32)
    (tmp_path / "m.onnx").write_bytes(make_mlp(weight).SerializeToString())
    entries, out = [Entry("m", "m.onnx", str(tmp_path))], tmp_path / "out"
    convert(entries, out)
    manifest = out / "ONNX_HUB_MANIFEST.json"
    (record,) = json.loads(manifest.read_bytes())
    for value in (None, 1, "x", [], {}):
        for fields in (record, record["metadata"], record["metadata"]["wl_onnx"]):
            for name in fields:
                good, fields[name] = fields[name], value
                manifest.write_text(json.dumps([record]), encoding="utf-8")
                fields[name] = good
                message = ""
                try:
                    (result,) = convert(entries, out)
                    message = result.error or ""
                except InputError as error:
                    message = str(error)
                assert not message or "of results" in message or "no result" in message
