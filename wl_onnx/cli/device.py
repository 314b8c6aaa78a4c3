"""`wl-onnx device`: a device's constants, curves and capacity."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from wl_onnx import analog, evaluation
from wl_onnx.cli.console import OUTPUT, print_json, progress_bar, set_up_logging
from wl_onnx.cli.options import Force, Json, Quiet
from wl_onnx.durations import format_duration, parse_durations
from wl_onnx.errors import InputError

__all__ = ["device"]

DeviceName = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]", help="A device; gaussian:S for a deviation S.", show_default=False
    ),
]
TableFile = Annotated[
    Path | None,
    typer.Option(
        metavar="F.csv|F.json",
        help="A measured device: level (0 to 1), mean [uS], deviation [uS], and read_deviation "
        "[uS] if reads add noise.",
    ),
]
Times = Annotated[str, typer.Option("--time", metavar="T,...", help="Times with s, m, h, d or y.")]
Cells = Annotated[int, typer.Option(metavar="N", help="Cells that are averaged, 1 to 64.")]
Plot = Annotated[
    Path | None, typer.Option(metavar="F.svg|F.png", help="Draw curves, drift and capacity.")
]


def device(
    name: DeviceName = None,
    table: TableFile = None,
    time: Times = "0s,1d,1y",
    cells: Cells = 1,
    plot: Plot = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show a device's constants, its mean and deviation, and its capacity; or list the devices."""
    set_up_logging(quiet=quiet)
    if name is None and table is None:
        if plot is not None:
            raise InputError("cannot draw a device: a name or --table must be given, got neither")
        _print_devices(json=json)
        return
    if name is not None and table is not None:
        raise InputError(
            f"cannot show a device: a name or --table must be given, got both {name} and {table}"
        )
    times_s = parse_durations(time)
    chosen = analog.load_table(table) if table is not None else analog.find_device(name or "")
    if plot is not None:
        evaluation.check_picture(plot)
        if plot.exists() and not force:
            raise InputError(
                f"cannot write {plot}: the file must not exist, got one that does; use --force"
            )
    with progress_bar(quiet=quiet) as progress:
        report = evaluation.describe_device(chosen, times_s, cells=cells, progress=progress)
        if plot is not None:
            evaluation.draw_device(chosen, plot, progress=progress)
    if json:
        print_json(report)
    elif not quiet:
        _print_device(report)
        if plot is not None:
            OUTPUT.print(f"drawn: {plot}", soft_wrap=True)


def _print_devices(*, json: bool) -> None:
    devices = evaluation.list_devices()
    if json:
        print_json(devices)
        return
    table = Table(box=SIMPLE_HEAD)
    for column in ("device", "g_max", "drift", "source"):
        table.add_column(column)
    for one in devices:
        drift = "yes" if one["has_drift"] else "no"
        table.add_row(one["name"], f"{one['g_max_usiemens']:g} µS", drift, one["source"])
    OUTPUT.print(table)
    OUTPUT.print("gaussian:S has the deviation S of the range; --table F reads a measured device")


def _print_device(report: dict[str, Any]) -> None:
    constants = Table(title=report["name"], title_justify="left", box=SIMPLE_HEAD)
    constants.add_column("constant")
    constants.add_column("value", justify="right")
    constants.add_column("unit")
    constants.add_column("source", overflow="fold")
    for one in report["constants"]:
        unit = one["unit"].replace("uS", "µS")
        constants.add_row(one["name"], f"{one['value']:g}", unit, one["source"])
    OUTPUT.print(constants)

    times = [
        "any time" if report["is_static"] else format_duration(entry["time_s"])
        for entry in report["times"]
    ]
    title = "mean ± deviation of a read, µS"
    moments = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for column in ("target", *times):
        moments.add_column(column, justify="right")
    for index, level in enumerate(report["levels"]):
        pairs = (
            f"{entry['mean_usiemens'][index]:.3f} ± {entry['deviation_usiemens'][index]:.3f}"
            for entry in report["times"]
        )
        moments.add_row(f"{level:g}", *pairs)
    OUTPUT.print(moments)

    of = "a cell" if report["cells"] == 1 else f"{report['cells']} cells averaged"
    capacity = Table(title=f"capacity of {of}, bits", title_justify="left", box=SIMPLE_HEAD)
    for column in ("", *times):
        capacity.add_column(column, justify="right" if column else "left")
    rows = {"as it is, time known": "capacity_bits"}
    if report["has_drift"]:
        rows["each cell's drift undone"] = "capacity_bits_drift_undone"
    for label, key in rows.items():
        capacity.add_row(label, *(f"{entry[key]:.2f}" for entry in report["times"]))
    if not report["is_static"]:
        programming = f"{report['capacity_bits_programming']:.2f}"
        capacity.add_row("programming noise alone", *[programming] * len(times))
    OUTPUT.print(capacity)
