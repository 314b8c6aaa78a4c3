"""What a model's inputs take, and whether arrays are that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError

__all__ = [
    "LABELS",
    "InputInfo",
    "check_array",
    "check_labels",
    "choose_arrays",
    "draw_array",
    "fixed_batch",
    "input_dtype",
]

LABELS = "labels"
"""Name of the array, beside those of the inputs, that holds the class of each sample."""

Array = npt.NDArray[Any]

_DTYPES: dict[str, np.dtype[Any]] = {
    f"tensor({name})": np.dtype(dtype)
    for name, dtype in {
        "float": np.float32,
        "double": np.float64,
        "float16": np.float16,
        "int8": np.int8,
        "int16": np.int16,
        "int32": np.int32,
        "int64": np.int64,
        "uint8": np.uint8,
        "uint16": np.uint16,
        "uint32": np.uint32,
        "uint64": np.uint64,
        "bool": np.bool_,
        "string": np.str_,
    }.items()
}


class InputInfo(Protocol):
    """An input as a session describes it (`onnxruntime.NodeArg`)."""

    @property
    def name(self) -> str:
        """The input's name."""

    @property
    def type(self) -> str:
        """Its type, such as `tensor(float)`."""

    @property
    def shape(self) -> Sequence[int | str | None]:
        """Its shape; a text or None where a dimension is symbolic."""


def input_dtype(info: InputInfo) -> np.dtype[Any]:
    """The NumPy dtype of the arrays that an input takes.

    Raises:
        InputError: it is no tensor, or of a type that NumPy lacks.
    """
    if info.type not in _DTYPES:
        raise InputError(
            f"cannot feed input {info.name}: it must be a tensor of a type that NumPy has, got "
            f"{info.type}"
        )
    return _DTYPES[info.type]


def choose_arrays(inputs: Sequence[InputInfo], names: set[str], origin: str) -> list[str]:
    """Names of the arrays to read: the inputs', and `labels` where it is there and no input.

    Args:
        inputs: the inputs of the session.
        names: the arrays that there are.
        origin: what an error calls the data.

    Raises:
        InputError: an input has no array, or the model has no inputs.
    """
    for info in inputs:
        if info.name not in names:
            raise InputError(
                f"cannot use {origin}: it must hold an array named {info.name} (the model's "
                f"inputs are {', '.join(i.name for i in inputs)}), got "
                f"{', '.join(sorted(names)) or 'nothing'}"
            )
    if not inputs:
        raise InputError(f"cannot use {origin}: the model must have inputs, got none")
    wanted = [info.name for info in inputs]
    return [*wanted, LABELS] if LABELS in names and LABELS not in wanted else wanted


def check_array(array: Array, info: InputInfo, origin: str, *, any_batch: bool) -> None:
    """Checks that an input takes an array.

    Args:
        array: what is to be fed.
        info: the input.
        origin: what an error calls the data.
        any_batch: whether axis 0 may have any length, even where the input's is fixed.

    Raises:
        InputError: another dtype or shape.
    """
    dtype = input_dtype(info)
    if array.dtype != dtype and not (dtype.kind == array.dtype.kind == "U"):
        raise InputError(
            f"cannot use {origin}: array {info.name} must be {dtype.name}, got {array.dtype.name}"
        )
    # onnxruntime gives [] for a scalar and for an unknown shape alike.
    if not info.shape:
        if any_batch and array.ndim == 0:
            raise InputError(
                f"cannot use {origin}: array {info.name} must have samples along axis 0, got a "
                "scalar"
            )
        return
    first = 1 if any_batch else 0
    fits = array.ndim == len(info.shape) and all(
        expected == size or not isinstance(expected, int)
        for expected, size in zip(info.shape[first:], array.shape[first:], strict=True)
    )
    if not fits:
        dims = ["samples" if any_batch else info.shape[0], *info.shape[1:]]
        shape = ", ".join("any" if dim is None else str(dim) for dim in dims)
        raise InputError(
            f"cannot use {origin}: array {info.name} must have the shape [{shape}], got "
            f"{list(array.shape)}"
        )


def check_labels(labels: Array, num_rows: int, origin: str) -> npt.NDArray[np.int64]:
    """The labels as int64 `[num_rows]`.

    Args:
        labels: one integer a sample.
        num_rows: number of samples.
        origin: what an error calls the data.

    Raises:
        InputError: no integers, or not one a sample.
    """
    if labels.dtype.kind not in "iu" or labels.shape != (num_rows,):
        raise InputError(
            f"cannot use {origin}: labels must be {num_rows} integers, one a sample, got "
            f"{labels.dtype.name} {list(labels.shape)}"
        )
    return labels.astype(np.int64)


def fixed_batch(inputs: Sequence[InputInfo], origin: str) -> int | None:
    """The batch that the inputs ask for; None where every one takes any number of rows.

    Raises:
        InputError: they ask for different ones.
    """
    sizes = {size for info in inputs for size in info.shape[:1] if isinstance(size, int)}
    if len(sizes) > 1 or 0 in sizes:
        raise InputError(
            f"cannot use {origin}: the model's inputs must share one batch size along axis 0, got "
            f"{', '.join(map(str, sorted(sizes)))}; give an iterable of feed dictionaries instead"
        )
    return sizes.pop() if sizes else None


def draw_array(info: InputInfo, rng: np.random.Generator) -> Array:
    """Random values for an input, as `random_feeds` describes them.

    Raises:
        InputError: see `input_dtype`.
    """
    dtype = input_dtype(info)
    shape = [size if isinstance(size, int) else 1 for size in info.shape]
    if dtype.kind == "f":
        return np.asarray(rng.standard_normal(shape)).astype(dtype)
    if dtype.kind == "U":
        return np.full(shape, "")
    if dtype.itemsize == 1 and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.asarray(rng.integers(limits.min, limits.max + 1, shape)).astype(dtype)
    return np.asarray(rng.integers(0, 2, shape)).astype(dtype)
