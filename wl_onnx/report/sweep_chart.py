"""A sweep over time: the mean of the trials with their deviation, one line a model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from wl_onnx.durations import format_duration
from wl_onnx.report.svg import chart, element, percent, round_ticks, text, titled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wl_onnx.report.sweep_facts import Sweep, SweepModel, SweepPoint

__all__ = ["NUM_COLORS", "draw_sweep"]

NUM_COLORS = 6

_TOP = 22
_BASE = 230
_HEIGHT = 256
_LEFT, _RIGHT = 0.08, 0.94


def draw_sweep(sweep: Sweep) -> str:
    """Lost percentage points, or the SNR, against the time since programming."""
    lost = sweep.metric == "accuracy"
    places = _place(sorted({point.time_s for model in sweep.models for point in model.points}))
    values = [
        bound
        for model in sweep.models
        for point in model.points
        if (value := _value(point, lost)) is not None
        for spread in [_spread(point, lost)]
        for bound in (value - spread, value + spread)
    ]
    low, high = min([*values, 0.0]) if lost else min(values, default=0), max(values, default=1)
    if high - low < 1e-9:
        high = low + 1
    axis = _Axis(low, high)
    unit = "points lost" if lost else "SNR, dB"
    parts = [text(unit, class_="tick strong", x="0%", y=10)]
    for tick in round_ticks(low, high, 4):
        y = axis.y(tick)
        shown = f"{tick:g}".replace("-", "\N{MINUS SIGN}")
        parts.append(element("line", class_="grid", x1="0%", x2="100%", y1=y, y2=y))
        parts.append(text(shown, class_="tick", x="0%", y=y - 3))
    for time_s, x in places.items():
        shown = format_duration(time_s)
        parts.append(text(shown, class_="tick", x=percent(x), y=_BASE + 18, text_anchor="middle"))
    for index, model in enumerate(sweep.models):
        parts.append(_line(model, index, len(sweep.models), places, axis, lost))
    return chart(f"{unit} by the time since programming", _HEIGHT, *parts)


class _Axis:
    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high

    def y(self, value: float) -> float:
        return _BASE - (_BASE - _TOP) * (value - self._low) / (self._high - self._low)


def _line(
    model: SweepModel, index: int, count: int, places: dict[float, float], axis: _Axis, lost: bool
) -> str:
    shift = 0.012 * (index - (count - 1) / 2)
    parts: list[str] = []
    before: tuple[str, float] | None = None
    for point in model.points:
        value = _value(point, lost)
        if value is None:
            before = None
            continue
        x, y = percent(places[point.time_s] + shift), axis.y(value)
        if before is not None:
            parts.append(element("line", class_="path", x1=before[0], y1=before[1], x2=x, y2=y))
        spread = _spread(point, lost)
        unit = "points" if lost else "dB"
        title = f"{model.name}, {format_duration(point.time_s)}: {value:.2f} ± {spread:.2f} {unit}"
        low, high = axis.y(value - spread), axis.y(value + spread)
        parts.append(
            titled(
                title,
                element("line", class_="spread", x1=x, x2=x, y1=low, y2=high),
                element("circle", cx=x, cy=y, r=4),
            )
        )
        before = x, y
    return element("g", *parts, class_=f"series series-{index % NUM_COLORS}")


def _value(point: SweepPoint, lost: bool) -> float | None:
    return point.mean_drop if lost else point.mean


def _spread(point: SweepPoint, lost: bool) -> float:
    return (point.deviation or 0.0) * (100 if lost else 1)


def _place(times: Sequence[float]) -> dict[float, float]:
    """Where times lie on a logarithmic axis; time 0 lies a decade before the first other one."""
    positive = [time_s for time_s in times if time_s > 0]
    start = positive[0] / 10 if positive else 1.0
    logs = {time_s: math.log10(time_s or start) for time_s in times}
    low, high = min(logs.values(), default=0.0), max(logs.values(), default=1.0)
    span = high - low or 1.0
    return {time_s: _LEFT + (_RIGHT - _LEFT) * (log - low) / span for time_s, log in logs.items()}
