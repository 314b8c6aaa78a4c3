"""The recipe of noise-aware training: reads of analog cells at each step, then `store`."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal

from wl_onnx.finetune.losses import Objective
from wl_onnx.finetune.recipe import FinetuneRecipe, Stage
from wl_onnx.recipe import is_number, is_whole, require_field

__all__ = ["GRADIENTS", "NoisyRecipe"]

GRADIENTS = ("straight-through", "exact")


@dataclasses.dataclass(frozen=True)
class NoisyRecipe(FinetuneRecipe):
    """How a model is hardened against the noise of the cells that hold its weights.

    Attributes:
        train: training on weights that are read afresh at each step.
        strength: factor of the device's errors while training, at least 0; 1 is the device's own.
        ramp: share of the training in which errors grow from 0 to that, in 0..1.
        gradient: "straight-through": a read's gradient is the weight's own; "exact": errors are
            differentiated as well.
        clip: magnitudes beyond so many root mean squares of their tensor are cut at each step,
            since errors grow with the range, above 0; None: none is.
        refresh_every: steps after which the layout on cells is found anew, at least 1.
        reads: writes and reads that the stored model is measured with, at least 1.
    """

    kind: ClassVar[str] = "noisy"

    objective: Objective = dataclasses.field(default=Objective(1.0, 1.0))
    train: Stage = dataclasses.field(default=Stage(10, 3e-4, "one-cycle"))
    strength: float = 1.0
    ramp: float = 0.0
    gradient: Literal["straight-through", "exact"] = "straight-through"
    clip: float | None = None
    refresh_every: int = 100
    reads: int = 20

    def __post_init__(self) -> None:
        """Checks every field."""
        super().__post_init__()
        number = is_number(self.strength) and 0 <= self.strength < math.inf
        require_field(number, "strength", "a number of at least 0", self.strength)
        require_field(is_number(self.ramp) and 0 <= self.ramp <= 1, "ramp", "in 0..1", self.ramp)
        known = self.gradient in GRADIENTS
        require_field(known, "gradient", " or ".join(GRADIENTS), self.gradient)
        number = self.clip is None or (is_number(self.clip) and 0 < self.clip < math.inf)
        require_field(number, "clip", "a number above 0", self.clip)
        for name in ("refresh_every", "reads"):
            value = getattr(self, name)
            number = is_whole(value) and value >= 1
            require_field(number, name, "a whole number of at least 1", value)
