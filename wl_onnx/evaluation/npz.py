"""Reading the arrays of an npz, as far as a model's inputs want them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError
from wl_onnx.evaluation.inputs import InputInfo, choose_arrays

__all__ = ["read_npz"]

Arrays = dict[str, npt.NDArray[Any]]

# What NumPy and zipfile raise on archives that were cut, changed, or hold pickled objects.
_DAMAGED = (
    ValueError,
    EOFError,
    MemoryError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_npz(path: Path, inputs: Sequence[InputInfo]) -> tuple[Arrays, set[str]]:
    """The arrays of the inputs, with `labels` if there are any, and the names of all arrays.

    Args:
        path: an .npz file.
        inputs: the inputs of the session.

    Raises:
        InputError: no npz, a damaged one, pickled objects, or an input without an array.
    """
    # np.load would leave a file open that it opened itself and then refuses.
    try:
        with path.open("rb") as file:
            return _read_archive(file, path, inputs)
    except FileNotFoundError as error:
        raise InputError(f"cannot read data {path}: it must be a file, got none") from error
    except OSError as error:
        raise InputError(
            f"cannot read data {path}: it must be an .npz file, got {error.strerror or error}"
        ) from error


def _read_archive(
    file: BinaryIO, path: Path, inputs: Sequence[InputInfo]
) -> tuple[Arrays, set[str]]:
    try:
        archive = np.load(file, allow_pickle=False)
    except _DAMAGED:
        archive = None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise InputError(
            f"cannot read data {path}: it must be an .npz file, got another kind of file"
        )
    names = set(archive.files)
    arrays: Arrays = {}
    for name in choose_arrays(inputs, names, str(path)):
        try:
            arrays[name] = archive[name]
        except _DAMAGED as error:
            raise InputError(
                f"cannot read array {name} of {path}: it must be a whole and plain array, got "
                f"{error or type(error).__name__}"
            ) from error
    return arrays, names
