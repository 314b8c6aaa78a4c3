"""What training makes small: the task's loss, and the distance from a teacher's scores."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from wl_onnx.errors import InputError
from wl_onnx.recipe import is_number

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LossFn", "Objective", "make_loss"]

LossFn: TypeAlias = "Callable[[Tensor, Tensor | None, Tensor | None], Tensor]"
"""Takes logits, labels and the teacher's logits, gives the mean loss of the batch in nats."""


@dataclasses.dataclass(frozen=True)
class Objective:
    """How much the labels and how much the original model say about a weight.

    Attributes:
        task_weight: factor of the cross-entropy with the labels.
        distill_weight: factor of the Kullback-Leibler divergence from the teacher's classes.
        temperature: by which both logits are divided before that divergence is taken.

    Raises:
        InputError: a value is negative or not finite, or both weights are zero.
    """

    task_weight: float = 1.0
    distill_weight: float = 0.0
    temperature: float = 2.0

    def __post_init__(self) -> None:
        """Checks every field."""
        for name in ("task_weight", "distill_weight"):
            value = getattr(self, name)
            if not (is_number(value) and 0 <= value < math.inf):
                raise _error(name, "a number of at least 0", value)
        if self.task_weight == self.distill_weight == 0:
            raise _error("task_weight or distill_weight", "above 0", 0)
        if not (is_number(self.temperature) and 0 < self.temperature < math.inf):
            raise _error("temperature", "a number above 0", self.temperature)

    @property
    def needs_labels(self) -> bool:
        """Whether training takes labels."""
        return self.task_weight > 0

    @property
    def needs_teacher(self) -> bool:
        """Whether training takes the teacher's logits."""
        return self.distill_weight > 0


def make_loss(objective: Objective) -> LossFn:
    """The loss of a batch, in nats a sample.

    It takes logits `[n, classes]`, labels int64 `[n]` (None where they have no weight) and the
    teacher's logits `[n, classes]` (likewise), and gives

        task_weight CE(labels, logits) + distill_weight T^2 KL(teacher / T || logits / T),

    each the mean over the batch. Source: G. Hinton, O. Vinyals and J. Dean, "Distilling the
    knowledge in a neural network" (2015), section 2.1; T^2 keeps the size of gradients.

    Args:
        objective: the weights and T.
    """
    from torch.nn import functional

    temperature = objective.temperature
    scale = objective.distill_weight * temperature**2

    def measure_task(logits: Tensor, labels: Tensor) -> Tensor:
        loss = functional.cross_entropy(logits, labels)
        return loss if objective.task_weight == 1 else objective.task_weight * loss

    def measure_distance(logits: Tensor, teacher_logits: Tensor) -> Tensor:
        mine = functional.log_softmax(logits / temperature, 1)
        theirs = functional.log_softmax(teacher_logits / temperature, 1)
        return scale * functional.kl_div(mine, theirs, reduction="batchmean", log_target=True)

    def measure(logits: Tensor, labels: Any, teacher_logits: Any) -> Tensor:
        if not objective.needs_teacher:
            return measure_task(logits, labels)
        distance = measure_distance(logits, teacher_logits)
        return distance + measure_task(logits, labels) if objective.needs_labels else distance

    return measure


def _error(name: str, rule: str, value: Any) -> InputError:
    return InputError(f"cannot use objective: {name} must be {rule}, got {value!r}")
