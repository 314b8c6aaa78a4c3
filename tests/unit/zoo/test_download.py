"""Downloads: whole and right, resumed, or refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tests.web_server import WebServer
from wl_onnx.errors import InputError
from wl_onnx.zoo.download import download, fetch_bytes

BODY = np.random.default_rng(0).bytes(700_000)
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def url(server: WebServer) -> str:
    server.files["/m.onnx"] = BODY
    return f"{server.address}/m.onnx"


def load(url: str, folder: Path, **changes: object) -> Path:
    target = folder / "m.onnx"
    wanted: dict[str, object] = {"sha256": SHA, "size_bytes": len(BODY), **changes}
    download(url, target, **wanted)  # type: ignore[arg-type]
    return target


def refuse(url: str, folder: Path, match: str, **changes: object) -> None:
    with pytest.raises(InputError, match=match) as error:
        load(url, folder, **changes)
    assert "\n" not in str(error.value)
    assert not (folder / "m.onnx").exists()


def test_a_file_comes_with_progress(url: str, server: WebServer, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    target = load(url, tmp_path, progress=lambda *call: calls.append(call))
    assert target.read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)
    assert calls[-1] == ("m.onnx", len(BODY), len(BODY))
    assert server.ranges == [""]


def test_a_cut_download_goes_on_where_it_ended(url: str, server: WebServer, tmp_path: Path) -> None:
    server.cut_bytes = [300_000, 200_000]
    assert load(url, tmp_path).read_bytes() == BODY
    assert server.ranges == ["", "bytes=300000-", "bytes=500000-"]


def test_a_part_of_an_earlier_call_is_used(url: str, server: WebServer, tmp_path: Path) -> None:
    (tmp_path / "m.onnx.part").write_bytes(BODY[:650_000])
    assert load(url, tmp_path).read_bytes() == BODY
    assert server.ranges == ["bytes=650000-"]


def test_without_ranges_it_begins_anew(url: str, server: WebServer, tmp_path: Path) -> None:
    server.takes_ranges = False
    server.cut_bytes = [300_000]
    assert load(url, tmp_path).read_bytes() == BODY
    assert len(server.ranges) == 2


def test_what_is_always_cut_short_is_refused(url: str, server: WebServer, tmp_path: Path) -> None:
    server.takes_ranges = False
    server.cut_bytes = [300_000] * 9
    refuse(url, tmp_path, "must have 700000 bytes, got 300000 .* goes on from there")
    assert len(server.ranges) < 9
    assert (tmp_path / "m.onnx.part").stat().st_size == 300_000
    server.cut_bytes = []
    assert load(url, tmp_path).read_bytes() == BODY


def test_a_wrong_checksum_is_refused_and_nothing_stays(url: str, tmp_path: Path) -> None:
    refuse(url, tmp_path, f"SHA-256 must be {'0' * 64}, got {SHA}", sha256="0" * 64)
    assert not list(tmp_path.iterdir())


def test_a_larger_file_is_refused_before_it_is_there(
    url: str, server: WebServer, tmp_path: Path
) -> None:
    refuse(url, tmp_path, "SHA-256 must be .* of 1001 bytes", size_bytes=1000)
    assert not list(tmp_path.iterdir())


def test_a_damaged_part_is_refused_once(url: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx.part").write_bytes(bytes(1000))
    refuse(url, tmp_path, "SHA-256 must be")
    assert load(url, tmp_path).read_bytes() == BODY


def test_a_part_that_is_too_long_goes(url: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx.part").write_bytes(bytes(len(BODY) + 5))
    assert load(url, tmp_path).read_bytes() == BODY


def test_a_file_that_became_shorter_is_refused(url: str, server: WebServer, tmp_path: Path) -> None:
    (tmp_path / "m.onnx.part").write_bytes(BODY[:650_000])
    server.files["/m.onnx"] = BODY[:600_000]
    refuse(url, tmp_path, "must have 700000 bytes, got")


def test_what_is_not_there_is_refused(server: WebServer, tmp_path: Path) -> None:
    refuse(f"{server.address}/none.onnx", tmp_path, "must give it, got 404")


def test_nobody_answers(tmp_path: Path) -> None:
    refuse(
        "http://127.0.0.1:1/m.onnx", tmp_path, "the server must answer, got .*; without a network"
    )


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://host/m.onnx", "m.onnx"])
def test_only_the_web_is_loaded_from(address: str, tmp_path: Path) -> None:
    refuse(address, tmp_path, "must begin with https:// or http://")


@pytest.mark.parametrize("where", ["file:///etc/passwd", "ftp://127.0.0.1/m.onnx"])
def test_a_redirect_elsewhere_is_refused(where: str, server: WebServer, tmp_path: Path) -> None:
    server.redirects["/old.onnx"] = where
    refuse(f"{server.address}/old.onnx", tmp_path, "(?i)redirect")


def test_a_redirect_is_followed(url: str, server: WebServer, tmp_path: Path) -> None:
    server.redirects["/old.onnx"] = url
    assert load(f"{server.address}/old.onnx", tmp_path).read_bytes() == BODY


def test_small_files(url: str, server: WebServer) -> None:
    assert fetch_bytes(url, max_bytes=len(BODY)) == BODY
    with pytest.raises(InputError, match="must have at most 699999 bytes"):
        fetch_bytes(url, max_bytes=len(BODY) - 1)
    server.cut_bytes = [10]
    with pytest.raises(InputError, match="must"):
        fetch_bytes(url, max_bytes=len(BODY))
    with pytest.raises(InputError, match="got 404"):
        fetch_bytes(f"{server.address}/none", max_bytes=9)
