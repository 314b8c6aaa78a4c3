"""How many images an ONNX model classifies rightly in onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from image_model import INPUT

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx

_BATCH = 500


def count_errors(
    session: onnxruntime.InferenceSession,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.uint8],
    to_input: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]],
) -> int:
    """How many images a model classifies wrong.

    Args:
        session: of the model.
        images: uint8 [n, ...] as the dataset has them.
        labels: uint8 [n].
        to_input: makes the model's float32 input of images.
    """
    num_wrong = 0
    for start in range(0, len(images), _BATCH):
        inputs = to_input(images[start : start + _BATCH])
        logits = np.asarray(session.run(None, {INPUT: inputs})[0])
        num_wrong += int((logits.argmax(axis=1) != labels[start : start + _BATCH]).sum())
    return num_wrong


def measure_accuracy(
    model: onnx.ModelProto,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.uint8],
    to_input: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]],
) -> float:
    """Share of images, in 0..1, that a model classifies rightly.

    Args:
        model: with weights as they are.
        images: uint8 [n, ...] as the dataset has them.
        labels: uint8 [n].
        to_input: makes the model's float32 input of images.
    """
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return (len(images) - count_errors(session, images, labels, to_input)) / len(images)
