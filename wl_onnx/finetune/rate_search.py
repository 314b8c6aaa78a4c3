"""The rate weight at which a model meets its target, looked for round by round."""

from __future__ import annotations

import dataclasses

__all__ = ["RateSearch", "RateTarget", "RateTrial"]

# Sizes fall with about the 0.7th power of the rate weight, measured on LeNet-300-100.
_EXPONENT = 1.5
_MIN_STEP, _MAX_STEP = 1.15, 4.0
# From a round that keeps within the allowed drop to the next, and from one that does not.
_UP, _DOWN = 1.5, 0.5


@dataclasses.dataclass(frozen=True)
class RateTarget:
    """What is to be met.

    Attributes:
        size_bytes: most bytes of all tensors, or None.
        max_drop: most that accuracy may fall, in percentage points, or None.
    """

    size_bytes: int | None = None
    max_drop: float | None = None


@dataclasses.dataclass(frozen=True)
class RateTrial:
    """A round that was made.

    Attributes:
        rate_weight: with which.
        size_bytes: of all tensors.
        drop: of the validation accuracy, in percentage points; None where it is not known.
    """

    rate_weight: float
    size_bytes: int
    drop: float | None


class RateSearch:
    """Rounds at rate weights that rise until the target is met, or as far as it can be.

    With a size, the rounds end with the first that is small enough. With a drop, they end with the
    first that drops too far after one that did not; where the first one does, they fall.

    Args:
        first: rate weight of the first round.
        target: what is to be met; where that is nothing, there is one round.
        max_rounds: most rounds.
        trials: rounds that were made before.
    """

    def __init__(
        self, first: float, target: RateTarget, max_rounds: int, trials: list[RateTrial]
    ) -> None:
        self._first = first
        self._target = target
        self._max_rounds = max_rounds
        self.trials = trials

    def keeps(self, trial: RateTrial) -> bool:
        """Whether a round meets the target."""
        target = self._target
        if target.max_drop is not None:
            return trial.drop is not None and trial.drop <= target.max_drop
        return target.size_bytes is None or trial.size_bytes <= target.size_bytes

    @property
    def best(self) -> RateTrial | None:
        """The smallest round that meets the target."""
        kept = [trial for trial in self.trials if self.keeps(trial)]
        return min(kept, key=lambda trial: trial.size_bytes, default=None)

    @property
    def closest(self) -> RateTrial:
        """The round that comes closest to the target."""
        if self._target.max_drop is not None:
            return min(self.trials, key=lambda trial: trial.drop or 0.0)
        return min(self.trials, key=lambda trial: trial.size_bytes)

    def choose(self) -> float | None:
        """The rate weight of the next round; None where there is to be none."""
        if not self.trials:
            return self._first
        last = self.trials[-1]
        if len(self.trials) >= self._max_rounds:
            return None
        if self._target.max_drop is not None:
            if self.keeps(last):
                went_down = any(not self.keeps(trial) for trial in self.trials)
                return None if went_down else last.rate_weight * _UP
            return None if self.best else last.rate_weight * _DOWN
        if self._target.size_bytes is None or self.keeps(last):
            return None
        factor: float = (last.size_bytes / self._target.size_bytes) ** _EXPONENT
        return last.rate_weight * min(max(factor, _MIN_STEP), _MAX_STEP)
