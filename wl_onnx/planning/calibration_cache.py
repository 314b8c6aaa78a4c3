"""A calibration in a file, so that the next compression of the same model need not repeat it."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError
from wl_onnx.graph import hash_source

if TYPE_CHECKING:
    from wl_onnx.graph import CompressibleModel

__all__ = ["hash_calibration", "load_row_weights", "save_row_weights"]

Feed = Mapping[str, npt.NDArray[Any]]
RowWeights = Mapping[str, npt.NDArray[np.float64]]

_FINGERPRINT = "fingerprint"
# Names of members may not be what names of weights may be.
_KEYS = "keys"


def save_row_weights(
    path: str | os.PathLike[str], row_weights: RowWeights, *, fingerprint: str
) -> None:
    """Writes what `calibrate` measured to an npz, through a temporary name.

    Args:
        path: the file; replaced where it is there.
        row_weights: by weight key, float64 `[num_groups, num_rows]`.
        fingerprint: what they were measured on, see `hash_calibration`.

    Raises:
        InputError: the file cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    arrays = {f"{index}": one for index, one in enumerate(row_weights.values())}
    try:
        with temporary.open("wb") as file:
            np.savez(
                file,
                allow_pickle=False,
                **{_FINGERPRINT: np.array(fingerprint), _KEYS: np.array(list(row_weights))},
                **arrays,
            )
        temporary.replace(target)
    except OSError as error:
        raise InputError(
            f"cannot write calibration {target}: it must be a writable file, got {error.strerror}"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def load_row_weights(path: str | os.PathLike[str], *, fingerprint: str) -> RowWeights:
    """Reads what `save_row_weights` wrote.

    Args:
        path: the file.
        fingerprint: what it must have been measured on.

    Raises:
        InputError: it cannot be read, is no calibration, or one of another model or other data.
    """
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            found = str(archive[_FINGERPRINT])
            keys = [str(key) for key in archive[_KEYS]]
            arrays = {key: np.asarray(archive[str(i)], np.float64) for i, key in enumerate(keys)}
    except FileNotFoundError as error:
        raise InputError(
            f"cannot read calibration {path}: it must be a readable file, got {error.strerror}"
        ) from error
    except (
        AttributeError, EOFError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        raise InputError(
            f"cannot read calibration {path}: it must be a whole file of a saved calibration, got "
            f"{error or type(error).__name__}"
        ) from error
    if found != fingerprint:
        raise InputError(
            f"cannot use calibration {path}: it must be of this model and these data "
            f"({fingerprint[:12]}), got one of others ({found[:12]}); delete it to calibrate again"
        )
    return arrays


def hash_calibration(model: CompressibleModel, feeds: Iterable[Feed], **settings: Any) -> str:
    """SHA-256 in hex of all that a calibration depends on.

    Args:
        model: what is run.
        feeds: what it is run on, in this order.
        **settings: whatever else changes it.
    """
    digest = hashlib.sha256(hash_source(model).encode())
    digest.update(repr(sorted(settings.items())).encode())
    for feed in feeds:
        for name in sorted(feed):
            array = np.ascontiguousarray(feed[name])
            digest.update(f"{name}{array.dtype}{array.shape}".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()
