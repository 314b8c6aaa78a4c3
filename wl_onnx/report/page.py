"""The page of a report: numbers and charts in a template, everything in one file."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wl_onnx.analog.storage import DIGITAL_BITS_PER_CELL
from wl_onnx.durations import format_duration
from wl_onnx.errors import LibraryError
from wl_onnx.report import headline, method, phrases, wording
from wl_onnx.report.bar_charts import (
    ANALOG_CELLS,
    DIGITAL_CELLS,
    PART_NAMES,
    count_cells,
    draw_bar,
    draw_cells,
    draw_size,
)
from wl_onnx.report.facts import DENSE, OVERHEAD, WEIGHTS, Histogram, Report, TensorFacts
from wl_onnx.report.histogram_chart import draw_histogram
from wl_onnx.report.histograms import NUM_BINS
from wl_onnx.report.map_marks import draw_spots
from wl_onnx.report.sweep_chart import NUM_COLORS, draw_sweep

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["MAX_SHOWN", "list_costs", "load_template", "render_page"]

MAX_SHOWN = 20
"""Tensors with a bar of their own; smaller ones are folded."""

_MAX_NAMES = 12
_BEFORE = "before"
_FILE_PARTS = {
    "blob_bytes": (WEIGHTS, "blobs"),
    "initializer_bytes": (DENSE, "initializers"),
    "graph_bytes": (OVERHEAD, "graph"),
}

_FOLDER = Path(__file__).parent
_COSTS = {"latency_s": "latency_ratio", "create_s": "create_ratio", "peak_bytes": "peak_ratio"}


def load_template() -> Template:
    """The page's template; what is put into it is escaped.

    Raises:
        LibraryError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise LibraryError(
            "cannot write a report: jinja2 must be installed, got none; "
            'pip install "wl-onnx[report]"'
        ) from error
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "bytes": wording.format_bytes,
        "count": wording.format_count,
        "ratio": wording.format_ratio,
        "percent": wording.format_percent,
        "db": wording.format_db,
        "value": wording.format_value,
        "shape": wording.format_shape,
        "duration": format_duration,
        "codec": phrases.describe_codec,
        "bits_as_bytes": _bits_as_bytes,
        "form_as": _form_as,
        "points": _format_points,
        "levels": _list_levels,
    }
    return environment.get_template("page.html.jinja")


def render_page(template: Template, report: Report) -> str:
    """The page, one HTML text without anything outside of it.

    Args:
        template: of `load_template`.
        report: what it tells.
    """
    from markupsafe import Markup

    def safe(svg: str) -> Markup:
        return Markup(svg)  # noqa: S704  charts escape what they are given

    in_cells = report.cells_per_weight is not None
    scale = _find_scale(report)
    costs = list_costs(report)
    longest = {key: max((row[key] or 0) for row in costs) or 1 for key in _COSTS}
    words, alt = phrases.describe_map(report.weight_map) if report.weight_map else ([], "")
    return template.render(
        report=report,
        style=safe((_FOLDER / "page.css").read_text(encoding="utf-8")),
        num_colors=NUM_COLORS,
        num_bins=NUM_BINS,
        headline=headline.describe_headline(report),
        tiles=headline.make_tiles(report),
        weights_ratio=report.original.tensor_bytes / max(1, report.compressed.tensor_bytes),
        file_legend=[
            (kind, title, report.file_parts[key])
            for key, (kind, title) in _FILE_PARTS.items()
            if report.file_parts[key]
        ],
        file_rows=[row | {"chart": safe(row["chart"])} for row in _list_files(report)],
        in_cells=in_cells,
        shown=report.tensors[:MAX_SHOWN],
        folded=report.tensors[MAX_SHOWN:],
        left=_list_left(report.tensors),
        legend=_list_legend(report),
        has_filter_bound=any(one.information_bound_bits is not None for one in report.tensors),
        has_zero=any(one.levels is not None and 0 in one.levels for one in report.histograms),
        has_lossless_bound=any(one.lossless_bound_bits is not None for one in report.tensors),
        size_lead=phrases.describe_sizes(report),
        draw_size=lambda tensor: safe(_draw_tensor(tensor, scale, in_cells=in_cells)),
        cells_of=lambda tensor: sum(count_cells(tensor, DIGITAL_BITS_PER_CELL)),
        draw_histogram=lambda histogram: safe(draw_histogram(histogram)),
        map=report.weight_map,
        map_spots=safe(draw_spots(report.weight_map)) if report.weight_map else "",
        map_words=words,
        map_alt=alt,
        map_uri=_to_uri(report.weight_map.png) if report.weight_map else "",
        outputs_lead=phrases.describe_outputs(report),
        top1=report.comparison.get("top1"),
        costs=costs,
        costs_lead=phrases.describe_costs(report),
        draw_cost=lambda row, key: safe(_draw_cost(row, key, longest[key])),
        sweep_lead=phrases.describe_sweep(report.sweep) if report.sweep else "",
        draw_sweep=lambda sweep: safe(draw_sweep(sweep)),
        format_metric=lambda value: _format_metric(value, report),
        origin=method.describe_origin(report),
        recipe=method.describe_recipe(report.metadata),
        method=method.describe_method(report),
    )


