"""One measured figure with its target, and how all of them are printed and kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from timing import Times

__all__ = ["Figure", "WrongResultError", "as_json", "print_figures", "ratio_figure", "require"]


class WrongResultError(RuntimeError):
    """What was timed did not give the right result."""


def require(holds: bool, what: str, got: object) -> None:
    """Raises where a result is wrong: unlike `assert`, with optimization on too."""
    if not holds:
        raise WrongResultError(f"cannot report figures: {what} must hold, got {got}")


@dataclasses.dataclass(frozen=True)
class Figure:
    """A row of a table.

    Attributes:
        what: the quantity.
        on: what it was measured on.
        value: the figure, a ratio unless `unit` says otherwise; None where it was skipped.
        unit: "" for a ratio or a count.
        limit: what `value` must not exceed; None for rows without a target.
        center: with it, |value - center| must not exceed `limit`.
        best: the ratio of the fastest repetitions, beside `value`, that of the medians.
        note: what a reader must know, or why the row was skipped.
        seconds: medians behind the ratio, by label.
    """

    what: str
    on: str
    value: float | None
    unit: str = ""
    limit: float | None = None
    center: float | None = None
    best: float | None = None
    note: str = ""
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        if self.value is None or self.limit is None:
            return None
        return abs(self.value - (self.center or 0.0)) <= self.limit

    @property
    def target(self) -> str:
        if self.limit is None:
            return ""
        return f"{self.center:g} ± {self.limit:.2g}" if self.center else f"<= {self.limit:g}"


def ratio_figure(
    what: str, on: str, times: Mapping[str, Times], top: str, bottom: str, **fields: Any
) -> Figure:
    """The ratio of two medians of one interleaved run."""
    return Figure(
        what,
        on,
        times[top].median / times[bottom].median,
        best=times[top].best / times[bottom].best,
        seconds={label: times[label].median for label in (top, bottom)},
        **fields,
    )


def print_figures(title: str, figures: Iterable[Figure], console: Console) -> None:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("what", "on", "figure", "best of", "target", "met", "medians, note"):
        table.add_column(name, justify="right" if name in ("figure", "best of") else "left")
    for figure in figures:
        verdict = {None: "", True: "yes", False: "[bold red]NO[/]"}[figure.met]
        medians = [f"{label} {_seconds(value)}" for label, value in figure.seconds.items()]
        table.add_row(
            figure.what,
            figure.on,
            "skipped" if figure.value is None else f"{_number(figure.value)} {figure.unit}".strip(),
            "" if figure.best is None else _number(figure.best),
            figure.target,
            verdict,
            "; ".join(filter(None, [", ".join(medians), figure.note])),
        )
    console.print(table)


def as_json(figures: Iterable[Figure]) -> list[dict[str, Any]]:
    return [
        {**dataclasses.asdict(figure), "target": figure.target, "met": figure.met}
        for figure in figures
    ]


def _number(value: float) -> str:
    return f"{value:.0f}" if value == round(value) or value >= 1000 else f"{value:.4g}"


def _seconds(value: float) -> str:
    for scale, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
        if value * scale >= 1:
            return f"{value * scale:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"
