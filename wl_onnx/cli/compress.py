"""`wl-onnx compress`, and `wl-onnx plan`, which does the same and writes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import wl_onnx
from wl_onnx.cli.console import print_json, progress_bar, set_up_logging, write_json
from wl_onnx.cli.goal_options import takes_goal
from wl_onnx.cli.options import Force, Json, ModelPath, OutputPath, Quiet, takes_recipe
from wl_onnx.cli.portable_options import takes_portable
from wl_onnx.cli.report_tables import print_report
from wl_onnx.files import check_side_file

__all__ = ["compress", "plan"]

Strip = Annotated[
    bool,
    typer.Option("--strip", help="Drop doc strings, metadata of others and unused initializers."),
]


@takes_goal
@takes_portable
@takes_recipe
def compress(
    model: ModelPath,
    output: OutputPath,
    recipe: wl_onnx.Recipe,
    goal: dict[str, Any],
    portability: dict[str, Any],
    report: Annotated[
        Path | None, typer.Option(metavar="R.json", help="Also write the report as JSON.")
    ] = None,
    strip: Strip = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Compress the weights of a model, and write the smaller model.

    With --data and a limit, the smallest file within the limit is looked for; Ctrl-C ends the
    search and writes the best so far.
    """
    set_up_logging(quiet=quiet)
    if report is not None:
        check_side_file(report, (model, output, Path(f"{output}.data")), "report", force=force)
    with progress_bar(quiet=quiet) as progress:
        result = wl_onnx.compress(
            model, output, recipe=recipe, progress=progress, force=force, strip=strip, **goal,
            **portability,
        )  # fmt: skip
    if report is not None:
        write_json(result.report, report)
    if not quiet:
        print_report(result.report, title=f"{model} -> {output}")


@takes_goal
@takes_portable
@takes_recipe
def plan(
    model: ModelPath,
    recipe: wl_onnx.Recipe,
    goal: dict[str, Any],
    portability: dict[str, Any],
    save: Annotated[
        Path | None, typer.Option(metavar="P.json", help="Write the plan, for compress --plan.")
    ] = None,
    strip: Strip = False,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what compress would do with the same options; only the plan is written."""
    set_up_logging(quiet=quiet)
    if save is not None:
        check_side_file(save, (model,), "plan", force=force)
    with progress_bar(quiet=quiet) as progress:
        result = wl_onnx.compress(
            model, recipe=recipe, progress=progress, strip=strip, **goal, **portability
        )
    if save is not None:
        write_json(result.plan, save)
    if json:
        print_json(result.report)
    elif not quiet:
        print_report(result.report, title=f"{model}, not written")
