"""CIFAR-10: its arrays, and its images as a network takes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from image_arrays import check_arrays, read_npz
from script_command import ScriptError

if TYPE_CHECKING:
    import numpy.typing as npt

IMAGE_SIZE = 32
MEAN = (0.4914, 0.4822, 0.4465)
DEVIATION = (0.2470, 0.2435, 0.2616)


def read_cifar10(path: Path) -> dict[str, npt.NDArray[np.uint8]]:
    """CIFAR-10 as x_train, y_train, x_test and y_test.

    Args:
        path: an `.npz` with arrays of these four names, or the folder `cifar-10-batches-bin` of the
            binary version.

    Returns:
        Images uint8 [n, 32, 32, 3] in RGB and labels uint8 [n] in 0..9.

    Raises:
        ScriptError: a file is missing, damaged, or does not hold CIFAR-10's shapes.
    """
    arrays = _read_folder(path) if path.is_dir() else read_npz(path, expected="an .npz file")
    return check_arrays(arrays, (IMAGE_SIZE, IMAGE_SIZE, 3), path)


def _read_folder(folder: Path) -> dict[str, npt.NDArray[np.uint8]]:
    """The binary version: of each image a byte for the label, then red, green and blue planes."""
    files = {
        "train": [folder / f"data_batch_{index}.bin" for index in range(1, 6)],
        "test": [folder / "test_batch.bin"],
    }
    arrays = {}
    record_bytes = 1 + 3 * IMAGE_SIZE**2
    for split, paths in files.items():
        records = []
        for path in paths:
            try:
                data = np.fromfile(path, np.uint8)
            except OSError as error:
                raise ScriptError(
                    f"cannot read {folder}: it must hold CIFAR-10's binary files, got no "
                    f"{path.name}"
                ) from error
            if not data.size or data.size % record_bytes:
                raise ScriptError(
                    f"cannot read {path}: it must hold records of {record_bytes} bytes, got "
                    f"{data.size} bytes"
                )
            records.append(data.reshape(-1, record_bytes))
        table = np.concatenate(records)
        planes = table[:, 1:].reshape(-1, 3, IMAGE_SIZE, IMAGE_SIZE)
        arrays[f"x_{split}"] = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
        arrays[f"y_{split}"] = table[:, 0].copy()
    return arrays


def to_input(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Images uint8 [n, 32, 32, 3] as the network's input, float32 [n, 3, 32, 32]."""
    scaled = images.astype(np.float32) / np.float32(255)
    normal = (scaled - np.float32(MEAN)) / np.float32(DEVIATION)
    return np.ascontiguousarray(normal.transpose(0, 3, 1, 2))
