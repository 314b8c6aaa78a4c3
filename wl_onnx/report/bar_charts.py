"""Bars: bytes of tensors beside their bounds, and what a mode costs beside the original."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wl_onnx.report.facts import CODEBOOK, DENSE, OVERHEAD, WEIGHTS, TensorFacts
from wl_onnx.report.svg import chart, element, percent, titled
from wl_onnx.report.wording import format_bytes, format_count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ANALOG_CELLS",
    "DIGITAL_CELLS",
    "PART_NAMES",
    "count_cells",
    "draw_bar",
    "draw_cells",
    "draw_size",
]

ANALOG_CELLS = "analog"
DIGITAL_CELLS = "digital"

PART_NAMES = {
    WEIGHTS: "tables and codes",
    CODEBOOK: "centroids and frequencies",
    OVERHEAD: "headers",
    DENSE: "left as it is",
    ANALOG_CELLS: "analog cells",
    DIGITAL_CELLS: "digital cells",
}

_HEIGHT = 28
_BAR_TOP = 7
_BAR_HEIGHT = 14
_GLYPH = 4


def draw_bar(label: str, parts: Sequence[tuple[str, float, str]], scale: float) -> str:
    """One bar in segments.

    Args:
        label: what it shows.
        parts: class, amount and title of each segment, from the left.
        scale: the amount that is as wide as the chart.
    """
    return chart(label, _HEIGHT, *_segments(parts, scale), class_="bar")


def draw_size(tensor: TensorFacts, scale_bytes: float) -> str:
    """What stands for a tensor, by what its bytes are, with a mark for each bound.

    Args:
        tensor: the tensor.
        scale_bytes: what is as wide as the chart.
    """
    parts = [
        (kind, count, f"{PART_NAMES[kind]}: {format_count(count)} B")
        for kind, count in tensor.parts.items()
        if count > 0
    ]
    marks = []
    bounds = []
    if tensor.information_bound_bits is not None:
        place = tensor.information_bound_bits / 8
        bounds.append(f"no filter below {format_bytes(place)}")
        marks.append(_filter_bound(place / scale_bytes, bounds[-1]))
    if tensor.lossless_bound_bits is not None:
        place = tensor.lossless_bound_bits / 8
        bounds.append(f"entropy {format_bytes(place)}")
        marks.append(_lossless_bound(place / scale_bytes, bounds[-1]))
    label = f"{tensor.name}: {format_bytes(tensor.size_bytes)}"
    label = "; ".join([label, *bounds])
    return chart(label, _HEIGHT, *_segments(parts, scale_bytes), *marks, class_="bar")


def draw_cells(tensor: TensorFacts, scale: float, digital_bits_per_cell: float) -> str:
    """The cells that a tensor takes, analog ones and what is digital.

    Args:
        tensor: the tensor.
        scale: the number of cells that is as wide as the chart.
        digital_bits_per_cell: what digital bits cost.
    """
    analog, digital = count_cells(tensor, digital_bits_per_cell)
    counts: Mapping[str, float] = {ANALOG_CELLS: analog, DIGITAL_CELLS: digital}
    parts = [
        (kind, count, f"{PART_NAMES[kind]}: {format_count(count)}")
        for kind, count in counts.items()
        if count > 0
    ]
    label = f"{tensor.name}: {format_count(analog + digital)} cells"
    return chart(label, _HEIGHT, *_segments(parts, scale), class_="bar")


def _segments(parts: Sequence[tuple[str, float, str]], scale: float) -> list[str]:
    drawn = [element("rect", class_="track", width="100%", y=_BAR_TOP, height=_BAR_HEIGHT)]
    start = 0.0
    for kind, amount, title in parts:
        bar = element(
            "rect", x=percent(start / scale), width=percent(amount / scale), y=_BAR_TOP,
            height=_BAR_HEIGHT,
        )  # fmt: skip
        drawn.append(titled(title, bar, class_=f"part {kind}"))
        start += amount
    return drawn


def _filter_bound(share: float, title: str) -> str:
    """A line with a triangle above."""
    x = percent(share)
    line = element("line", x1=x, x2=x, y1=2, y2=_BAR_TOP + _BAR_HEIGHT + 2)
    glyph = element("path", d=f"M{-_GLYPH} 0h{2 * _GLYPH}l{-_GLYPH} {_GLYPH + 2}z")
    place = element("svg", glyph, x=x, y=0, overflow="visible")
    return titled(title, line, place, class_="bound filter-bound")


def _lossless_bound(share: float, title: str) -> str:
    """A line with a diamond below."""
    x = percent(share)
    bottom = _BAR_TOP + _BAR_HEIGHT
    line = element("line", x1=x, x2=x, y1=_BAR_TOP - 2, y2=bottom + 2)
    glyph = element(
        "path", d=f"M0 {-_GLYPH}l{_GLYPH} {_GLYPH}l{-_GLYPH} {_GLYPH}l{-_GLYPH} {-_GLYPH}z"
    )
    place = element("svg", glyph, x=x, y=bottom + 2, overflow="visible")
    return titled(title, line, place, class_="bound lossless-bound")


def count_cells(tensor: TensorFacts, digital_bits_per_cell: float) -> tuple[float, float]:
    """Analog cells of a tensor, and the cells that its digital bits take.

    Args:
        tensor: the tensor.
        digital_bits_per_cell: what digital bits cost.
    """
    if tensor.cells is None:
        return 0, tensor.size_bits / digital_bits_per_cell
    return tensor.cells, (tensor.digital_bits or 0) / digital_bits_per_cell
