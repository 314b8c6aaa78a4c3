"""Columns of a table of results: how figures are written, and their mean and worst."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Summary = dict[str, dict[str, dict[str, float | None]]]
"""By group and by "mean" or "worst" each figure; None where no row has it."""


@dataclasses.dataclass(frozen=True)
class Column:
    """One figure of all rows.

    Attributes:
        name: of the row's field.
        header: as the table has it.
        format: writes a figure, or None where there is none.
    """

    name: str
    header: str
    format: Callable[[float | None], str]


def summarize(rows: Sequence[Any], group: str, columns: Sequence[Column]) -> Summary:
    """Mean and worst of each figure by group; the worst of each field is of any row.

    Args:
        rows: at least one, with the columns' fields.
        group: name of the field by which they are told apart.
        columns: which figures; of a ratio the worst is the least, of others the most.
    """
    summary: Summary = {}
    for name in dict.fromkeys(getattr(row, group) for row in rows):
        members = [row for row in rows if getattr(row, group) == name]
        summary[name] = {
            "mean": {one.name: _reduce(members, one.name, statistics.fmean) for one in columns},
            "worst": {
                one.name: _reduce(members, one.name, min if one.name.endswith("_ratio") else max)
                for one in columns
            },
        }
    return summary


def _reduce(rows: Sequence[Any], name: str, reduce: Callable[[list[float]], float]) -> float | None:
    values = [getattr(row, name) for row in rows]
    known = [value for value in values if value is not None]
    return reduce(known) if known else None


def format_rows(
    rows: Sequence[Any], group: str, names: Mapping[str, str], columns: Sequence[Column]
) -> Iterator[str]:
    """The lines of a Markdown table: a row a seed and group, then mean and worst of each group.

    Args:
        rows: with `seed`, `is_resumed` and the columns' fields; the last column is the time.
        group: name of the field by which they are told apart.
        names: of each group, as the table has it.
        columns: in their order.
    """
    yield f"| seed | {group} | " + " | ".join(one.header for one in columns) + " |"
    yield "| --- | --- |" + " ---: |" * len(columns)
    for row in rows:
        cells = [one.format(getattr(row, one.name)) for one in columns]
        cells[-1] = ("at least " if row.is_resumed else "") + cells[-1]
        yield f"| {row.seed} | {names[getattr(row, group)]} | {' | '.join(cells)} |"
    for name, figures in summarize(rows, group, columns).items():
        for kind in ("mean", "worst"):
            cells = [one.format(figures[kind][one.name]) for one in columns]
            yield f"| {kind} | {names[name]} | {' | '.join(cells)} |"


def as_bytes(value: float | None) -> str:
    """`1,234`."""
    return "-" if value is None else f"{value:,.0f}"


def as_percent(value: float | None) -> str:
    """`1.23 %`."""
    return "-" if value is None else f"{value:.2f} %"


def as_ratio(value: float | None) -> str:
    """`12.3x`."""
    return "-" if value is None else f"{value:.1f}x"


def as_hundredths(value: float | None) -> str:
    """`1.23`."""
    return "-" if value is None else f"{value:.2f}"


def as_minutes(value: float | None) -> str:
    """`1.2`."""
    return "-" if value is None else f"{value:.1f}"
