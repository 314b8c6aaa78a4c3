"""Moments of a layer's input, and the file that keeps them."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError
from wl_onnx.graph import hash_source

if TYPE_CHECKING:
    from wl_onnx.graph import CompressibleModel

__all__ = ["Moments", "hash_calibration", "load_moments", "save_moments"]

Feed = Mapping[str, npt.NDArray[Any]]
Float64 = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Moments:
    """Moments of a layer's input x, over samples and places.

    Attributes:
        second: mean of x x^T, float64 `[num_groups, k, k]`; `[num_groups, k]`, its diagonal,
            where x is one-hot (Gather).
        mean: mean of x, float64 `[num_groups, k]`.
        num_samples: how many inputs x were seen, in each group.
        cross: mean of r x^T with r the input in the reference model, `[num_groups, k, k]`; None
            where there is no reference.
        reference_mean: mean of r, `[num_groups, k]`, or None.
        skip_cross: mean of d x^T, `[num_groups, num_rows, k]`, with d what the layer's skip value
            is in the reference model minus what it is now, at the same samples and places; None
            where there is no reference, or no skip value of the shape of the layer's output.
        skip_shift: mean of d, `[num_groups, num_rows]`, which the bias makes up for, or None.
    """

    second: Float64
    mean: Float64
    num_samples: int
    cross: Float64 | None = None
    reference_mean: Float64 | None = None
    skip_cross: Float64 | None = None
    skip_shift: Float64 | None = None

    @property
    def is_diagonal(self) -> bool:
        """Whether `second` is a diagonal."""
        return self.second.ndim == 2

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (getattr(self, name) for name in _ARRAYS)
        return sum(array.nbytes for array in arrays if array is not None)


def save_moments(
    path: str | os.PathLike[str],
    moments: Iterable[tuple[tuple[str, ...], Moments]],
    *,
    fingerprint: str,
) -> None:
    """Writes moments to an npz, each as it comes, through a temporary name.

    Args:
        path: the file; replaced where it is there.
        moments: as `observe_moments` gives them.
        fingerprint: what they were observed on, see `hash_calibration`.

    Raises:
        InputError: the file cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        with zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
            _write(archive, "fingerprint", np.array(fingerprint))
            for index, (keys, one) in enumerate(moments):
                _write(archive, f"{index}/keys", np.array(keys))
                _write(archive, f"{index}/num_samples", np.array(one.num_samples))
                for name in _ARRAYS:
                    array = getattr(one, name)
                    if array is not None:
                        _write(archive, f"{index}/{name}", array)
        temporary.replace(target)
    except OSError as error:
        raise InputError(
            f"cannot write calibration {target}: it must be a writable file, got {error.strerror}"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def load_moments(path: str | os.PathLike[str], *, fingerprint: str) -> Mapping[str, Moments]:
    """Moments by weight key from a file of `save_moments`, each read when it is asked for.

    Args:
        path: the file.
        fingerprint: what they must have been observed on.

    Raises:
        InputError: no such file, no calibration, or one of another model or other data.
    """
    try:
        file = Path(path).open("rb")  # noqa: SIM115  kept open for what is read later
    except OSError as error:
        raise InputError(
            f"cannot read calibration {path}: it must be a readable file, got {error.strerror}"
        ) from error
    try:
        archive = np.load(file, allow_pickle=False)
        found = str(archive["fingerprint"])
        keys = {
            str(key): name.split("/")[0]
            for name in archive.files
            if name.endswith("/keys")
            for key in archive[name]
        }
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        file.close()
        raise InputError(
            f"cannot read calibration {path}: it must be a whole file of saved moments, got "
            f"{error or type(error).__name__}"
        ) from error
    if found != fingerprint:
        file.close()
        raise InputError(
            f"cannot use calibration {path}: it must be of this model and these data "
            f"({fingerprint[:12]}), got one of others ({found[:12]}); delete it to calibrate again"
        )
    return _Saved(file, archive, keys)


def hash_calibration(model: CompressibleModel, feeds: Iterable[Feed], **settings: Any) -> str:
    """SHA-256 in hex of all that moments depend on.

    Args:
        model: what is run.
        feeds: what it is run on, in this order.
        **settings: further arguments of `observe_moments`, such as `max_places` and `seed`.
    """
    digest = hashlib.sha256(hash_source(model).encode())
    digest.update(repr(sorted(settings.items())).encode())
    for feed in feeds:
        for name in sorted(feed):
            array = np.ascontiguousarray(feed[name])
            digest.update(f"{name}{array.dtype}{array.shape}".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


_ARRAYS = ("second", "mean", "cross", "reference_mean", "skip_cross", "skip_shift")


def _write(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array(file, np.asarray(array, order="C"), allow_pickle=False)


class _Saved(Mapping[str, Moments]):
    def __init__(self, file: BinaryIO, archive: Any, keys: Mapping[str, str]) -> None:
        self._file = file
        self._archive = archive
        self._keys = keys

    def __del__(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __getitem__(self, key: str) -> Moments:
        index = self._keys[key]
        arrays = {name: self._archive.get(f"{index}/{name}") for name in _ARRAYS}
        num_samples = int(self._archive[f"{index}/num_samples"])
        return Moments(num_samples=num_samples, **arrays)
