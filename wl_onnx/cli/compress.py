"""`wl-onnx compress`, and `wl-onnx plan`, which does the same and writes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

import wl_onnx
from wl_onnx.cli.console import print_json, progress_bar, set_up_logging, write_json
from wl_onnx.cli.options import Force, Json, ModelPath, OutputPath, Quiet, takes_recipe
from wl_onnx.cli.report_tables import print_report
from wl_onnx.errors import InputError

__all__ = ["compress", "plan"]


@takes_recipe
def compress(
    model: ModelPath,
    output: OutputPath,
    recipe: wl_onnx.Recipe,
    report: Annotated[
        Path | None, typer.Option(metavar="R.json", help="Also write the report as JSON.")
    ] = None,
    strip: Annotated[
        bool,
        typer.Option("--strip", help="Drop doc strings, metadata and unused initializers."),
    ] = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Compress the weights of a model, and write the smaller model."""
    set_up_logging(quiet=quiet)
    if report is not None:
        _check_report(report, (model, output, Path(f"{output}.data")), force=force)
    with progress_bar(quiet=quiet) as progress:
        result = wl_onnx.compress(
            model, output, recipe=recipe, progress=progress, force=force, strip=strip
        )
    if report is not None:
        write_json(result.report, report)
    if not quiet:
        print_report(result.report, title=f"{model} -> {output}")


@takes_recipe
def plan(
    model: ModelPath, recipe: wl_onnx.Recipe, json: Json = False, quiet: Quiet = False
) -> None:
    """Show what compress would do with the same options; nothing is written."""
    set_up_logging(quiet=quiet)
    with progress_bar(quiet=quiet) as progress:
        result = wl_onnx.compress(model, recipe=recipe, progress=progress)
    if json:
        print_json(result.report)
    elif not quiet:
        print_report(result.report, title=f"{model}, not written")


def _check_report(report: Path, others: Iterable[Path], *, force: bool) -> None:
    for other in others:
        if report.resolve() == other.resolve():
            raise InputError(
                f"cannot write {report}: the report must have a path of its own, got {other}"
            )
    if report.is_dir():
        raise InputError(f"cannot write {report}: the report must be a file, got a directory")
    if not report.parent.is_dir():
        raise InputError(f"cannot write {report}: its folder must exist, got {report.parent}")
    if report.exists() and not force:
        raise InputError(
            f"cannot write {report}: the report must not exist, got a file there; "
            "--force replaces it"
        )
