"""What a model gives for samples in onnxruntime: the teacher's scores, and accuracies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError
from wl_onnx.evaluation import top1
from wl_onnx.runtime.measure import run_session

if TYPE_CHECKING:
    from wl_onnx.finetune.training_data import TrainingData
    from wl_onnx.runtime import InferenceSession

__all__ = ["compute_scores", "measure_accuracy"]

_BATCH = 256


def compute_scores(
    session: InferenceSession, data: TrainingData, *, name: str = "the model"
) -> npt.NDArray[Any]:
    """The first output for each sample, in their order.

    Args:
        session: an open session of the model.
        data: the samples.
        name: what an error calls the model.

    Returns:
        `[num_samples, ...]` in the output's element type, without axes of size 1 behind the second.

    Raises:
        InputError: the samples do not fit, or the first output has no row a sample.
    """
    size = data.fixed_batch or _BATCH
    pieces = []
    for start in range(0, data.num_samples, size):
        feed = {key: array[start : start + size] for key, array in data.inputs.items()}
        scores = np.asarray(next(iter(run_session(session, feed, name).values())))
        num_rows = len(next(iter(feed.values())))
        if scores.ndim == 0 or len(scores) != num_rows:
            raise InputError(
                f"cannot fine-tune {name}: its first output must have a row a sample, got "
                f"{list(scores.shape)} of {num_rows} samples"
            )
        pieces.append(scores)
    joined = np.concatenate(pieces)
    is_flat = joined.ndim > 2 and all(size == 1 for size in joined.shape[2:])
    return joined.reshape(joined.shape[:2]) if is_flat else joined


def measure_accuracy(
    session: InferenceSession, data: TrainingData, *, name: str = "the model"
) -> float | None:
    """Share of the samples classified right, in 0..1; None without labels.

    Args:
        session: an open session of the model.
        data: the samples.
        name: what an error calls the model.

    Raises:
        InputError: see `compute_scores`, or the output is no class scores.
    """
    if data.labels is None:
        return None
    scores = compute_scores(session, data, name=name)
    try:
        return top1(scores, data.labels) / data.num_samples
    except ValueError as error:
        raise InputError(
            f"cannot measure the accuracy of {name}: its first output must be class scores "
            f"[n, classes], got {list(scores.shape)}"
        ) from error
