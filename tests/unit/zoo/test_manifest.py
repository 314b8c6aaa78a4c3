"""Manifests: what they give, and what is refused about them."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.web_server import WebServer
from wl_onnx.errors import InputError
from wl_onnx.recipe import Recipe, Rule, load_recipe
from wl_onnx.zoo import load_manifest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def refuse(tmp_path: Path, describe: Callable[..., Any]) -> Callable[..., str]:
    """Loads a manifest whose entry was changed, which must fail; gives the message."""

    def load(change: Callable[[dict[str, Any]], object]) -> str:
        good, bad = describe("good", "g.onnx", b"g"), describe("Bad One", "b.onnx", b"b")
        change(bad)
        path = tmp_path / "m.json"
        path.write_text(json.dumps([good, bad]), encoding="utf-8")
        with pytest.raises(InputError, match=r"^cannot use entry 1 of .*m\.json") as error:
            load_manifest(path)
        assert "\n" not in str(error.value)
        return str(error.value)

    return load


def test_the_fields_of_an_entry(tmp_path: Path, describe: Callable[..., Any]) -> None:
    table = {"codec": "palette", "rules": [{"match": "fc*", "error_share": 0.1}]}
    values = [
        describe("Net 1", "a/b/net-12.onnx", b"x", recipe=table),
        describe("Net 2", "c.onnx", b"yy", recipe="gentle"),
        describe("Net 3", "d.onnx", b"z"),
    ]
    del values[2]["metadata"]["io_ports"]  # as of the zoo's oldest models
    path = tmp_path / "m.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    first, second, third = load_manifest(path)
    assert (first.model, first.stem, first.model_path) == ("Net 1", "net-12", "a/b/net-12.onnx")
    assert first.local_path == tmp_path / "a" / "b" / "net-12.onnx"
    assert first.address is None
    assert first.sha256 == hashlib.sha256(b"x").hexdigest()
    assert (second.size_bytes, second.onnx_version, second.opset_version) == (2, "1.12.0", 17)
    assert first.tags == ("vision", "test")
    assert first.io_ports == values[0]["metadata"]["io_ports"]
    assert third.io_ports is None
    assert first.recipe == Recipe(codec="palette", rules=(Rule("fc*", (("error_share", 0.1),)),))
    assert second.recipe == load_recipe("gentle")
    assert third.recipe is None


@pytest.mark.parametrize(
    "field",
    ["model", "model_path", "onnx_version", "opset_version", "metadata"],
)
def test_a_missing_field(field: str, refuse: Callable[..., str]) -> None:
    assert f"must have the field {field}, got none" in refuse(lambda entry: entry.pop(field))


@pytest.mark.parametrize("field", ["model_sha", "model_bytes"])
def test_a_missing_field_of_the_metadata(field: str, refuse: Callable[..., str]) -> None:
    message = refuse(lambda entry: entry["metadata"].pop(field))
    assert f"(Bad One): it must have the field metadata.{field}, got none" in message


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model": 3}, "model must be a text, got 3"),
        ({"model": "a\x1b[2J"}, "model must be printable"),
        ({"opset_version": "12"}, "opset_version must be a whole number, got '12'"),
        ({"opset_version": True}, "opset_version must be a whole number"),
        ({"metadata": []}, "metadata must be an object"),
    ],
)
def test_a_field_of_another_kind(
    changes: dict[str, Any], text: str, refuse: Callable[..., str]
) -> None:
    assert text in refuse(lambda entry: entry.update(changes))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model_sha": "12ab"}, "model_sha must be 64 hexadecimal digits"),
        ({"model_sha": "g" * 64}, "model_sha must be 64 hexadecimal digits"),
        ({"model_bytes": 0}, "model_bytes must be at least 1"),
        ({"model_bytes": 2**63}, "model_bytes must be below 2**63"),
        ({"tags": "vision"}, "tags must be texts"),
        ({"io_ports": "x"}, "metadata.io_ports must be an object, got 'x'"),
        ({"tags": ["\r"]}, "tags must be texts"),
        ({"wl_onnx": "gentle"}, "metadata.wl_onnx must be an object"),
        ({"wl_onnx": {"url": "file:///etc/passwd"}}, "url must begin with https://"),
        ({"wl_onnx": {"recipe": {"colour": 1}}}, "fields must be among"),
        ({"wl_onnx": {"recipe": {"clusters": 0}}}, "clusters must be a whole number"),
        ({"wl_onnx": {"recipe": "unknown"}}, "one of default, gentle, sparse, got 'unknown'"),
        ({"wl_onnx": {"recipe": "../recipes/gentle.toml"}}, "recipe must be fields of a recipe"),
    ],
)
def test_metadata_that_cannot_be(
    changes: dict[str, Any], text: str, refuse: Callable[..., str]
) -> None:
    assert text in refuse(lambda entry: entry["metadata"].update(changes))


@pytest.mark.parametrize(
    "path",
    [
        "../m.onnx", "a/../../m.onnx", "a/./m.onnx", "/etc/m.onnx", "", "a//m.onnx", "a/",
        "..\\m.onnx", "a\\m.onnx", "C:/m.onnx", "C:m.onnx", "m\n.onnx", "m\0.onnx", "..",
    ],
)  # fmt: skip
def test_a_path_that_leaves_its_folder(path: str, refuse: Callable[..., str]) -> None:
    message = refuse(lambda entry: entry.update(model_path=path))
    rule = "stay within its folder" if path.isprintable() else "be printable"
    assert f"model_path must {rule}, got {path!r}" in message


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "must be JSON"),
        ("[" * 100_000, "must be JSON"),
        ("\xff", "must be JSON"),
        ('{"models": []}', "must be a list of models, got dict"),
        ("[3]", "entry 0 of .*: it must be an object, got 3"),
    ],
)
def test_what_is_no_manifest(text: str, match: str, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=match):
        load_manifest(path)


def test_no_manifest(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(InputError, match="it must be a file that can be read"):
            load_manifest(path)


def test_a_manifest_from_the_web(server: WebServer, describe: Callable[..., Any]) -> None:
    values = [
        describe("Net", "a/net.onnx", b"x"),
        describe("Far", "far.onnx", b"y", url="https://example.org/far.onnx"),
    ]
    server.files["/models/M.json?raw=1"] = json.dumps(values).encode()
    near, far = load_manifest(f"{server.address}/models/M.json?raw=1")
    assert near.address == f"{server.address}/models/a/net.onnx"
    assert far.address == "https://example.org/far.onnx"
    with pytest.raises(InputError, match="got 404"):
        load_manifest(f"{server.address}/other.json")


def test_the_built_in_manifest() -> None:
    entries = {entry.stem: entry for entry in load_manifest()}
    assert list(entries) == [
        "lenet5", "bertsquad-12", "mobilenetv2-12", "resnet50-v1-12", "squeezenet1.0-12", "vgg16-12"
    ]  # fmt: skip
    for entry in entries.values():
        assert entry.recipe is not None
        assert entry.io_ports is not None
        assert (entry.address or "https://").startswith("https://")
        assert entry.stem == "lenet5" or str(entry.address).endswith(f"/{entry.stem}.onnx")
    assert entries["vgg16-12"].size_bytes == 553_437_752
    data = (ROOT / "models" / "lenet5.onnx").read_bytes()
    assert entries["lenet5"].sha256 == hashlib.sha256(data).hexdigest()
    assert entries["lenet5"].size_bytes == len(data)


def test_entries_are_values(tmp_path: Path, make_zoo: Callable[..., Path]) -> None:
    entries = load_manifest(make_zoo(2))
    assert copy.deepcopy(entries) == entries
