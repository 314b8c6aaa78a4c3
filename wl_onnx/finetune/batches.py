"""Samples as tensors on a device, dealt out in batches."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wl_onnx.errors import InputError

if TYPE_CHECKING:
    from wl_onnx.finetune.training_data import TrainingData

__all__ = ["Batches", "check_label_range", "load_tensor"]


class Batches:
    """Training data on a device, dealt out in another order each epoch.

    A rest that does not fill a batch is left out of an epoch.

    Args:
        data: the samples.
        batch_size: samples of a batch; where the data have a fixed batch, that is it.
        device: where the tensors lie.
        seed: of the orders.

    Attributes:
        inputs: one tensor an input, in the order of the graph.
        labels: int64 `[n]`, or None.
        per_epoch: batches of an epoch.
    """

    def __init__(self, data: TrainingData, *, batch_size: int, device: str, seed: int) -> None:
        if batch_size < 1:
            raise InputError(
                f"cannot fine-tune: batch_size must be a whole number of at least 1, got "
                f"{batch_size}"
            )
        self.inputs = tuple(load_tensor(array, device) for array in data.inputs.values())
        self.labels = None if data.labels is None else load_tensor(data.labels, device)
        self._num_samples = data.num_samples
        self._size = data.fixed_batch or min(batch_size, data.num_samples)
        self.per_epoch = data.num_samples // self._size
        self._device = device
        self._seed = seed

    def deal(self, stage: str, epoch: int) -> tuple[Tensor, ...]:
        """The rows of each batch of an epoch, int64 `[batch]` each; the same at each call.

        Args:
            stage: name of the run; each has its own orders.
            epoch: from 0.
        """
        order = np.random.default_rng(self._entropy(stage, epoch)).permutation(self._num_samples)
        rows = torch.from_numpy(order[: self.per_epoch * self._size]).to(self._device)
        batches: tuple[torch.Tensor, ...] = torch.split(rows, self._size)
        return batches

    def make_generator(self, stage: str, epoch: int) -> torch.Generator:
        """A source of random numbers for the batches of an epoch; the same at each call.

        Args:
            stage: name of the run.
            epoch: from 0.
        """
        seed = np.random.SeedSequence((*self._entropy(stage, epoch), 1)).generate_state(1)[0]
        return torch.Generator(self._device).manual_seed(int(seed))

    def _entropy(self, stage: str, epoch: int) -> tuple[int, int, int]:
        return self._seed, zlib.crc32(stage.encode()), epoch


def load_tensor(array: npt.NDArray[Any], device: str) -> Tensor:
    """A tensor of an array's values; it may share memory with it and is only to be read.

    Args:
        array: any dtype that torch has.
        device: where the tensor lies.
    """
    # torch warns of arrays that cannot be written to.
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)


def check_label_range(labels: npt.NDArray[np.int64], num_classes: int) -> None:
    """Checks that labels are classes of the model.

    Args:
        labels: int64 `[n]`.
        num_classes: classes that the model tells apart.

    Raises:
        InputError: one is not.
    """
    wrong = (labels < 0) | (labels >= num_classes)
    if wrong.any():
        raise InputError(
            f"cannot fine-tune: labels must be 0 to {num_classes - 1}, the classes of the model, "
            f"got {labels[wrong.argmax()]} for sample {wrong.argmax()}"
        )
