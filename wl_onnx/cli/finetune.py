"""`wl-onnx finetune`: training around what compression or noise does to the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wl_onnx.analog.presets import find_device
from wl_onnx.analog.storage import Storage
from wl_onnx.cli.console import ERRORS, OUTPUT, print_json, set_up_logging, write_json
from wl_onnx.cli.finetune_progress import training_bar
from wl_onnx.cli.options import Force, Json, ModelPath, OutputPath, Quiet
from wl_onnx.cli.report_tables import print_report
from wl_onnx.cli.storage_options import takes_storage_if_given
from wl_onnx.cli.storage_tables import print_storage
from wl_onnx.errors import TrainingError
from wl_onnx.files import check_side_file
from wl_onnx.finetune import finetune as run_finetune

__all__ = ["finetune"]

_DEVICE = "pcm-nandakumar2019"
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


@takes_storage_if_given
def finetune(
    model: ModelPath,
    output: OutputPath,
    storage: Any,
    data: Annotated[
        Path,
        typer.Option(
            metavar="D.npz",
            help="Inputs to train on, samples along axis 0, `labels` beside them.",
            show_default=False,
        ),
    ],
    recipe: Annotated[
        str, typer.Option(metavar="weightless|lossless|noisy|FILE", help="What is done.")
    ] = "weightless",
    validation: Annotated[
        Path | None,
        typer.Option(metavar="V.npz", help="Inputs to validate on. Default: a part of --data."),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(metavar="N", help="Of all stages. Default: the recipe's.")
    ] = None,
    target_ratio: Annotated[
        float | None, typer.Option(metavar="R", help="Weights must become so many times smaller.")
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(metavar="P", help="Most that accuracy may fall, in percentage points."),
    ] = None,
    torch_device: Annotated[
        str, typer.Option(metavar="NAME", help="Where torch computes: cpu, cuda.")
    ] = "cpu",
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where an interrupted run goes on from; removed at the end. Default: OUT.ckpt.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Of all draws. Default: the recipe's.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="R.json", help="Also write the report as JSON.")
    ] = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a model around compression (weightless) or the noise of cells (noisy), and write it.

    Ctrl-C keeps a checkpoint; the same command goes on from it.
    """
    set_up_logging(quiet=quiet)
    kept = checkpoint or Path(f"{output}.ckpt")
    if report is not None:
        others = (model, data, output, Path(f"{output}.data"), kept)
        check_side_file(report, others, "report", force=force)
    try:
        with training_bar(quiet=quiet or json) as progress:
            result = run_finetune(
                model,
                output,
                data=data,
                recipe=recipe,
                validation_data=validation,
                epochs=epochs,
                target_ratio=target_ratio,
                max_drop=max_drop,
                storage=storage,
                torch_device=torch_device,
                checkpoint=kept,
                seed=seed,
                progress=progress,
                force=force,
            )
    except KeyboardInterrupt:
        hint = f"; the same command goes on from {kept}" if kept.exists() else ""
        ERRORS.print(f"wl-onnx: interrupted{hint}", soft_wrap=True)
        raise SystemExit(_INTERRUPTED) from None
    except TrainingError as error:
        if not kept.exists():
            raise
        raise TrainingError(f"{error}; the last checkpoint is {kept}") from error
    if report is not None:
        write_json(result.report, report)
    if json:
        print_json(result.report)
    elif not quiet:
        _print_result(result.report, storage, title=f"{model} -> {output}")


def _print_result(report: dict[str, Any], storage: Storage | None, *, title: str) -> None:
    # What was lost on the way, before the training or after it, is not what the user asks about.
    shown = {name: part for name, part in report.items() if name != "search"}
    if "cells" in report:
        print_storage(shown, storage or Storage(find_device(_DEVICE)), title=title)
    else:
        print_report(shown, title=title)
    figures = report["finetune"]
    accuracy = figures["accuracy"]
    before, after = accuracy["original"], accuracy["result"]
    if before is None or after is None:
        return
    drop = 100 * (before - after)
    OUTPUT.print(
        f"accuracy on {figures['validation_samples']:,} samples: {before:.2%} -> {after:.2%} "
        f"(drop {drop:.2f} points)"
    )
