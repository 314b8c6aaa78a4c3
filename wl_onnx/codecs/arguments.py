"""What the codecs share: checks of arguments, and the errors of the compiled core as ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import BlobError, EncodeError, InputError
from wl_onnx.kernels.native import core

__all__ = [
    "CODEBOOK_TYPES",
    "Blob",
    "call_core",
    "to_bytes",
    "to_centroids",
    "to_choice",
    "to_integers",
    "to_name",
    "to_output",
]

CODEBOOK_TYPES = {"float32": 1, "float16": 10}
"""How centroids are stored, by ONNX's numbers of the types."""

Blob = bytes | bytearray | memoryview | npt.NDArray[np.uint8]

_Result = TypeVar("_Result")


def call_core(action: str, work: Callable[[], _Result], *, advice: str = "") -> _Result:
    """What a call of the compiled core gives; its exceptions become ours.

    Args:
        action: what is done, as an error names it: "decode blob".
        work: calls the core.
        advice: what to do where an encoding does not succeed.

    Raises:
        InputError: the core refused an argument.
        BlobError: it found a blob damaged.
        EncodeError: an encoding did not succeed.
    """
    module = core()
    try:
        return work()
    except module.InvalidArgumentError as error:
        raise InputError(f"cannot {action}: {error}") from error
    except module.DamagedError as error:
        raise BlobError(f"cannot {action}: {error}") from error
    except module.FailedError as error:
        raise EncodeError(f"cannot {action}: {error}{advice}") from error


def to_bytes(blob: Blob) -> npt.NDArray[np.uint8]:
    """A blob as an array of its bytes, not copied."""
    return np.frombuffer(blob, np.uint8) if not isinstance(blob, np.ndarray) else blob


def to_output(out: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The bytes of an array that is decoded into.

    Raises:
        InputError: it is not contiguous or not writable.
    """
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise InputError("cannot decode blob: out must be contiguous and writable, got another")
    return out.reshape(-1).view(np.uint8)


def to_integers(values: npt.ArrayLike, dtype: type[np.unsignedinteger[Any]], name: str) -> Any:
    """Integers [n] of any type as `dtype`.

    Args:
        values: what the caller gave.
        dtype: an unsigned integer type.
        name: what an error calls them.

    Raises:
        InputError: they are no integers, have another rank, or do not fit.
    """
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "ui"):
        raise InputError(
            f"cannot encode weights: {name} must be integers [n], "
            f"got {array.dtype} {list(array.shape)}"
        )
    limit = np.iinfo(dtype).max
    if array.size and array.dtype != dtype and (int(array.min()) < 0 or int(array.max()) > limit):
        raise InputError(
            f"cannot encode weights: {name} must be from 0 to {limit}, "
            f"got {int(array.min())} to {int(array.max())}"
        )
    return np.ascontiguousarray(array, dtype)


def to_centroids(codebook: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """A codebook as float32 [c].

    Raises:
        InputError: it has another rank.
    """
    with np.errstate(over="ignore"):  # the core refuses what is infinite then
        array = np.ascontiguousarray(codebook, np.float32)
    if array.ndim != 1:
        raise InputError(
            f"cannot encode weights: codebook must be floats [c], got shape {list(array.shape)}"
        )
    return array


def to_choice(value: str, choices: dict[str, int], name: str) -> int:
    """The number of a choice.

    Args:
        value: what the caller gave.
        choices: numbers by name.
        name: what an error calls it.

    Raises:
        InputError: `value` is none of them.
    """
    if value not in choices:
        *first, last = choices
        raise InputError(
            f"cannot encode weights: {name} must be {', '.join(first)} or {last}, got {value!r}"
        )
    return choices[value]


def to_name(number: int, choices: dict[str, int]) -> str:
    """The name of a choice by its number."""
    return next(name for name, code in choices.items() if code == number)
