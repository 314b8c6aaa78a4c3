"""MNIST: its arrays, and its images as a network takes them."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from image_arrays import check_arrays, read_npz
from script_command import ScriptError

if TYPE_CHECKING:
    import numpy.typing as npt

IMAGE_SIZE = 28

FILES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}

_EXPECTED = "an .npz file or a folder with MNIST's four files"


def read_mnist(path: Path) -> dict[str, npt.NDArray[np.uint8]]:
    """MNIST as x_train, y_train, x_test and y_test.

    Args:
        path: an `.npz` with arrays of these four names, or a folder with the four original files
            (`train-images-idx3-ubyte` and so on, compressed with gzip or not).

    Returns:
        Images uint8 [n, 28, 28] and labels uint8 [n] in 0..9.

    Raises:
        ScriptError: a file is missing, damaged, or does not hold MNIST's shapes.
    """
    is_folder = path.is_dir()
    arrays = _read_folder(path) if is_folder else read_npz(path, expected=_EXPECTED)
    return check_arrays(arrays, (IMAGE_SIZE, IMAGE_SIZE), path)


def _read_folder(folder: Path) -> dict[str, npt.NDArray[Any]]:
    arrays = {}
    for name, stem in FILES.items():
        stems = (stem, stem.replace("-idx", ".idx"))
        candidates = [folder / f"{s}{suffix}" for s in stems for suffix in ("", ".gz")]
        path = next((c for c in candidates if c.is_file()), None)
        if path is None:
            raise ScriptError(
                f"cannot read {folder}: it must hold MNIST's four files, got no {stem}[.gz]"
            )
        arrays[name] = read_idx(path)
    return arrays


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """The array in an idx file of unsigned bytes, compressed with gzip or not.

    Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database": two zero bytes, 8 for unsigned
    bytes, the number of dimensions, each dimension as a big-endian uint32, the data.

    Raises:
        ScriptError: the file is damaged or holds another type.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ScriptError(f"cannot read {path}: it must be a gzip file, got: {error}") from error
    if len(data) < 4 or data[:3] != b"\0\0\x08" or len(data) < 4 + 4 * data[3]:
        raise ScriptError(
            f"cannot read {path}: an idx file of bytes must begin with 00 00 08, got "
            f"{data[:4].hex(' ') or 'nothing'}"
        )
    header = 4 + 4 * data[3]
    shape = [int(size) for size in np.frombuffer(data[4:header], ">u4")]
    if len(data) - header != math.prod(shape):
        raise ScriptError(
            f"cannot read {path}: {shape} must be followed by {math.prod(shape)} bytes, got "
            f"{len(data) - header}"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def to_input(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Images uint8 [n, 28, 28] as the networks' input, float32 [n, 1, 28, 28] in 0..1."""
    return images[:, np.newaxis].astype(np.float32) / np.float32(255)
