"""The progress of a reproduction on a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from rich.console import Console

    from wl_onnx.finetune import StepReport


@contextlib.contextmanager
def progress_bar(description: str, console: Console) -> Iterator[tuple[Progress, Any]]:
    """A bar, and its one task; hidden where the console is no terminal.

    Args:
        description: of the task.
        console: where it is drawn.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(20),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeElapsedColumn(),
    )
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        yield bar, bar.add_task(description, total=None, figures="")


def show_step(bar: Progress, task: Any, step: StepReport) -> None:
    """Shows where a fine-tuning is.

    Args:
        bar: the bar.
        task: its task.
        step: what the fine-tuning told.
    """
    parts = [f"{step.stage} {step.epoch}/{step.epochs}", f"loss {step.loss:.3f}"]
    if step.accuracy is not None:
        parts.append(f"error {100 * (1 - step.accuracy):.2f} %")
    if step.size_bytes is not None:
        parts.append(f"{step.size_bytes:,} bytes")
    bar.update(task, completed=step.step, total=step.steps, figures="  ".join(parts))
