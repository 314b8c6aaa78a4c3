"""Arrays named after a model's inputs, samples along axis 0, with their labels."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError
from wl_onnx.evaluation.inputs import (
    LABELS,
    InputInfo,
    check_array,
    check_labels,
    choose_arrays,
    fixed_batch,
)
from wl_onnx.evaluation.npz import read_npz

__all__ = ["Samples", "read_samples"]

_LOG = logging.getLogger(__name__)

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Samples:
    """Samples that fit a model's inputs.

    Attributes:
        inputs: one array for each input, by its name, in the order of the inputs; all of the same
            length along axis 0, which is a multiple of `fixed_batch`.
        labels: class of each sample, int64 `[num_samples]`, or None.
        fixed_batch: rows that the model wants at a time; None where it takes any number.
        num_dropped: samples left out because they did not fill a batch.
    """

    inputs: dict[str, Array]
    labels: npt.NDArray[np.int64] | None
    fixed_batch: int | None
    num_dropped: int = 0

    @property
    def num_samples(self) -> int:
        """How many there are."""
        return len(next(iter(self.inputs.values())))


def read_samples(
    source: str | os.PathLike[str] | Mapping[str, Array], inputs: Sequence[InputInfo]
) -> Samples:
    """Samples from arrays named after the inputs, `labels` beside them.

    An array named `labels`, unless an input has that name, holds the class of each sample. Other
    arrays are ignored with a warning, and so is a rest that does not fill a fixed batch.

    Args:
        source: path of an npz, or the arrays by name.
        inputs: the inputs of the session.

    Raises:
        InputError: not an npz, pickled objects, an input without an array, a wrong dtype or
            shape, lengths that differ, or fewer samples than one batch.
    """
    if isinstance(source, Mapping):
        origin = "data"
        names = set(source)
        arrays = {name: np.asarray(source[name]) for name in choose_arrays(inputs, names, origin)}
    else:
        origin = str(source)
        arrays, names = read_npz(Path(source), inputs)
    labels = None if any(i.name == LABELS for i in inputs) else arrays.pop(LABELS, None)
    unused = sorted(names - set(arrays) - {LABELS})
    if unused:
        _LOG.warning("%s: arrays %s are no inputs of the model, ignored", origin, ", ".join(unused))
    for info in inputs:
        check_array(arrays[info.name], info, origin, any_batch=True)
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise InputError(
            f"cannot use {origin}: arrays must have the same number of samples along axis 0, got "
            + ", ".join(f"{name} {length}" for name, length in lengths.items())
        )
    num_rows = next(iter(lengths.values()))
    labels = None if labels is None else check_labels(labels, num_rows, origin)
    batch = fixed_batch(inputs, origin)
    if num_rows < (batch or 1):
        raise InputError(
            f"cannot use {origin}: it must hold at least {batch or 1} samples, got {num_rows}"
        )
    num_used = num_rows - num_rows % batch if batch else num_rows
    if num_used < num_rows:
        _LOG.warning(
            "%s: the last %d of %d samples do not fill a batch of %d, dropped",
            origin, num_rows - num_used, num_rows, batch,
        )  # fmt: skip
        arrays = {name: array[:num_used] for name, array in arrays.items()}
        labels = None if labels is None else labels[:num_used]
    return Samples(arrays, labels, batch, num_rows - num_used)
