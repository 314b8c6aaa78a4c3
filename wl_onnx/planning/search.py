"""The best setting within the limits, found by trials of the whole model.

A trial codes all layers at one lambda, the loss that a bit may cost, and measures the result.
Lambda is sought first; then what the layers' losses count against each other and how they are
rounded is varied, one thing at a time; then lambda is sought again. Every trial within the limits
counts.

Source: the one multiplier for all tensors is that of Shoham and Gersho, "Efficient bit allocation
for an arbitrary set of quantizers", IEEE Transactions on Acoustics, Speech, and Signal Processing,
1988.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from wl_onnx.planning.trial import Setting, Trial

__all__ = ["SearchResult", "search"]

# The factor by which lambda grows or shrinks until the limit lies between two trials, and how often
# at most; how near the two are to be at last, and by how many more trials at most.
_STRIDE = 4.0
_SHORT_STRIDE = 1.4
_MAX_STRIDES = 10
_FIRST_NEAR, _FIRST_CUTS = 1.3, 4
_LAST_NEAR, _LAST_CUTS = 1.02, 6
# What each other number is multiplied with or divided by, in the rounds of a search.
_FACTORS = (1.8, 1.3)
# A trial is better where it is so by more than the noise of the measurements.
_GAIN = 0.003
# The size falls as a power of the loss; bounds of what two trials say of it.
_EXPONENTS = (0.15, 0.6)


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        best: the best trial within the limits; None where there was none.
        num_trials: trials made.
        is_interrupted: whether it was stopped by Ctrl-C.
    """

    best: Trial | None
    num_trials: int
    is_interrupted: bool


def search(
    attempt: Callable[[Setting], Trial],
    first: Setting,
    *,
    max_trials: int,
    grows_with_lam: bool = True,
) -> SearchResult:
    """Looks for the setting of least cost among those that meet the limits.

    Args:
        attempt: makes a trial.
        first: where to begin.
        max_trials: most trials.
        grows_with_lam: whether trials pass the limit where lambda is large, as for a limit on the
            loss, or where it is small, as for a limit on the size.
    """
    state = _Search(attempt, max_trials, 1 if grows_with_lam else -1)
    is_interrupted = False
    try:
        state.run(first)
    except KeyboardInterrupt:
        if state.best is None:
            raise
        is_interrupted = True
    return SearchResult(state.best, state.num_trials, is_interrupted)


class _OverError(Exception):
    """No trial is left."""


class _Search:
    def __init__(
        self, attempt: Callable[[Setting], Trial], max_trials: int, direction: int
    ) -> None:
        self._attempt = attempt
        self._max_trials = max_trials
        self._direction = direction
        self.num_trials = 0
        self.best: Trial | None = None

    def run(self, first: Setting) -> None:
        try:
            inside, outside = self._bracket(self._try(first), _STRIDE)
            if inside is None:
                return
            exponent = _find_exponent(inside, outside)
            if outside is not None:
                inside, outside = self._narrow(inside, outside, _FIRST_NEAR, _FIRST_CUTS)
            varied = self._vary(inside, exponent)
            if varied is not inside:
                inside, outside = self._bracket(varied, _SHORT_STRIDE)
            if inside is not None and outside is not None:
                self._narrow(inside, outside, _LAST_NEAR, _LAST_CUTS)
        except _OverError:
            pass

    def _try(self, setting: Setting) -> Trial:
        if self.num_trials >= self._max_trials:
            raise _OverError
        trial = self._attempt(setting)
        self.num_trials += 1
        if trial.meets and (self.best is None or trial.cost < self.best.cost):
            self.best = trial
        return trial

    def _bracket(self, trial: Trial, stride: float) -> tuple[Trial | None, Trial | None]:
        """A trial within the limits and one beyond them, next to each other."""
        inside = outside = before = None
        for _ in range(_MAX_STRIDES):
            if trial.meets:
                inside = trial
            else:
                outside = trial
            if inside is not None and outside is not None:
                break
            step = math.log(stride)
            if before is not None:
                step = _extrapolate(before, trial, step)
            sign = self._direction if trial.meets else -self._direction
            before, setting = trial, trial.setting
            lam = setting.lam * math.exp(sign * step)
            trial = self._try(dataclasses.replace(setting, lam=lam))
        return inside, outside

    def _narrow(self, inside: Trial, outside: Trial, near: float, cuts: int) -> tuple[Trial, Trial]:
        """Closes in on the limit between two trials."""
        for _ in range(cuts):
            low, high = math.log(inside.setting.lam), math.log(outside.setting.lam)
            if abs(high - low) < math.log(near):
                break
            # Where the excess, on a log scale, would be 0 if it ran straight; not at the very ends.
            y0, y1 = _to_log(inside.excess), _to_log(outside.excess)
            share = float(np.clip(-y0 / (y1 - y0), 0.2, 0.8)) if y1 > y0 else 0.5
            lam = math.exp(low + share * (high - low))
            trial = self._try(dataclasses.replace(inside.setting, lam=lam))
            if trial.meets:
                inside = trial
            else:
                outside = trial
        return inside, outside

    def _vary(self, trial: Trial, exponent: float) -> Trial:
        """Changes one number after the other for as long as it is worth it."""
        reserved = self._max_trials - _LAST_CUTS - 2  # to seek lambda again
        for factor in _FACTORS:
            for index in range(trial.setting.num_numbers):
                for sign in (1, -1):
                    if self.num_trials >= reserved:
                        return trial
                    setting = trial.setting.vary(index, factor**sign, trial.shares)
                    tried = self._try(setting)
                    if _compare(tried, trial, exponent) < -_GAIN:
                        trial = tried
                        break
        return trial


def _extrapolate(before: Trial, trial: Trial, least: float) -> float:
    """How far on a log scale lambda has to go for the limit, a little beyond it."""
    run = abs(math.log(trial.setting.lam / before.setting.lam))
    rise = abs(_to_log(trial.excess) - _to_log(before.excess))
    wanted = 1.1 * run * abs(_to_log(trial.excess)) / rise if rise else math.inf
    return float(np.clip(wanted, least, 3 * least))


def _to_log(excess: float) -> float:
    return math.log(max(1 + excess, 0.02)) if math.isfinite(excess) else 4.0


def _find_exponent(inside: Trial, outside: Trial | None) -> float:
    """By which power the size falls with the loss."""
    low, high = _EXPONENTS
    if outside is None or not 0 < inside.divergence < outside.divergence < math.inf:
        return (low + high) / 2
    fall = math.log(inside.size_bytes / outside.size_bytes)
    return float(np.clip(fall / math.log(outside.divergence / inside.divergence), low, high))


def _compare(one: Trial, other: Trial, exponent: float) -> float:
    """Below 0 where one trial is smaller than the other once their losses are made equal."""
    if not (math.isfinite(one.divergence) and other.divergence > 0 and one.divergence > 0):
        return math.inf
    sizes = math.log(one.size_bytes / other.size_bytes)
    return sizes + exponent * math.log(one.divergence / other.divergence)
