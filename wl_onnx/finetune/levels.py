"""Weights as whole multiples of a step while they train."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from wl_onnx.planning.layer_problem import round_step

__all__ = ["MAX_LEVEL", "Levels", "choose_level_step"]

MAX_LEVEL = 511
"""Most levels to either side of 0."""


class _Round(torch.autograd.Function):  # type: ignore[misc, unused-ignore]
    """Rounds to levels; the gradient passes as if it did not (straight through).

    Source: Y. Bengio, N. Leonard and A. Courville, "Estimating or propagating gradients through
    stochastic neurons for conditional computation", arXiv:1308.3432, 2013.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, step: float, dead_zone: float) -> Tensor:
        return _to_levels(weight, step, dead_zone) * step

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0], None, None


def _to_levels(weight: Tensor, step: float, dead_zone: float) -> Tensor:
    """The nearest multiple of the step, as whole float numbers of the weight's shape."""
    scaled = weight / step
    levels = torch.where(scaled.abs() < 0.5 + dead_zone, 0.0, scaled.round())
    return levels.clamp(-MAX_LEVEL, MAX_LEVEL)


class Levels(nn.Module):  # type: ignore[misc, unused-ignore]
    """A parametrisation: the weight is used as multiples of a step, small ones as 0.

    What trains is the number behind; a weight that is used as 0 goes on learning, and may come
    back. To be registered with `torch.nn.utils.parametrize`.

    Args:
        step: distance of levels, above 0; a float of 11 bits, so that each multiple is one of
            float32.
        dead_zone: by how many steps the interval of 0 is wider on either side than a half.
    """

    def __init__(self, step: float, dead_zone: float) -> None:
        super().__init__()
        self.step = step
        self.dead_zone = dead_zone

    def forward(self, weight: Tensor) -> Tensor:
        """The weight as it is used."""
        rounding: Any = _Round
        used: Tensor = rounding.apply(weight, self.step, self.dead_zone)
        return used

    def read_levels(self, weight: Tensor) -> npt.NDArray[np.int64]:
        """The levels of the numbers behind, int64 of the weight's shape."""
        levels = _to_levels(weight.detach(), self.step, self.dead_zone)
        array: npt.NDArray[np.int64] = levels.cpu().numpy().astype(np.int64)
        return array


def choose_level_step(weight: Tensor, ratio: float, least: float) -> float:
    """A step for a weight: a share of the mean magnitude of what is not near 0.

    Args:
        weight: float tensor.
        ratio: the share.
        least: magnitude below which a weight is near 0.

    Returns:
        A float of 11 bits above 0; that of the largest weight where all are near 0.
    """
    magnitudes = weight.detach().abs()
    kept = magnitudes[magnitudes > least]
    largest = float(magnitudes.max())
    if not kept.numel():
        return round_step(largest) or math.ldexp(1.0, -14)
    return round_step(max(ratio * float(kept.mean()), largest / MAX_LEVEL))
