"""What training tells while it runs, and when it is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

__all__ = ["Evaluation", "ReportFn", "RunSummary", "StepReport"]


@dataclasses.dataclass(frozen=True)
class StepReport:
    """Where a run is.

    Attributes:
        stage: what it does, such as "prune".
        epoch: the epoch under way, from 1.
        epochs: how many there are; the last may be a part of one.
        step: steps done in this stage.
        steps: steps of the stage.
        loss: mean of about the last 50 steps, without what is added to the objective.
        accuracy: share of the validation samples classified right, in 0..1; None until known.
        size_bytes: what the weights take as far as they are coded; None until known.
    """

    stage: str
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float | None = None
    size_bytes: int | None = None


ReportFn = Callable[[StepReport], None]
"""Called some twenty times an epoch, and at its end."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How a model does on samples.

    Attributes:
        accuracy: share classified right, in 0..1; None without labels.
        loss: mean cross-entropy with the labels, in nats; None without labels.
    """

    accuracy: float | None
    loss: float | None


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """What a run came to.

    Attributes:
        loss: as in the last `StepReport`.
        accuracy: share of the validation samples classified right, in 0..1; None without any.
    """

    loss: float
    accuracy: float | None
