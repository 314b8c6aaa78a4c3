"""`wl-onnx compare`: a compressed model beside its original."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from wl_onnx import evaluation
from wl_onnx.cli.console import OUTPUT, format_bytes, print_json, progress_bar, set_up_logging
from wl_onnx.cli.options import Json, ModelPath, Quiet, SampleData

__all__ = ["compare", "print_comparison"]


def compare(
    original: ModelPath,
    compressed: Annotated[Path, typer.Argument(help="Its compressed form.", show_default=False)],
    data: SampleData = None,
    seed: Annotated[int, typer.Option(help="Seed of inputs that are drawn.")] = 0,
    threads: Annotated[int, typer.Option(help="Threads of onnxruntime; 0 is its default.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare outputs, top-1, size, session creation, latency and memory in every mode."""
    set_up_logging(quiet=quiet)
    with progress_bar(quiet=quiet) as progress:
        result = evaluation.compare(
            original, compressed, data, seed=seed, threads=threads, progress=progress
        )
    if json:
        print_json(result)
    elif not quiet:
        print_comparison(result)


def print_comparison(result: dict[str, Any]) -> None:
    """Prints what `wl_onnx.evaluation.compare` gives: fidelity, accuracy and size, then costs."""
    outputs = Table(title="outputs against the original's", title_justify="left", box=SIMPLE_HEAD)
    for column in ("output", "cosine", "relative L2", "SNR"):
        outputs.add_column(column, justify="left" if column == "output" else "right")
    for output in result["outputs"]:
        snr = output["snr_db"]
        outputs.add_row(
            output["name"],
            _number(output["cosine"], ".6f"),
            _number(output["relative_l2"], ".4f"),
            "identical" if output["relative_l2"] == 0 else f"{_number(snr, '.1f')} dB",
        )
    OUTPUT.print(outputs)

    modes = Table(title="cost", title_justify="left", box=SIMPLE_HEAD)
    for column in ("", "file", "ratio", "top-1", "create", "latency", "peak memory"):
        modes.add_column(column, justify="right" if column else "left")
    sizes, top1 = result["file_bytes"], result.get("top1", {})
    for mode, cost in result["modes"].items():
        model = "original" if mode == "original" else "compressed"
        modes.add_row(
            mode,
            format_bytes(sizes[model]),
            f"{sizes['original'] / max(1, sizes[model]):.2f}x",
            f"{top1[model]:.2%}" if model in top1 else "-",
            f"{1e3 * cost['create_s']:.1f} ms",
            f"{1e6 * cost['latency_s']:.0f} us",
            format_bytes(cost["peak_bytes"]),
        )
    OUTPUT.print(modes)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
