"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from wl_onnx.errors import InputError
from wl_onnx.files import (
    check_side_file,
    data_path,
    hash_file,
    rename_both,
    temporary_beside,
)


def test_a_checksum(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000  # more than is read at a time
    (tmp_path / "a").write_bytes(content)
    assert hash_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    model, taken = tmp_path / "m.onnx", tmp_path / "taken.json"
    taken.write_bytes(b"")
    cases = [
        (tmp_path / "." / "m.onnx", "the plan must have a path of its own, got .*m.onnx"),
        (tmp_path, "the plan must be a file, got a directory"),
        (tmp_path / "none" / "p.json", "its folder must exist, got .*none"),
        (taken, "the plan must not exist, got a file there; force replaces it"),
    ]
    for path, message in cases:
        with pytest.raises(InputError, match=message):
            check_side_file(path, [model], "plan", force=False)
    check_side_file(taken, [model], "plan", force=True)
    check_side_file(tmp_path / "p.json", [model], "plan", force=False)


def test_a_temporary_file_is_gone_unless_it_was_renamed(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    with pytest.raises(KeyboardInterrupt), temporary_beside(target) as path:  # noqa: PT012
        path.write_bytes(b"half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with temporary_beside(target) as path:
        path.write_bytes(b"whole")
        path.replace(target)
    assert [one.read_bytes() for one in tmp_path.iterdir()] == [b"whole"]


@pytest.mark.parametrize("earlier", [True, False])
def test_data_do_not_stay_without_their_model(earlier: bool, tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    model, data = tmp_path / "new", tmp_path / "new.data"
    model.write_bytes(b"model")
    data.write_bytes(b"data")
    if earlier:
        data_path(target).write_bytes(b"earlier")
    target.mkdir()  # nothing can be renamed to it
    with pytest.raises(OSError, match=r"m\.onnx"):
        rename_both(model, data, target)
    assert data_path(target).exists() == earlier
    target.rmdir()
    data.write_bytes(b"data")
    rename_both(model, data, target)
    assert (target.read_bytes(), data_path(target).read_bytes()) == (b"model", b"data")
