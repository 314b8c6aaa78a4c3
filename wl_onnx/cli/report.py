"""`wl-onnx report`: a page to look at, on a compressed model beside its original."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wl_onnx.cli.console import OUTPUT, format_bytes, progress_bar, set_up_logging
from wl_onnx.cli.options import Force, ModelPath, Quiet, SampleData
from wl_onnx.report import write_report

__all__ = ["report"]


def report(
    original: ModelPath,
    compressed: Annotated[
        Path,
        typer.Argument(help="What compress, store or finetune made of it.", show_default=False),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="R.html", help="The page to write.")
    ],
    data: SampleData = None,
    sweep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A folder that sweep wrote, of the compressed model."),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Seed of inputs that are drawn, and of the read of analog cells.")
    ] = 0,
    threads: Annotated[int, typer.Option(help="Threads of onnxruntime; 0 is its default.")] = 0,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write one HTML page on sizes, weights, false positives, accuracy, latency and memory.

    Everything is in the page: it loads nothing from elsewhere.
    """
    set_up_logging(quiet=quiet)
    with progress_bar(quiet=quiet) as progress:
        write_report(
            original, compressed, output, data=data, sweep=sweep, seed=seed, threads=threads,
            force=force, progress=progress,
        )  # fmt: skip
    if not quiet:
        size = format_bytes(output.stat().st_size)
        OUTPUT.print(f"written: {output} ({size})", soft_wrap=True)
