"""What a model gives, as logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wl_onnx.errors import ModelError

__all__ = ["are_probabilities", "take_first", "to_logits"]

# Of a row of float16 probabilities, the sum is this close to 1.
_SUM_TOLERANCE = 2e-3


def take_first(outputs: Any) -> Tensor:
    """The first output of a module as class scores `[n, classes]`.

    Args:
        outputs: what the module gave: a tensor, or a tuple of them. The first is `[n, classes]`,
            with nothing but axes of size 1 behind.

    Raises:
        ModelError: it is something else.
    """
    first: Tensor = outputs[0] if isinstance(outputs, tuple) else outputs
    if first.ndim > 2 and all(size == 1 for size in first.shape[2:]):
        first = first.flatten(1)
    if first.ndim != 2 or first.shape[1] < 2 or not first.is_floating_point():
        raise ModelError(
            "cannot fine-tune: the model's first output must be class scores [n, classes], got "
            f"{str(first.dtype).removeprefix('torch.')} {list(first.shape)}"
        )
    return first


def are_probabilities(scores: Tensor) -> bool:
    """Whether all rows are: not negative, with the sum 1.

    Args:
        scores: `[n, classes]`.
    """
    sums = scores.sum(1, dtype=torch.float32)
    return bool((scores >= 0).all()) and bool(((sums - 1).abs() < _SUM_TOLERANCE).all())


def to_logits(probabilities: Tensor) -> Tensor:
    """Logits whose softmax the probabilities are; those of 0 count as the least normal number."""
    least = torch.finfo(probabilities.dtype).tiny
    return torch.log(torch.clamp(probabilities, min=least))
