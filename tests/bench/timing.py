"""Repetitions of several calls in turn, so that what disturbs the machine disturbs all alike."""

from __future__ import annotations

import dataclasses
import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

__all__ = ["Times", "interleave"]

_BURST_S = 0.002
_MAX_BURST = 10_000


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds of one call in each repetition."""

    seconds: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def best(self) -> float:
        return min(self.seconds)

    def per(self, count: int) -> Times:
        return Times([value / count for value in self.seconds])


def interleave(calls: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, Times]:
    """Times each call once in every round, each round beginning with another one.

    A call is warmed up first, and one that is short is repeated within a round until it takes
    some two milliseconds.
    """
    bursts = {label: _burst_length(call) for label, call in calls.items()}
    seconds: dict[str, list[float]] = {label: [] for label in calls}
    labels = list(calls)
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for index in range(rounds):
            first = index % len(labels)
            for label in labels[first:] + labels[:first]:
                seconds[label].append(_time_burst(calls[label], bursts[label]))
    finally:
        if was_enabled:
            gc.enable()
    return {label: Times(values) for label, values in seconds.items()}


def _burst_length(call: Callable[[], object]) -> int:
    call()
    shortest = min(_time_burst(call, 1) for _ in range(2))
    return max(1, min(_MAX_BURST, round(_BURST_S / max(shortest, 1e-9))))


def _time_burst(call: Callable[[], object], length: int) -> float:
    begin = time.perf_counter()
    for _ in range(length):
        call()
    return (time.perf_counter() - begin) / length
