"""`wl-onnx store`: a model's weights in analog cells."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import wl_onnx
from wl_onnx.cli.console import print_json, progress_bar, set_up_logging
from wl_onnx.cli.options import Force, Json, ModelPath, OutputPath, Quiet
from wl_onnx.cli.storage_options import takes_storage
from wl_onnx.cli.storage_tables import print_storage

__all__ = ["store"]


@takes_storage
def store(
    model: ModelPath,
    output: OutputPath,
    storage: Any,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="D.npz",
            help="Inputs to calibrate on, samples along axis 0, `labels` for --max-drop.",
        ),
    ] = None,
    validation_data: Annotated[
        Path | None,
        typer.Option(metavar="V.npz", help="Inputs to validate on. Default: half of --data."),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(metavar="P", help="Fewest cells for so many points of accuracy, on average."),
    ] = None,
    max_kl: Annotated[
        float | None, typer.Option(metavar="NATS", help="... for so much KL divergence.")
    ] = None,
    min_snr: Annotated[
        float | None, typer.Option(metavar="DB", help="... for this SNR of every output.")
    ] = None,
    cell_budget: Annotated[
        float | None,
        typer.Option(metavar="C", help="Least loss in so many cells a weight, all counted."),
    ] = None,
    analog_only: Annotated[
        bool, typer.Option("--analog-only", help="No tensor is stored digitally.")
    ] = False,
    trials: Annotated[
        int, typer.Option(metavar="N", min=1, help="Most trials of each of the two searches.")
    ] = 24,
    reads: Annotated[
        int, typer.Option(metavar="N", min=1, help="Writes, each read once, to measure with.")
    ] = 20,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Only initializers of these names; repeats."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Not initializers of these names; repeats."),
    ] = None,
    threads: Annotated[int, typer.Option(metavar="N", help="Threads; 0 is one a core.")] = 0,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Store the weights of a model in noisy memory cells; onnxruntime reads them with noise.

    With a limit or a budget, the mapping, what is pruned and what is stored digitally are searched
    for; without one, all weights are stored as the flags say.
    """
    set_up_logging(quiet=quiet)
    recipe = wl_onnx.Recipe(
        include=tuple(include or ()), exclude=tuple(exclude or ()), threads=threads
    )
    with progress_bar(quiet=quiet or json) as progress:
        result = wl_onnx.store(
            model,
            output,
            storage=storage,
            recipe=recipe,
            data=data,
            validation_data=validation_data,
            max_drop=max_drop,
            max_kl=max_kl,
            min_snr=min_snr,
            cell_budget=cell_budget,
            analog_only=analog_only,
            max_trials=trials,
            reads=reads,
            progress=progress,
            force=force,
        )
    if json:
        print_json(result.report)
    elif not quiet:
        print_storage(result.report, storage, title=f"{model} -> {output}")
