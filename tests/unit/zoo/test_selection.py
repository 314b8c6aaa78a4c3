"""Which models a name, a file or a folder stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from wl_onnx.errors import InputError
from wl_onnx.zoo import Entry, find_entries

MANIFEST = [
    Entry(model="BERT-Squad", model_path="text/bertsquad-10.onnx", source="s", opset_version=10),
    Entry(model="BERT-Squad", model_path="text/bertsquad-12.onnx", source="s", opset_version=12),
    Entry(model="BERT-Squad", model_path="text/bertsquad-8.onnx", source="s", opset_version=8),
    Entry(model="VGG 16", model_path="vision/vgg16-7.onnx", source="s", opset_version=7),
]


def find(*names: str | Path, **options: Path) -> list[str]:
    return [entry.model_path for entry in find_entries(names, MANIFEST, **options)]


def test_a_name_is_the_newest_version() -> None:
    assert find("bert-squad") == ["text/bertsquad-12.onnx"]
    assert find("BERTSQUAD-8") == ["text/bertsquad-8.onnx"]
    assert find("vgg 16", "vgg16-7") == ["vision/vgg16-7.onnx"]


def test_a_glob_is_all_that_match() -> None:
    assert len(find("bert*")) == 3
    assert len(find("*")) == 4
    assert find("vgg*", "bertsquad-8") == ["vision/vgg16-7.onnx", "text/bertsquad-8.onnx"]


@pytest.mark.parametrize(
    ("name", "near"), [("vgg16", "vgg16-7"), ("Bert Squad", "BERT-Squad"), ("zzz*", "bertsquad-10")]
)
def test_an_unknown_name_comes_with_near_ones(name: str, near: str) -> None:
    with pytest.raises(InputError, match=f"cannot find model .*got neither; near are .*{near}"):
        find(name)


def test_files_and_folders(tmp_path: Path) -> None:
    for name in ("b.onnx", "a.onnx", "deep/c.onnx", ".hidden/d.onnx", "out/e.onnx", "readme.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    assert find(tmp_path, leave_out=tmp_path / "out") == ["a.onnx", "b.onnx", "deep/c.onnx"]
    assert "out/e.onnx" in find(tmp_path)
    assert find(tmp_path / "deep" / "c.onnx") == ["c.onnx"]
    assert find(tmp_path, tmp_path / "a.onnx", leave_out=tmp_path / "out").count("a.onnx") == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="it must hold ONNX files, got none"):
        find(tmp_path / "empty")
    with pytest.raises(InputError, match="it must be a file or a folder, got none there"):
        find(str(tmp_path / "none.onnx"))
