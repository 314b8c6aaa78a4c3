"""Pictures of a sweep: by time, and by cells a weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wl_onnx.durations import format_duration
from wl_onnx.evaluation.figure import (
    COLORS,
    PICTURE_SUFFIXES,
    check_picture,
    new_figure,
    save_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from wl_onnx.evaluation.sweep_summary import SweepResult

__all__ = ["draw_sweep"]

_LABELS = {"accuracy": "top-1, %", "snr_db": "SNR of the first output, dB"}
_BAND_ALPHA = 0.10
_POINT_ALPHA = 0.3
_MAX_LEGEND = 12

Values = Mapping[str, Mapping[float, Sequence[float]]]
"""Of every trial, by model and time."""


def draw_sweep(result: SweepResult, folder: Path) -> list[Path]:
    """Draws a sweep as PNG and SVG: by time, and by cells where they are known and differ.

    Args:
        result: what `run_sweep` gave; values that are infinite are left out.
        folder: where `by_time` and `by_cells` go.

    Returns:
        The files.

    Raises:
        InputError: a file cannot be written.
        LibraryError: matplotlib is not installed.
    """
    check_picture(folder / "by_time.png")
    summary = result.summary
    values: dict[str, dict[float, list[float]]] = {}
    for trial in result.trials:
        values.setdefault(trial.model, {}).setdefault(trial.time_s, []).append(trial.value)
    factor = 100.0 if summary["metric"] == "accuracy" else 1.0
    written = []
    with new_figure(1, 1, width=7.6, height=4.4) as (figure, panels):
        _draw_times(panels[0][0], summary, values, factor)
        for suffix in PICTURE_SUFFIXES:
            written.append(folder / f"by_time{suffix}")
            save_figure(figure, written[-1])
    counts = {model["cells_per_weight"] for model in summary["models"]} - {None}
    if len(counts) > 1:
        with new_figure(1, 1, width=7.6, height=4.4) as (figure, panels):
            _draw_cells(panels[0][0], summary, values, factor)
            for suffix in PICTURE_SUFFIXES:
                written.append(folder / f"by_cells{suffix}")
                save_figure(figure, written[-1])
    return written


def _draw_times(axes: Axes, summary: Mapping[str, Any], values: Values, factor: float) -> None:
    models = summary["models"]
    times = sorted({entry["time_s"] for model in models for entry in model["times"]})
    places = _place(times)
    shifts = _dodge(len(models), 0.2 * _smallest_step(np.log2(list(places.values()))))
    for index, (model, shift) in enumerate(zip(models, shifts, strict=True)):
        label = model["name"]
        if model["cells_per_weight"] is not None:
            label += f" ({model['cells_per_weight']:.2f} cells a weight)"
        entries = [entry for entry in model["times"] if entry["mean"] is not None]
        x = np.array([places[entry["time_s"]] for entry in entries]) * np.exp2(shift)
        _draw_series(axes, COLORS[index % len(COLORS)], label, x, entries, factor)
        for time_s, trials in values[model["name"]].items():
            place = places[time_s] * np.exp2(shift)
            _draw_points(axes, COLORS[index % len(COLORS)], place, trials, factor)
    _draw_baselines(axes, summary, factor)
    axes.set_xscale("log")
    axes.set_xticks(list(places.values()), [format_duration(time_s) for time_s in times])
    axes.set_xticks([], minor=True)
    axes.set(
        title="Over time: mean, and 10 to 90 % of the trials",
        xlabel="time since programming",
        ylabel=_LABELS[summary["metric"]],
    )
    if len(models) <= _MAX_LEGEND:
        axes.legend(loc="best")


def _draw_cells(axes: Axes, summary: Mapping[str, Any], values: Values, factor: float) -> None:
    models = [model for model in summary["models"] if model["cells_per_weight"] is not None]
    models.sort(key=lambda model: model["cells_per_weight"])
    counts = np.array([model["cells_per_weight"] for model in models])
    times = sorted({entry["time_s"] for model in models for entry in model["times"]})
    # Places are figures here: series stand apart by no more than a marker or two.
    step = min(0.2 * _smallest_step(counts), 0.03 * float(np.ptp(counts)))
    for index, (time_s, shift) in enumerate(zip(times, _dodge(len(times), step), strict=True)):
        color = COLORS[index % len(COLORS)]
        rows = [
            (model, entry)
            for model in models
            for entry in model["times"]
            if entry["time_s"] == time_s and entry["mean"] is not None
        ]
        x = np.array([model["cells_per_weight"] for model, _ in rows]) + shift
        entries = [entry for _, entry in rows]
        _draw_series(axes, color, format_duration(time_s), x, entries, factor)
        for (model, _), place in zip(rows, x, strict=True):
            _draw_points(axes, color, float(place), values[model["name"]][time_s], factor)
    _draw_baselines(axes, summary, factor)
    for model in models:
        axes.annotate(
            model["name"],
            (model["cells_per_weight"], 0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4),
            textcoords="offset points",
            fontsize=7,
            color="#5b6675",
            ha="center",
        )
    axes.set(
        title="Over cells: mean, and 10 to 90 % of the trials",
        xlabel="cells a weight, digital bits counted as cells",
        ylabel=_LABELS[summary["metric"]],
    )
    axes.margins(y=0.1)
    # Beside the axes: points may lie anywhere in them.
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), title="time since programming")


def _draw_series(
    axes: Axes,
    color: str,
    label: str,
    x: npt.NDArray[np.float64],
    entries: Sequence[Mapping[str, Any]],
    factor: float,
) -> None:
    """The means joined by a line, with the quantiles of each as a band and as a bar."""
    mean, low, high = (
        factor * np.array(column, np.float64)
        for column in (
            [entry["mean"] for entry in entries],
            [entry["quantiles"]["0.1"] for entry in entries],
            [entry["quantiles"]["0.9"] for entry in entries],
        )
    )
    axes.fill_between(x, low, high, color=color, alpha=_BAND_ALPHA, lw=0)
    axes.vlines(x, low, high, color=color, lw=1.2, alpha=0.7)
    axes.plot(x, mean, color=color, marker="o", ms=4.5, label=label)


def _draw_points(
    axes: Axes, color: str, place: float, trials: Sequence[float], factor: float
) -> None:
    finite = factor * np.array([value for value in trials if np.isfinite(value)])
    x = np.full(finite.size, place)
    axes.plot(x, finite, ".", color=color, alpha=_POINT_ALPHA, ms=5, mew=0)


def _draw_baselines(axes: Axes, summary: Mapping[str, Any], factor: float) -> None:
    """One line for the original, or for each model without noise."""
    models = summary["models"]
    if summary["reference"] == "original" and models[0]["baseline"] is not None:
        axes.axhline(factor * models[0]["baseline"], color="#5b6675", ls="--", lw=1.2)
        axes.annotate(
            "original",
            (1, factor * models[0]["baseline"]),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 3),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color="#5b6675",
        )
        return
    for index, model in enumerate(models):
        if model["baseline"] is not None:
            color = COLORS[index % len(COLORS)]
            axes.axhline(factor * model["baseline"], color=color, ls="--", lw=1.0, alpha=0.8)


def _place(times: Sequence[float]) -> dict[float, float]:
    """Where times lie on a logarithmic axis: time 0 a decade before the first other one."""
    positive = [time_s for time_s in times if time_s > 0]
    start = positive[0] / 10 if positive else 1.0
    return {time_s: time_s or start for time_s in times}


def _smallest_step(places: npt.ArrayLike) -> float:
    """The smallest distance of neighbours; 1 where there are none."""
    steps = np.diff(np.unique(np.asarray(places, np.float64)))
    return float(steps.min()) if steps.size else 1.0


def _dodge(count: int, width: float) -> npt.NDArray[np.float64]:
    """Places side by side, so that series do not hide one another."""
    return width * (np.arange(count) - (count - 1) / 2) / max(count, 1)
