"""A device in a picture: mean and deviation by target, drift and capacity by time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wl_onnx.analog import cell_capacity
from wl_onnx.durations import format_duration
from wl_onnx.evaluation.device_report import is_static
from wl_onnx.evaluation.figure import COLORS, check_picture, new_figure, save_figure, time_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from wl_onnx.analog import Device

__all__ = ["draw_device"]

_TARGETS = np.linspace(0, 1, 101)
_CURVE_TIMES_S = (0.0, 3600.0, 86_400.0, 365 * 86_400.0)
_DRIFT_TARGETS = (0.1, 1.0)  # from 0.2 on the presets drift alike
_FIRST_S, _LAST_S = 1.0, 10 * 365 * 86_400.0
_NUM_CAPACITIES = 7
_BAND_ALPHA = 0.15

Progress = Callable[[str, int, int], None]


def draw_device(device: Device, path: Path, *, progress: Progress | None = None) -> None:
    """Draws a device as PNG or SVG.

    Args:
        device: what is drawn; one that is the same at all times has only the panels by target.
        path: of the picture; ends in .png or .svg.
        progress: called with (what is being done, steps done, steps in all).

    Raises:
        InputError: the name ends otherwise, or the file cannot be written.
        LibraryError: matplotlib is not installed.
    """
    check_picture(path)
    static = is_static(device)
    times = _CURVE_TIMES_S[:1] if static else _CURVE_TIMES_S
    rows = 1 if static else 2
    with new_figure(rows, 2, width=9.2, height=3.5 * rows) as (figure, panels):
        _draw_means(panels[0][0], device, times)
        _draw_deviations(panels[0][1], device, times)
        heading = f"{device.name}: g_max {device.g_max_usiemens:g} µS"
        if static:
            heading += f", {cell_capacity(device).bits:.2f} bits a cell"
        else:
            _draw_drift(panels[1][0], device)
            _draw_capacity(panels[1][1], device, progress or (lambda _what, _done, _total: None))
        figure.suptitle(heading, x=0.01, ha="left", fontsize=11, fontweight="bold")
        save_figure(figure, path)


def _draw_means(axes: Axes, device: Device, times: tuple[float, ...]) -> None:
    for color, time_s in zip(COLORS, times, strict=False):
        mean, deviation = device.moments(_TARGETS, time_s)
        axes.plot(_TARGETS, mean, color=color, label=_label(time_s, times))
        lower = np.maximum(0, mean - deviation)
        axes.fill_between(_TARGETS, lower, mean + deviation, color=color, alpha=_BAND_ALPHA, lw=0)
    axes.set(
        title="Mean of a read, ± one deviation",
        xlabel="target, share of the range",
        ylabel="conductance, µS",
        xlim=(0, 1),
        ylim=(0, None),
    )
    if len(times) > 1:
        axes.legend(loc="upper left")


def _draw_deviations(axes: Axes, device: Device, times: tuple[float, ...]) -> None:
    programming = device.without_drift().without_read_noise()
    for color, time_s in zip(COLORS, times, strict=False):
        deviation = device.deviation(_TARGETS, time_s)
        axes.plot(_TARGETS, deviation, color=color, label=_label(time_s, times))
    if len(times) > 1:
        alone = programming.deviation(_TARGETS, 0.0)
        axes.plot(_TARGETS, alone, color="#5b6675", ls="--", lw=1.2, label="programming alone")
        axes.legend(loc="lower right")
    axes.set(
        title="Deviation of a read",
        xlabel="target, share of the range",
        ylabel="deviation, µS",
        xlim=(0, 1),
        ylim=(0, None),
    )
    share = axes.twinx()
    share.set(ylabel="% of g_max", ylim=np.array(axes.get_ylim()) * 100 / device.g_max_usiemens)
    share.grid(visible=False)


def _draw_drift(axes: Axes, device: Device) -> None:
    times = np.geomspace(_FIRST_S, _LAST_S, 60)
    targets = np.array(_DRIFT_TARGETS)
    start = device.moments(targets, 0.0)[0]
    moments = [device.moments(targets, time_s) for time_s in times]
    means, deviations = (np.array(values) / start for values in zip(*moments, strict=True))
    for column, (color, target) in enumerate(zip(COLORS, _DRIFT_TARGETS, strict=False)):
        mean, deviation = means[:, column], deviations[:, column]
        axes.plot(times, mean, color=color, label=f"target {target:g}")
        lower = np.maximum(0, mean - deviation)
        axes.fill_between(times, lower, mean + deviation, color=color, alpha=_BAND_ALPHA, lw=0)
    time_axis(axes, _FIRST_S, _LAST_S)
    axes.set(title="Drift, ± one deviation", ylabel="read / mean read at time 0", ylim=(0, None))
    axes.legend(loc="lower left", ncols=len(_DRIFT_TARGETS))


def _draw_capacity(axes: Axes, device: Device, report: Progress) -> None:
    times = np.geomspace(_FIRST_S, _LAST_S, _NUM_CAPACITIES)
    curves: dict[str, Any] = {"as it is, time known": device}
    if device.has_drift:
        curves["each cell's drift undone"] = device.without_drift()
    for number, (color, (label, one)) in enumerate(zip(COLORS, curves.items(), strict=False)):
        bits = []
        for index, time_s in enumerate(times):
            report("capacity", number * len(times) + index, len(curves) * len(times))
            bits.append(cell_capacity(one, float(time_s)).bits)
        axes.plot(times, bits, color=color, marker="o", ms=3.5, label=label)
    programming = cell_capacity(device.without_drift().without_read_noise()).bits
    axes.axhline(programming, color="#5b6675", ls="--", lw=1.2, label="programming noise alone")
    time_axis(axes, _FIRST_S, _LAST_S)
    axes.set(title="Capacity", ylabel="bits a cell", ylim=(0, 1.1 * programming))
    axes.legend(loc="lower left")


def _label(time_s: float, times: tuple[float, ...]) -> str:
    return format_duration(time_s) if len(times) > 1 else ""
