"""The progress of a training: stage, epoch, loss, accuracy and bytes so far."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from wl_onnx.cli.console import ERRORS, format_bytes

if TYPE_CHECKING:
    from wl_onnx.finetune import ReportFn, StepReport

__all__ = ["describe_step", "training_bar"]


def describe_step(report: StepReport) -> str:
    """Loss, accuracy and bytes of a report, as far as they are known."""
    parts = [f"loss {report.loss:.4f}"]
    if report.accuracy is not None:
        parts.append(f"accuracy {report.accuracy:.2%}")
    if report.size_bytes is not None:
        parts.append(format_bytes(report.size_bytes))
    return "  ".join(parts)


@contextlib.contextmanager
def training_bar(*, quiet: bool) -> Iterator[ReportFn]:
    """A progress bar that is driven by reports, one for each stage."""
    columns = (
        TextColumn("{task.description:<20.20}", markup=False),
        TextColumn("epoch {task.fields[epoch]}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeElapsedColumn(),
    )
    hidden = quiet or not ERRORS.is_terminal
    with Progress(*columns, console=ERRORS, transient=True, disable=hidden) as progress:
        task = progress.add_task("preparing", total=None, epoch="-", figures="")

        def report(step: StepReport) -> None:
            progress.update(
                task,
                description=step.stage,
                completed=step.step,
                total=step.steps,
                epoch=f"{step.epoch}/{step.epochs}",
                figures=describe_step(step),
            )

        yield report
