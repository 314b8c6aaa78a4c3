"""Files of models: beside a manifest, in the cache, from the web."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.web_server import WebServer
from wl_onnx.errors import InputError
from wl_onnx.zoo import Entry, load_manifest
from wl_onnx.zoo.obtain import default_cache, obtain


def test_a_file_beside_its_manifest(make_zoo: Callable[..., Path], tmp_path: Path) -> None:
    manifest = make_zoo(1)
    (entry,) = load_manifest(manifest)
    assert obtain(entry, tmp_path / "cache") == manifest.parent / "a" / "m0.onnx"
    assert not (tmp_path / "cache").exists()


def test_another_file_than_the_manifest_speaks_of(
    make_zoo: Callable[..., Path], tmp_path: Path
) -> None:
    manifest = make_zoo(1)
    (entry,) = load_manifest(manifest)
    entry.local_path.write_bytes(b"other")
    with pytest.raises(InputError, match=r"its SHA-256 must be .* as the manifest has it, got"):
        obtain(entry, tmp_path)
    entry.local_path.unlink()
    with pytest.raises(InputError, match="it must be a file, got none there"):
        obtain(entry, tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_a_link_out_of_the_folder(make_zoo: Callable[..., Path], tmp_path: Path) -> None:
    (entry,) = load_manifest(make_zoo(1))
    inside = entry.local_path
    outside = tmp_path / "outside.onnx"
    inside.rename(outside)
    inside.symlink_to(outside)
    with pytest.raises(InputError, match="must stay within its folder, got a link to"):
        obtain(entry, tmp_path)
    # Who names a link means the file behind it.
    assert obtain(Entry("m0", "m0.onnx", str(inside.parent)), tmp_path) == inside


def test_downloads_are_kept(
    server: WebServer, describe: Callable[..., Any], tmp_path: Path
) -> None:
    server.files["/z/M.json"] = json.dumps([describe("Net", "a/net.onnx", b"weights")]).encode()
    server.files["/z/a/net.onnx"] = b"weights"
    (entry,) = load_manifest(f"{server.address}/z/M.json")
    path = obtain(entry, tmp_path)
    assert path.read_bytes() == b"weights"
    assert path.is_relative_to(tmp_path)
    count = len(server.ranges)
    assert obtain(entry, tmp_path) == path
    assert len(server.ranges) == count
    path.write_bytes(b"damaged")
    assert obtain(entry, tmp_path).read_bytes() == b"weights"
    with pytest.raises(InputError, match="must give its SHA-256 and its size"):
        obtain(dataclasses.replace(entry, sha256=None), tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="the cache must be writable"):
        obtain(entry, tmp_path / "file")


def test_where_downloads_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform not in ("win32", "darwin"):
        monkeypatch.setenv("XDG_CACHE_HOME", "/var/caches")
        assert default_cache() == Path("/var/caches/wl-onnx/zoo")
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert default_cache() == Path.home() / ".cache" / "wl-onnx" / "zoo"
    assert default_cache().parts[-2:] == ("wl-onnx", "zoo")
