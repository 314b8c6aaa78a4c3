"""What a model is trained on: arrays in memory, samples along axis 0."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError
from wl_onnx.evaluation.inputs import LABELS, InputInfo
from wl_onnx.evaluation.samples import read_samples

__all__ = ["DataSource", "TrainingData", "hold_out", "read_training_data"]


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """Samples for training or validation.

    Attributes:
        inputs: one array for each of the model's inputs, by name in the order of the graph.
        labels: class of each sample, int64 `[num_samples]`, or None.
        fixed_batch: rows that the model wants at a time; None where it takes any number.
    """

    inputs: Mapping[str, npt.NDArray[Any]]
    labels: npt.NDArray[np.int64] | None = None
    fixed_batch: int | None = None

    @property
    def num_samples(self) -> int:
        """How many there are."""
        return len(next(iter(self.inputs.values())))

    def take(self, indices: npt.NDArray[np.integer]) -> TrainingData:
        """Some of the samples, in the order of the indices, as arrays of their own.

        Args:
            indices: integers [n], each in 0..num_samples - 1.
        """
        labels = None if self.labels is None else self.labels[indices]
        inputs = {name: array[indices] for name, array in self.inputs.items()}
        return dataclasses.replace(self, inputs=inputs, labels=labels)


DataSource = str | os.PathLike[str] | Mapping[str, npt.NDArray[Any]] | TrainingData
"""What is taken as data: path of an npz, arrays by name, or what was read before."""


def read_training_data(
    source: DataSource, model_inputs: Sequence[InputInfo], *, need_labels: bool
) -> TrainingData:
    """Samples from an npz or from arrays, checked against the model.

    Arrays are named after the model's inputs; `labels` beside them holds the class of each sample.
    Other arrays, and a rest that does not fill a fixed batch, are left out with a warning.

    Args:
        source: path of an npz, arrays by name, or `TrainingData`.
        model_inputs: the inputs of the model, as a session describes them.
        need_labels: whether the loss or the target is about labels.

    Raises:
        InputError: not an npz, an input without an array, a wrong dtype or shape, lengths that
            differ, fewer samples than one batch, or no labels where they are needed.
    """
    if isinstance(source, TrainingData):
        labels = {} if source.labels is None else {LABELS: source.labels}
        source = {**source.inputs, **labels}
    if not isinstance(source, (str, os.PathLike, Mapping)):
        raise InputError(
            "cannot use data: it must be an .npz path or a mapping of arrays, got "
            f"{type(source).__name__}"
        )
    samples = read_samples(source, model_inputs)
    if samples.labels is None and need_labels:
        origin = "data" if isinstance(source, Mapping) else os.fspath(source)
        raise InputError(
            f"cannot fine-tune on {origin}: it must hold an array named {LABELS} where the loss or "
            "the target is about the task, got none; distil from the original alone "
            "(task_weight = 0) to do without"
        )
    inputs = {info.name: samples.inputs[info.name] for info in model_inputs}
    return TrainingData(inputs, samples.labels, samples.fixed_batch)


def hold_out(data: TrainingData, share: float, *, seed: int) -> tuple[TrainingData, TrainingData]:
    """Samples to train on and samples to validate on, with none in both.

    Args:
        data: all of them.
        share: of those to validate on, in (0, 1); at least one batch goes to either side.
        seed: of the order in which they are dealt.

    Returns:
        Those to train on, those to validate on.

    Raises:
        InputError: the share is out of range, or there are fewer samples than two batches.
    """
    if not 0 < share < 1:
        raise InputError(
            f"cannot hold out samples: the share must be above 0 and below 1, got {share}"
        )
    unit = data.fixed_batch or 1
    num_batches = data.num_samples // unit
    if num_batches < 2:
        raise InputError(
            f"cannot hold out samples: there must be at least {2 * unit}, got {data.num_samples}; "
            "give validation data"
        )
    held = unit * min(max(1, round(share * num_batches)), num_batches - 1)
    order = np.random.default_rng(seed).permutation(num_batches * unit)
    return data.take(np.sort(order[held:])), data.take(np.sort(order[:held]))
