"""What `wl-onnx zoo` prints: tables of models and of results, and the bars in between."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from wl_onnx.cli.console import ERRORS, OUTPUT, format_bytes
from wl_onnx.recipe import Recipe
from wl_onnx.zoo import Entry, ZooResult

__all__ = [
    "ZooBars",
    "describe_entry",
    "print_entries",
    "print_failures",
    "print_results",
    "zoo_progress",
]


class ZooBars:
    """One bar for the models, and one for the download that goes on.

    Args:
        progress: what shows them.
        total: number of models.
    """

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._models = progress.add_task("models", total=total, figures=f"0/{total}")
        self._download: tuple[str, TaskID] | None = None

    def report_result(self, result: ZooResult, done: int, total: int) -> None:
        """Shows that a model is done.

        Args:
            result: what came of it.
            done: models that are done.
            total: models in all.
        """
        self._progress.update(
            self._models, completed=done, description=result.entry.stem, figures=f"{done}/{total}"
        )

    def report_download(self, name: str, done: int, total: int) -> None:
        """Shows how far a download is.

        Args:
            name: of the file.
            done: bytes that are there.
            total: bytes in all.
        """
        if self._download is None or self._download[0] != name:
            self._download = (name, self._progress.add_task(name, total=total, figures=""))
        task = self._download[1]
        figures = f"{format_bytes(done)} of {format_bytes(total)}"
        self._progress.update(task, completed=done, figures=figures, visible=done < total)


@contextlib.contextmanager
def zoo_progress(total: int, *, quiet: bool) -> Iterator[ZooBars]:
    """Bars on standard error while models are converted."""
    columns = (
        TextColumn("{task.description:<32.32}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeElapsedColumn(),
    )
    hidden = quiet or not ERRORS.is_terminal
    with Progress(*columns, console=ERRORS, transient=True, disable=hidden) as progress:
        yield ZooBars(progress, total)


def describe_entry(entry: Entry) -> dict[str, Any]:
    """A model of a manifest as JSON."""
    return {
        "model": entry.model,
        "name": entry.stem,
        "model_path": entry.model_path,
        "address": entry.address or str(entry.local_path),
        "opset_version": entry.opset_version,
        "model_sha": entry.sha256,
        "model_bytes": entry.size_bytes,
        "tags": list(entry.tags),
        "recipe": None if entry.recipe is None else _changed_fields(entry.recipe),
    }


def print_entries(entries: Sequence[Entry]) -> None:
    """Prints the models of a manifest."""
    table = Table(box=SIMPLE_HEAD)
    for column in ("name", "model", "opset", "size", "tags", "recipe"):
        is_number = column in ("opset", "size")
        table.add_column(column, justify="right" if is_number else "left", overflow="fold")
    for entry in entries:
        table.add_row(
            entry.stem,
            entry.model,
            "-" if entry.opset_version is None else str(entry.opset_version),
            format_bytes(entry.size_bytes),
            ", ".join(entry.tags),
            "default" if entry.recipe is None else _summarize(entry.recipe),
        )
    OUTPUT.print(table)


def print_results(results: Sequence[ZooResult], folder: str) -> None:
    """Prints what came of each model.

    Args:
        results: of the models.
        folder: that they lie in.
    """
    table = Table(title=f"-> {folder}", title_justify="left", box=SIMPLE_HEAD)
    for column in ("model", "before", "after", "ratio", "weights", "result"):
        is_text = column in ("model", "result")
        table.add_column(column, justify="left" if is_text else "right", overflow="fold")
    for result in results:
        facts = result.facts
        done = result.state != "failed"
        note = "" if facts.get("compressed_tensors", 1) else ", no weight shrinks"
        table.add_row(
            result.entry.model_path,
            format_bytes(result.source_size_bytes) if done else "-",
            format_bytes(result.size_bytes) if done else "-",
            f"{facts['ratio']:.2f}x" if done else "-",
            f"{facts['weights_ratio']:.2f}x" if done else "-",
            f"{result.state}{note}",
        )
    OUTPUT.print(table)


def print_failures(results: Sequence[ZooResult]) -> None:
    """Prints a line on each model that failed to standard error.

    Args:
        results: of the models.
    """
    for result in results:
        if result.state == "failed":
            line = f"wl-onnx: failed: {result.entry.model_path}: {result.error}"
            ERRORS.print(" ".join(line.split()), soft_wrap=True)


def _changed_fields(recipe: Recipe) -> dict[str, Any]:
    """The fields of a recipe that differ from the defaults."""
    default = dataclasses.asdict(Recipe())
    return {k: v for k, v in dataclasses.asdict(recipe).items() if v != default[k]}


def _summarize(recipe: Recipe) -> str:
    changed = _changed_fields(recipe)
    rules = changed.pop("rules", ())
    parts = [f"{name} {value}" for name, value in changed.items()]
    for rule in rules:
        values = ", ".join(f"{name} {value}" for name, value in rule["values"])
        parts.append(f"{rule['match']}: {values}")
    return "; ".join(parts)
