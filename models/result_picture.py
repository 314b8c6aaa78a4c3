"""Error against ratio: the results of each seed, the limits, and what papers give."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from picture_frame import LINE_COLOR, picture

if TYPE_CHECKING:
    from experiments import Experiment
    from matplotlib.axes import Axes
    from result_table import Row

# Of the palette by M. Okabe and K. Ito, told apart with any colour vision.
_STYLES = {
    "palette": ("#0072B2", "o", "lossless"),
    "bloomier": ("#D55E00", "^", "filters, retrained around"),
}


def draw(experiment: Experiment, rows: Sequence[Row], paths: Sequence[Path]) -> None:
    """Draws the picture.

    Args:
        experiment: what was reproduced.
        rows: at least one.
        paths: files to write, `.svg` or `.png`.
    """
    from matplotlib.ticker import FuncFormatter, NullFormatter

    limit = experiment.find_limit(statistics.fmean(row.baseline_error for row in rows))
    with picture(experiment.title, paths) as axes:
        axes.set_xscale("log")
        _draw_limit(axes, experiment, rows, limit)
        _draw_rows(axes, rows)
        _draw_published(axes, experiment, limit)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xticks(_choose_ticks(*axes.get_xlim()))
        counted = f"{experiment.layer}" if experiment.layer else "weights"
        axes.set_xlabel(f"dense bytes of {counted} over compressed")
        axes.set_ylabel("test error, %")


def _draw_limit(axes: Axes, experiment: Experiment, rows: Sequence[Row], limit: float) -> None:
    """The largest error allowed, the ratios wanted, and the room for all that is drawn."""
    ratios = [row.weights_ratio for row in rows]
    ratios += [experiment.at_least, experiment.stretch, *(p.ratio for p in experiment.published)]
    axes.set_xlim(min(ratios) / 1.3, max(ratios) * 1.45)
    errors = [limit, *(row.test_error for row in rows), *(row.baseline_error for row in rows)]
    span = max(max(errors) - min(errors), 0.2)
    axes.set_ylim(max(0.0, min(errors) - 0.55 * span), max(errors) + 0.75 * span)
    axes.axhline(limit, color=LINE_COLOR, linestyle="--", linewidth=1, label="most error allowed")
    baseline = statistics.fmean(row.baseline_error for row in rows)
    axes.axhline(baseline, color=LINE_COLOR, linewidth=1, label="baseline, mean")
    for ratio, name in ((experiment.at_least, "wanted"), (experiment.stretch, "hoped for")):
        axes.axvline(ratio, color=LINE_COLOR, linestyle=":", linewidth=1)
        axes.annotate(
            f"{name} {ratio:g}x",
            (ratio, 0),
            xycoords=("data", "axes fraction"),
            xytext=(3, 4),
            textcoords="offset points",
            rotation=90,
            fontsize=8,
            color=LINE_COLOR,
        )


def _draw_rows(axes: Axes, rows: Sequence[Row]) -> None:
    for codec in dict.fromkeys(row.codec for row in rows):
        group = [row for row in rows if row.codec == codec]
        color, marker, label = _STYLES[codec]
        axes.plot(
            [row.weights_ratio for row in group],
            [row.test_error for row in group],
            linestyle="none",
            color=color,
            marker=marker,
            markersize=8,
            markeredgecolor="white",
            label=f"{label}, by seed",
            zorder=4,
        )


def _draw_published(axes: Axes, experiment: Experiment, limit: float) -> None:
    if not experiment.published:
        return
    axes.plot(
        [one.ratio for one in experiment.published],
        [limit] * len(experiment.published),
        linestyle="none",
        marker="D",
        markersize=6,
        markerfacecolor="white",
        markeredgecolor="black",
        label="published, within the limit",
        zorder=3,
    )
    for one in experiment.published:
        axes.annotate(
            f"{one.name} {one.ratio:g}x",
            (one.ratio, limit),
            xytext=(2, 7),
            textcoords="offset points",
            rotation=35,
            rotation_mode="anchor",
            fontsize=8.5,
            zorder=3,
        )


def _choose_ticks(low: float, high: float) -> list[float]:
    """1, 2, 3 and 5 times the powers of ten between two positive numbers."""
    ticks = [digit * 10.0**power for power in range(-1, 6) for digit in (1, 2, 3, 5)]
    return [tick for tick in ticks if low <= tick <= high]
