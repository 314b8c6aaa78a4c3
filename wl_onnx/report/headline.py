"""The first lines of a report: what was done, and the figures that tell most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wl_onnx.report.phrases import CODEC_NAMES, name_inputs
from wl_onnx.report.wording import (
    MINUS,
    MISSING,
    format_bytes,
    format_count,
    format_db,
    format_percent,
    format_ratio,
    format_value,
)

if TYPE_CHECKING:
    from wl_onnx.report.facts import Report

__all__ = ["Tile", "describe_headline", "make_tiles"]

Tile = dict[str, str]
"""A figure of the headline: its `title`, `figure`, `change` and `note`."""

_ARROW = " \N{RIGHTWARDS ARROW} "


def describe_headline(report: Report) -> str:
    """One line on what was done."""
    coded = [tensor for tensor in report.tensors if tensor.codec != "none"]
    if not coded:
        return "No weight is compressed in this model."
    kinds = {CODEC_NAMES.get(tensor.codec, tensor.codec) for tensor in coded}
    names = {"filter": "Bloomier filters", "palette": "palettes", "bundle": "bundles"}
    stored = " and ".join(sorted(names.get(kind, kind) for kind in kinds))
    count = f"{format_count(len(coded))} of {format_count(len(report.tensors))}"
    portable = ", decoded by standard operators" if report.is_portable else ""
    return f"{count} tensors stored in {stored}{portable}."


def make_tiles(report: Report) -> list[Tile]:
    """The figures that tell most: weights, file, and accuracy or SNR."""
    tiles = []
    before, after = report.original, report.compressed
    if report.cells_per_weight is not None:
        tiles.append(
            _tile(
                "Cells a weight",
                format_value(report.cells_per_weight),
                "analog and digital",
                "digital bits counted as cells",
            )
        )
    for title, old, new, note in (
        ("Weights", before.tensor_bytes, after.tensor_bytes, "all initializers and blobs"),
        ("File", before.size_bytes, after.size_bytes, "with the graph and external data"),
    ):
        if report.cells_per_weight is not None and title == "Weights":
            continue  # bytes of a simulation
        change = f"{format_bytes(old)}{_ARROW}{format_bytes(new)}"
        tiles.append(_tile(title, format_ratio(old / max(1, new)), change, note))
    tiles.append(_quality_tile(report))
    return tiles


def _quality_tile(report: Report) -> Tile:
    comparison = report.comparison
    samples = f"{format_count(comparison['num_samples'])} {name_inputs(report)}"
    top1 = comparison.get("top1")
    if top1:
        drop = round(100 * (top1["original"] - top1["compressed"]), 2) + 0.0
        sign = "" if drop == 0 else MINUS if drop > 0 else "+"
        change = f"{format_percent(top1['original'])} before, {sign}{abs(drop):.2f} points"
        note = samples if report.cells_per_weight is None else f"one read; {samples}"
        return _tile("Top-1", format_percent(top1["compressed"]), change, note)
    known = [one for one in comparison["outputs"] if one["relative_l2"] is not None]
    if known and all(one["relative_l2"] == 0 for one in known):
        return _tile("Outputs", "identical", "to the original's", samples)
    finite = [one["snr_db"] for one in known if one["snr_db"] is not None]
    which = "of the output" if len(known) == 1 else f"of the worst of {len(known)} outputs"
    return _tile("SNR", format_db(min(finite)) if finite else MISSING, which, samples)


def _tile(title: str, figure: str, change: str, note: str) -> Tile:
    return {"title": title, "figure": figure, "change": change, "note": note}
