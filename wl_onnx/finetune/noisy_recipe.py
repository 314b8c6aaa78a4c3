"""The recipe of noise-aware training: reads of analog cells at each step, then `store`."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from wl_onnx.finetune.losses import Objective
from wl_onnx.finetune.recipe import FinetuneRecipe, Stage

__all__ = ["NoisyRecipe"]


@dataclasses.dataclass(frozen=True)
class NoisyRecipe(FinetuneRecipe):
    """How a model is hardened against the noise of the cells that hold its weights.

    Attributes:
        train: training on weights that are read afresh at each step.
    """

    kind: ClassVar[str] = "noisy"

    objective: Objective = dataclasses.field(default=Objective(1.0, 1.0))
    train: Stage = dataclasses.field(default=Stage(10, 1e-3))
