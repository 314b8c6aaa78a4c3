"""Images and labels as `.npz` files have them, and what every dataset of images must be like."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from script_command import ScriptError

if TYPE_CHECKING:
    import numpy.typing as npt

NAMES = ("x_train", "y_train", "x_test", "y_test")


def read_npz(path: Path, *, expected: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays of `NAMES` in an `.npz` file.

    Args:
        path: of the file.
        expected: what `path` must be, for the message.

    Raises:
        ScriptError: the file is missing, damaged, or has no such arrays.
    """
    try:
        # Opened here: numpy leaves a file open that begins as an archive and is none.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array")
            with archive:
                return {name: archive[name] for name in NAMES}
    except KeyError as error:
        raise ScriptError(
            f"cannot read {path}: it must hold {', '.join(NAMES)}, got no such array: {error}"
        ) from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ScriptError(f"cannot read {path}: it must be {expected}, got: {reason}") from error


def check_arrays(
    arrays: dict[str, npt.NDArray[Any]], shape: tuple[int, ...], path: Path
) -> dict[str, npt.NDArray[np.uint8]]:
    """Images and labels that are as they must be.

    Args:
        arrays: those of `NAMES`.
        shape: of one image.
        path: where they are from, for the message.

    Returns:
        Images uint8 [n, *shape], at least one in each part, and labels uint8 [n] in 0..9.

    Raises:
        ScriptError: an array is not so.
    """
    checked = {}
    for split in ("train", "test"):
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
        if x.dtype != np.uint8 or x.shape[1:] != shape or not len(x):
            raise ScriptError(
                f"cannot read {path}: x_{split} must be uint8 [n, {', '.join(map(str, shape))}], "
                f"got {x.dtype} {list(x.shape)}"
            )
        if y.shape != (len(x),) or y.dtype.kind not in "iu" or y.min() < 0 or y.max() > 9:
            raise ScriptError(
                f"cannot read {path}: y_{split} must be {len(x)} whole numbers in 0..9, got "
                f"{y.dtype} {list(y.shape)}"
            )
        checked |= {f"x_{split}": x, f"y_{split}": y.astype(np.uint8)}
    return checked
