"""A histogram of weights before, and the centroids after: how many weights have each value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from wl_onnx.report.svg import chart, element, percent, round_ticks, text, titled
from wl_onnx.report.wording import format_count, format_percent, format_value

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from wl_onnx.report.facts import Histogram

__all__ = ["draw_histogram"]

_TOP = 12
_BASE = 168
_HEIGHT = 190
_MARGIN = 0.02
_FLOOR = 0.5
"""Weights at the bottom of the logarithmic axis: one weight is to be seen."""


def draw_histogram(histogram: Histogram) -> str:
    """Counts on a logarithmic axis over the values."""
    counts = [histogram.after.max()]
    counts += [
        one.max(initial=0) for one in (histogram.before, histogram.level_counts) if one is not None
    ]
    scale = _Scale(histogram, float(max(*counts, 1)))
    parts = [*_axes(scale)]
    if histogram.before is not None:
        parts.append(_bins(scale, histogram.before, "before"))
    if histogram.levels is None:
        parts.append(_bins(scale, histogram.after, "after"))
    else:
        parts += _stems(scale, histogram)
    label = f"{histogram.name}: values of {format_count(histogram.num_weights)} weights"
    if histogram.levels is not None:
        label += f", {len(histogram.levels)} different ones after compression"
    return chart(label, _HEIGHT, *parts)


class _Scale:
    """Where values and counts lie."""

    def __init__(self, histogram: Histogram, largest: float) -> None:
        self.low, self.high = float(histogram.edges[0]), float(histogram.edges[-1])
        self.largest = largest
        self.edges = histogram.edges

    def x(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return _MARGIN + (1 - 2 * _MARGIN) * share

    def y(self, count: float) -> float:
        span = math.log(max(self.largest, 2.0) / _FLOOR)
        share = math.log(max(count, _FLOOR) / _FLOOR) / span
        return _BASE - (_BASE - _TOP) * share


def _axes(scale: _Scale) -> list[str]:
    parts = []
    powers = range(math.floor(math.log10(max(scale.largest, 1))) + 1)
    for power in list(powers)[:: 1 if len(powers) <= 5 else 2]:
        y = scale.y(10**power)
        parts.append(element("line", class_="grid", x1="0%", x2="100%", y1=y, y2=y))
        parts.append(text(f"{10**power:,}", class_="tick", x="0%", y=y - 3))
    parts.append(element("line", class_="axis", x1="0%", x2="100%", y1=_BASE, y2=_BASE))
    for tick in round_ticks(scale.low, scale.high):
        shown = f"{tick:g}".replace("-", "\N{MINUS SIGN}")
        x = scale.x(tick)
        anchor = "start" if x < 0.04 else "end" if x > 0.96 else "middle"
        parts.append(text(shown, class_="tick", x=percent(x), y=_BASE + 15, text_anchor=anchor))
    return parts


def _bins(scale: _Scale, counts: npt.NDArray[np.int64], kind: str) -> str:
    bars = []
    for index, count in enumerate(counts):
        if count:
            left, right = scale.x(scale.edges[index]), scale.x(scale.edges[index + 1])
            y = scale.y(count)
            bars.append(
                element("rect", x=percent(left), width=percent(right - left), y=y, height=_BASE - y)
            )
    title = "weights before" if kind == "before" else "weights after"
    return titled(title, *bars, class_=kind)


def _stems(scale: _Scale, histogram: Histogram) -> list[str]:
    stems = []
    assert histogram.levels is not None and histogram.level_counts is not None  # noqa: S101, PT018
    for value, count in zip(histogram.levels, histogram.level_counts, strict=True):
        x, y = percent(scale.x(value)), scale.y(count)
        share = format_percent(count / max(1, histogram.num_weights), 1)
        title = f"{format_value(value)}: {format_count(count)} weights, {share}"
        stems.append(
            titled(
                title,
                element("line", x1=x, x2=x, y1=_BASE, y2=y),
                element("circle", cx=x, cy=y, r=3),
                class_="level zero" if value == 0 else "level",
            )
        )
    return stems
