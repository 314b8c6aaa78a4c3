"""Rings around the false positives of a picture of weights, where a pixel would not be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wl_onnx.report.svg import element, percent

if TYPE_CHECKING:
    from wl_onnx.report.facts import WeightMap

__all__ = ["draw_spots"]

_RADIUS = 5


def draw_spots(found: WeightMap) -> str:
    """A layer to lay over the picture; empty where there are no spots."""
    if not found.spots:
        return ""
    rings = [
        element("circle", class_="spot", cx=percent(x), cy=percent(y), r=_RADIUS)
        for x, y in found.spots
    ]
    return element("svg", *rings, width=found.width, height=found.height, aria_hidden="true")
