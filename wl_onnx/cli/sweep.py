"""`wl-onnx sweep`: Monte-Carlo over writes, reads and times."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from wl_onnx import evaluation
from wl_onnx.cli.console import (
    ERRORS,
    OUTPUT,
    print_json,
    progress_bar,
    set_up_logging,
    write_json,
)
from wl_onnx.cli.options import Json, Quiet
from wl_onnx.durations import format_duration, parse_durations

__all__ = ["sweep"]

_SUMMARY_NAME = "summary.json"


def sweep(
    models: Annotated[
        list[Path], typer.Argument(help="Files that store wrote.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", "--output", metavar="DIR", help="Folder for what is found."),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="D.npz",
            help="Samples along axis 0, named after the inputs; top-1 with `labels` beside them, "
            "else SNR. Standard-normal inputs where none are given.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(metavar="N", help="Trials of each model and time.")] = 20,
    times: Annotated[
        str, typer.Option(metavar="T,...", help="Times since programming, with s, m, h, d or y.")
    ] = "20s,1h,1d,30d,1y",
    original: Annotated[
        Path | None,
        typer.Option(
            metavar="M.onnx", help="Compare with it. Default: with what was meant to be written."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="From which all seeds are derived.")] = 0,
    jobs: Annotated[int, typer.Option(metavar="N", help="Trials at a time; 0 is one a core.")] = 0,
    plots: Annotated[bool, typer.Option(help="Draw pictures, as PNG and SVG.")] = True,
    force: Annotated[
        bool, typer.Option("--force", help="Throw away the trials that are there.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write and read stored models many times: accuracy by time and by cells, with its spread.

    What is in the folder is gone on with: trials that are there are not run again.
    """
    set_up_logging(quiet=quiet)
    times_s = parse_durations(times)
    if plots:
        evaluation.check_picture(out / "by_time.png")
    file = out / evaluation.TRIALS_NAME
    try:
        with progress_bar(quiet=quiet) as progress:
            result = evaluation.run_sweep(
                models, out, data, num_seeds=seeds, times_s=times_s, original=original, seed=seed,
                jobs=jobs, force=force, progress=progress,
            )  # fmt: skip
    except KeyboardInterrupt:
        if file.is_file() and not quiet:
            ERRORS.print(f"trials so far: {file}; the same command goes on", soft_wrap=True)
        raise
    write_json(result.summary, out / _SUMMARY_NAME)
    drawn = evaluation.draw_sweep(result, out) if plots else []
    if json:
        print_json(result.summary)
    elif not quiet:
        _print_summary(result.summary)
        names = [file.name, _SUMMARY_NAME, *(path.name for path in drawn)]
        OUTPUT.print(f"in {out}: {', '.join(names)}", soft_wrap=True)


def _print_summary(summary: dict[str, Any]) -> None:
    is_accuracy = summary["metric"] == "accuracy"
    form = _percent if is_accuracy else _decibel
    for model in summary["models"]:
        title = model["name"]
        if model["cells_per_weight"] is not None:
            title += f": {model['cells_per_weight']:.3f} cells a weight"
        if model["baseline"] is not None:
            title += f", {form(model['baseline'])} top-1 of the {summary['reference']}"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
        columns = ["time", "trials", "mean", "deviation", "worst", "10 %", "median", "90 %"]
        for column in [*columns, "drop"] if is_accuracy else columns:
            table.add_column(column, justify="right")
        for entry in model["times"]:
            row = [format_duration(entry["time_s"]), str(entry["trials"])]
            row += [form(entry[key]) for key in ("mean", "deviation", "worst")]
            row += [form(value) for value in entry["quantiles"].values()]
            if is_accuracy:
                row.append(f"{round(entry['mean_drop'], 2) + 0.0:.2f}")  # no -0.00
            table.add_row(*row)
        OUTPUT.print(table)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _decibel(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} dB"
