from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from tests.marked_images import make_marked_images
from tests.model_scripts import load_script

mnist = load_script("mnist")
ScriptError = load_script("script_command").ScriptError


def idx_bytes(array: np.ndarray) -> bytes:
    sizes = np.array(array.shape, ">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


@pytest.mark.parametrize(
    ("form", "suffix"), [("idx", ""), ("idx", ".gz"), ("dotted", ".gz"), ("npz", "")]
)
def test_mnist_is_read_in_every_form(tmp_path: Path, form: str, suffix: str) -> None:
    arrays = make_marked_images(30, 20)
    path = tmp_path
    if form == "npz":
        path = tmp_path / "mnist.npz"
        np.savez(path, **arrays)
    else:
        for name, stem in mnist.FILES.items():
            data = idx_bytes(arrays[name])
            stem = stem.replace("-idx", ".idx") if form == "dotted" else stem
            (tmp_path / f"{stem}{suffix}").write_bytes(gzip.compress(data) if suffix else data)
    read = mnist.read_mnist(path)
    assert set(read) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], r"\[30, 28, 28\] must be followed by 23520 bytes, got 23519"),
        (lambda data: b"\0\0\x0d" + data[3:], "must begin with 00 00 08, got 00 00 0d 03"),
        (lambda data: data[:9], "must begin with 00 00 08, got 00 00 08 03"),
        (lambda _: b"", "must begin with 00 00 08, got nothing"),
        (lambda data: idx_bytes(np.frombuffer(data, np.uint8)), r"must be uint8 \[n, 28, 28\]"),
    ],
)
def test_a_damaged_idx_file_is_refused(tmp_path: Path, change: object, message: str) -> None:
    for name, stem in mnist.FILES.items():
        (tmp_path / stem).write_bytes(idx_bytes(make_marked_images(30, 20)[name]))
    damaged = tmp_path / mnist.FILES["x_train"]
    damaged.write_bytes(change(damaged.read_bytes()))
    with pytest.raises(ScriptError, match=f"^cannot read .*{message}"):
        mnist.read_mnist(tmp_path)


def test_a_folder_that_holds_other_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"four files, got no train-images-idx3-ubyte\[.gz\]$"):
        mnist.read_mnist(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(ScriptError, match="it must be a gzip file"):
        mnist.read_mnist(tmp_path)


def test_images_become_planes_of_shares() -> None:
    images = make_marked_images(1, 20)["x_test"]
    x = mnist.to_input(images)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, images[:, None] / np.float32(255))
