"""The drop in analog cells without training and with it, seed by seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cell_table import NAMES
from picture_frame import LINE_COLOR, picture

if TYPE_CHECKING:
    from cell_experiments import CellExperiment
    from cell_table import CellRow

# Of the palette by M. Okabe and K. Ito, told apart with any colour vision.
_STYLES = {"untrained": ("#0072B2", "o"), "trained": ("#D55E00", "^")}
_SHIFT = 0.08


def draw_cells(experiment: CellExperiment, rows: Sequence[CellRow], paths: Sequence[Path]) -> None:
    """Draws the picture.

    Args:
        experiment: what was reproduced.
        rows: at least one.
        paths: files to write, `.svg` or `.png`.
    """
    seeds = sorted({row.seed for row in rows})
    with picture(experiment.title, paths) as axes:
        axes.axhline(0, color=LINE_COLOR, linewidth=1, label="digital")
        for most, style, name in (
            (experiment.max_drop, "--", "wanted"),
            (experiment.stretch, ":", "hoped for"),
        ):
            label = f"{name}, {most:g} points"
            axes.axhline(most, color=LINE_COLOR, linestyle=style, linewidth=1, label=label)
        for side, (model, (color, marker)) in zip((-1, 1), _STYLES.items(), strict=True):
            group = [row for row in rows if row.model == model]
            axes.errorbar(
                [seeds.index(row.seed) + side * _SHIFT for row in group],
                [row.drop for row in group],
                yerr=[row.spread for row in group],
                linestyle="none",
                color=color,
                marker=marker,
                markersize=8,
                markeredgecolor="white",
                capsize=3,
                label=NAMES[model],
                zorder=4,
            )
        axes.set_xticks(range(len(seeds)), [str(seed) for seed in seeds])
        axes.set_xlim(-0.6, len(seeds) - 0.4)
        axes.set_xlabel("seed")
        axes.set_ylabel("drop of test accuracy, points\n(bars: deviation of a write)")
