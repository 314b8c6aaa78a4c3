"""What an interrupted fine-tuning goes on from: a file that is replaced whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from wl_onnx.errors import InputError
from wl_onnx.files import temporary_beside

if TYPE_CHECKING:
    from wl_onnx.finetune.training_data import TrainingData

__all__ = ["Checkpoint", "Fingerprint", "hash_data"]

_FORMAT = "wl_onnx.finetune 1"
_PLAIN = frozenset((bool, bytes, float, int, str, type(None)))

# What torch raises on files that were cut, changed, or hold anything but plain values.
_DAMAGED = (
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What two runs must have in common for one to go on from the other.

    Attributes:
        model: SHA-256 of the original, in hexadecimal.
        recipe: the recipe and the targets, as text.
        data: SHA-256 of the training data; see `hash_data`.
        seed: the run's seed.
    """

    model: str
    recipe: str
    data: str
    seed: int


class Checkpoint:
    """A file that keeps the state of a run.

    A state is a dictionary by text of tensors, texts, bytes, numbers, booleans and None, and of
    lists, tuples and dictionaries of them. Tensors come back on the CPU.

    Args:
        path: of the file; its folder must exist.
        fingerprint: of the run.

    Raises:
        InputError: no file can be at the path.
    """

    def __init__(self, path: str | os.PathLike[str], fingerprint: Fingerprint) -> None:
        self.path = Path(path)
        self._fingerprint = dataclasses.asdict(fingerprint)
        if self.path.is_dir():
            raise InputError(
                f"cannot keep checkpoints in {path}: it must be a file, got a directory"
            )
        if not self.path.parent.is_dir():
            raise InputError(
                f"cannot keep checkpoints in {path}: its folder must exist, got {self.path.parent}"
            )

    def save(self, state: Mapping[str, Any]) -> None:
        """Replaces the file; whatever happens, the old one or the new one is there whole.

        Args:
            state: what `load` is to give.

        Raises:
            InputError: the file cannot be written.
            TypeError: a value is not of the kinds that can be read back.
        """
        _check_plain(state, "state")
        content = {"format": _FORMAT, "fingerprint": self._fingerprint, "state": dict(state)}
        try:
            with temporary_beside(self.path) as temporary:
                with temporary.open("wb") as file:
                    torch.save(content, file)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(self.path)
        except OSError as error:
            raise InputError(
                f"cannot write checkpoint {self.path}: there must be room and the right to write, "
                f"got {error.strerror or error}"
            ) from error

    def load(self) -> dict[str, Any] | None:
        """The state that was saved last, or None where there is no file.

        Raises:
            InputError: the file is of another run, damaged, or something else.
        """
        if not self.path.exists():
            return None
        try:
            with self.path.open("rb") as file:
                content = torch.load(file, map_location="cpu", weights_only=True)
            is_ours = content["format"] == _FORMAT
            fingerprint, state = dict(content["fingerprint"]), dict(content["state"])
        except OSError as error:
            raise InputError(
                f"cannot read checkpoint {self.path}: it must be readable, got {error.strerror}"
            ) from error
        except _DAMAGED as error:
            raise self._refuse_file() from error
        if not is_ours:
            raise self._refuse_file()
        others = [k for k, v in self._fingerprint.items() if fingerprint.get(k) != v]
        if others:
            raise InputError(
                f"cannot go on from checkpoint {self.path}: it must be of the same run, got one "
                f"with another {', '.join(others)}; remove it to begin anew, or name another file"
            )
        return state

    def remove(self) -> None:
        """Removes the file, if there is one."""
        self.path.unlink(missing_ok=True)

    def _refuse_file(self) -> InputError:
        return InputError(
            f"cannot read checkpoint {self.path}: it must be one that this version wrote, got a "
            "damaged or another kind of file; remove it to begin anew"
        )


def hash_data(data: TrainingData) -> str:
    """SHA-256 of names, types, shapes and values of all arrays, in hexadecimal.

    Args:
        data: the samples; their order counts.
    """
    digest = hashlib.sha256()
    arrays = {**data.inputs} if data.labels is None else {**data.inputs, "": data.labels}
    for name, array in arrays.items():
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _check_plain(value: Any, where: str) -> None:
    """Refuses now what `torch.load(weights_only=True)` would refuse when the state is needed."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            _check_plain(key, f"a key of {where}")
            _check_plain(entry, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, entry in enumerate(value):
            _check_plain(entry, f"{where}[{index}]")
    elif type(value) not in _PLAIN and type(value) is not torch.Tensor:
        raise TypeError(
            f"cannot keep {where}: it must be a tensor or a plain value, got {type(value).__name__}"
        )
