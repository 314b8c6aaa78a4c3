"""Images and labels as a network takes them: to train, to validate and to test."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cifar10
import mnist
import numpy as np
from image_model import INPUT
from script_command import ScriptError

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclasses.dataclass(frozen=True)
class Split:
    """Some images.

    Attributes:
        images: uint8 [n, ...] as the dataset has them.
        labels: uint8 [n].
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class ImageData:
    """A dataset in its three parts, none of which has an image of another.

    Attributes:
        train: all training images but the last.
        validation: the last.
        test: the test images.
        sha256: of all that is trained and validated on, in hexadecimal.
        to_input: makes a network's float32 input of images.
    """

    train: Split
    validation: Split
    test: Split
    sha256: str
    to_input: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]

    def to_feeds(self, split: Split) -> dict[str, npt.NDArray[Any]]:
        """Arrays by name, `labels` (int64) among them."""
        return {INPUT: self.to_input(split.images), "labels": split.labels.astype(np.int64)}


def read_images(
    path: Path, dataset: str, *, held_out: int, max_train: int | None = None
) -> ImageData:
    """MNIST or CIFAR-10, the last training images held out.

    Args:
        path: see `mnist.read_mnist` and `cifar10.read_cifar10`.
        dataset: "MNIST" or "CIFAR-10".
        held_out: how many validate.
        max_train: how many of the first are trained on; None: all that are left.

    Raises:
        ScriptError: the data are missing or damaged, or there are too few images.
    """
    is_mnist = dataset == "MNIST"
    arrays = mnist.read_mnist(path) if is_mnist else cifar10.read_cifar10(path)
    x, y = arrays["x_train"], arrays["y_train"]
    count = len(x) - held_out
    if count < 1:
        raise ScriptError(
            f"cannot use {path}: it must hold more than the {held_out} training images that "
            f"validate, got {len(x)}"
        )
    first = count if max_train is None else min(max_train, count)
    train, validation = Split(x[:first], y[:first]), Split(x[count:], y[count:])
    return ImageData(
        train,
        validation,
        Split(arrays["x_test"], arrays["y_test"]),
        _hash({"train": train, "validation": validation}),
        mnist.to_input if is_mnist else cifar10.to_input,
    )


def _hash(splits: Mapping[str, Split]) -> str:
    digest = hashlib.sha256()
    for name, split in splits.items():
        digest.update(f"{name} {split.images.shape}".encode())
        digest.update(np.ascontiguousarray(split.images).data)
        digest.update(np.ascontiguousarray(split.labels).data)
    return digest.hexdigest()
