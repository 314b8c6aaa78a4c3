from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.marked_images import make_marked_images
from tests.model_scripts import load_script

cifar10 = load_script("cifar10")
ScriptError = load_script("script_command").ScriptError


def write_folder(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """CIFAR-10's binary version: of each image its label, then its red, green and blue planes."""
    splits = {"test_batch.bin": (arrays["x_test"], arrays["y_test"])}
    for index in range(5):
        part = slice(4 * index, 4 * index + 4)
        splits[f"data_batch_{index + 1}.bin"] = (arrays["x_train"][part], arrays["y_train"][part])
    for name, (images, labels) in splits.items():
        records = [
            bytes([label]) + b"".join(image[:, :, color].tobytes() for color in range(3))
            for image, label in zip(images, labels, strict=True)
        ]
        (folder / name).write_bytes(b"".join(records))


@pytest.mark.parametrize("form", ["npz", "binary"])
def test_cifar10_is_read_in_every_form(tmp_path: Path, form: str) -> None:
    arrays = make_marked_images(20, 12, (32, 32, 3))
    path = tmp_path
    if form == "npz":
        path = tmp_path / "cifar10.npz"
        np.savez(path, **arrays)
    else:
        write_folder(tmp_path, arrays)
    read = cifar10.read_cifar10(path)
    assert set(read) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)


def test_a_folder_that_holds_other_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"binary files, got no data_batch_1\.bin$"):
        cifar10.read_cifar10(tmp_path)
    write_folder(tmp_path, make_marked_images(20, 12, (32, 32, 3)))
    damaged = tmp_path / "data_batch_3.bin"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(ScriptError, match=r"must hold records of 3073 bytes, got 12291 bytes$"):
        cifar10.read_cifar10(tmp_path)


def test_images_become_normalized_planes() -> None:
    images = make_marked_images(20, 12, (32, 32, 3))["x_test"]
    x = cifar10.to_input(images)
    assert x.shape == (12, 3, 32, 32)
    assert x.dtype == np.float32
    for color, (mean, deviation) in enumerate(
        zip((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), strict=True)
    ):
        expected = (images[..., color] / 255 - mean) / deviation
        np.testing.assert_allclose(x[:, color], expected, atol=1e-6)