def list_costs(report: Report) -> list[dict[str, Any]]:
    """What each mode costs, the original first, and its ratio to that."""
    modes = report.comparison["modes"]
    original = modes["original"]
    rows = []
    for mode, cost in modes.items():
        row: dict[str, Any] = {"mode": mode, **{key: cost[key] for key in _COSTS}}
        for key, ratio in _COSTS.items():
            row[ratio] = cost[key] / original[key] if cost[key] and original[key] else None
        rows.append(row)
    return rows


def _list_files(report: Report) -> list[dict[str, Any]]:
    """The two files as bars of one scale, the compressed one by what its bytes are."""
    before, parts = report.original.size_bytes, report.file_parts
    after = report.compressed.size_bytes
    scale = max(before, after, 1)
    segments = [
        (kind, parts[key], f"{title}: {wording.format_bytes(parts[key])}")
        for key, (kind, title) in _FILE_PARTS.items()
    ]
    label = f"original file: {wording.format_bytes(before)}"
    return [
        {
            "title": "before",
            "amount": before,
            "chart": draw_bar(label, [(_BEFORE, before, label)], scale),
        },
        {
            "title": "after",
            "amount": after,
            "chart": draw_bar(f"compressed file: {wording.format_bytes(after)}", segments, scale),
        },
    ]


def _list_left(tensors: tuple[TensorFacts, ...]) -> list[tuple[str, str]]:
    """Reasons why tensors are left as they are, and which ones."""
    reasons: dict[str, list[str]] = {}
    for tensor in tensors:
        if tensor.codec == "none" and tensor.reason:
            reasons.setdefault(tensor.reason, []).append(tensor.name)
    return [
        (reason, ", ".join(names[:_MAX_NAMES]) + _and_more(len(names) - _MAX_NAMES))
        for reason, names in reasons.items()
    ]


def _and_more(count: int) -> str:
    return f" and {count:,} more" if count > 0 else ""


def _list_legend(report: Report) -> list[tuple[str, str]]:
    """The colours that bars have, and what they stand for."""
    if report.cells_per_weight is not None:
        return [(kind, PART_NAMES[kind]) for kind in (ANALOG_CELLS, DIGITAL_CELLS)]
    kinds = {kind for tensor in report.tensors for kind in tensor.parts}
    return [(kind, words) for kind, words in PART_NAMES.items() if kind in kinds]


def _find_scale(report: Report) -> float:
    """What is as wide as the chart: the largest tensor or bound, in bytes or cells."""
    if report.cells_per_weight is not None:
        amounts = [sum(count_cells(one, DIGITAL_BITS_PER_CELL)) for one in report.tensors]
        return max(amounts, default=0) or 1
    bits = [
        max(one.size_bits, one.information_bound_bits or 0, one.lossless_bound_bits or 0)
        for one in report.tensors
    ]
    return max(bits, default=0) / 8 or 1


def _draw_tensor(tensor: TensorFacts, scale: float, *, in_cells: bool) -> str:
    if in_cells:
        return draw_cells(tensor, scale, DIGITAL_BITS_PER_CELL)
    return draw_size(tensor, scale)


def _draw_cost(row: dict[str, Any], key: str, longest: float) -> str:
    form = "bytes" if key == "peak_bytes" else "seconds"
    label = f"{row['mode']}: {_form_as(row[key], form)}"
    kind = _BEFORE if row["mode"] == "original" else WEIGHTS
    return draw_bar(label, [(kind, row[key] or 0, label)], longest)


def _list_levels(histogram: Histogram) -> list[tuple[str, int]]:
    """Values and how many weights have them, as a table has them."""
    if histogram.levels is None or histogram.level_counts is None:
        return []
    return [
        (f"{level:.6g}", int(count))
        for level, count in zip(histogram.levels, histogram.level_counts, strict=True)
    ]


def _bits_as_bytes(bits: float | None) -> str:
    return wording.format_count(None if bits is None else bits / 8)


def _form_as(value: float | None, form: str) -> str:
    if value is None:
        return wording.MISSING
    return wording.format_bytes(value) if form == "bytes" else wording.format_seconds(value)


def _format_metric(value: float | None, report: Report) -> str:
    is_accuracy = report.sweep is not None and report.sweep.metric == "accuracy"
    return wording.format_percent(value) if is_accuracy else wording.format_db(value)


def _format_points(drop: float | None) -> str:
    if drop is None:
        return wording.MISSING
    return f"{round(drop, 2) + 0.0:.2f}".replace("-", wording.MINUS)


def _to_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
