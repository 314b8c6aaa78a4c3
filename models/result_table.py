"""The figures of a reproduction: one row a result, then mean and worst, as Markdown."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import table_columns
from table_columns import Column, as_bytes, as_minutes, as_percent, as_ratio, format_rows

if TYPE_CHECKING:
    from experiments import Experiment

_NAMES = {"palette": "lossless", "bloomier": "filters"}
# Of errors in percent, sums of which are not exact; one image of 10,000 is 0.01.
_ROUNDING = 1e-6


@dataclasses.dataclass(frozen=True)
class Row:
    """What one seed came to with one codec. Errors are in percent of the test images.

    Attributes:
        seed: of the baseline and the fine-tuning.
        codec: "palette" or "bloomier".
        baseline_error: of the network before.
        test_error: of the compressed one.
        weights_bytes: of what is counted: all initializers, or one layer.
        weights_ratio: of the same before to it.
        lossless_bound_bytes: the entropy of places and values of what is counted.
        file_bytes: of the compressed ONNX file.
        file_ratio: of the baseline's file to it.
        filter_bytes: of what is counted, those in filters; None without filters.
        information_bound_bytes: what these filters cannot go below.
        same_lossless_bytes: what the weights in these filters take without loss.
        minutes: of the fine-tuning; of its last part where it was interrupted.
        is_resumed: whether it was.
    """

    seed: int
    codec: str
    baseline_error: float
    test_error: float
    weights_bytes: float
    weights_ratio: float
    lossless_bound_bytes: float
    file_bytes: int
    file_ratio: float
    filter_bytes: float | None
    information_bound_bytes: float | None
    same_lossless_bytes: float | None
    minutes: float
    is_resumed: bool


def count_bytes(report: Mapping[str, Any], layer: str | None) -> dict[str, Any]:
    """The fields of a `Row` that the report of a fine-tuning gives.

    Args:
        report: of `wl_onnx.finetune`.
        layer: the weight that is counted alone; None: all initializers.
    """
    tensors = [one for one in report["tensors"] if layer in (None, one["name"])]
    weights = report["weights"]
    after, before = weights["compressed_bytes"], weights["original_bytes"]
    if layer is not None:
        after = sum(one["size_bits"] for one in tensors) / 8
        before = sum(one["original_bits"] for one in tensors) / 8
    filters = [one for one in tensors if one["codec"] == "bloomier"]

    def total(sizes: Iterable[float]) -> float | None:
        return sum(sizes) / 8 if filters else None

    return {
        "weights_bytes": after,
        "weights_ratio": before / max(1, after),
        "lossless_bound_bytes": sum(one["lossless_bound_bits"] or 0 for one in tensors) / 8,
        "filter_bytes": total(one["size_bits"] for one in filters),
        "information_bound_bytes": total(one["information_bound_bits"] or 0 for one in filters),
        "same_lossless_bytes": total(_palette_bits(one) for one in filters),
    }


def _palette_bits(tensor: Mapping[str, Any]) -> float:
    return float(tensor["tried"]["palette"]["size_bits"])


def is_within_limit(experiment: Experiment, row: Row) -> bool:
    """Whether a result's error is one that the comparison allows."""
    return row.test_error <= experiment.find_limit(row.baseline_error) + _ROUNDING


def summarize(rows: Sequence[Row]) -> table_columns.Summary:
    """Mean and worst of each figure by codec; the worst of each field is of any seed."""
    return table_columns.summarize(rows, "codec", _COLUMNS)


def format_table(experiment: Experiment, rows: Sequence[Row]) -> str:
    """The table as Markdown, with what it says and how to read it.

    Args:
        experiment: what was reproduced.
        rows: at least one.
    """
    lines = [f"# {experiment.title}", "", *_format_verdicts(experiment, rows), ""]
    lines += format_rows(rows, "codec", _NAMES, _COLUMNS)
    counted = f"`{experiment.layer}` alone" if experiment.layer else "all initializers, biases too"
    lines += [
        "",
        f"Errors are those of the test images, read once a result. Weights: {counted}, with every "
        "byte that stands for them. The lossless bound is the entropy of their places and values "
        "as if all rows were alike, so that a code that knows better may be below. The three "
        "columns on filters are about the weights that are in one: its bytes, the bound that no "
        "filter goes below, and the bytes of the same weights without loss. Minutes are of the "
        "fine-tuning, without the training of the baseline.",
    ]
    if experiment.published:
        lines += ["", "| published, within the same limit | ratio | source |"]
        lines += ["| --- | ---: | --- |"]
        lines += [f"| {p.name} | {p.ratio:g}x | {p.source} |" for p in experiment.published]
    return "\n".join(lines) + "\n"


def _format_verdicts(experiment: Experiment, rows: Sequence[Row]) -> list[str]:
    """What was reached, and where filters win, a line a codec."""
    limit = (
        f"at an error of at most {experiment.max_error:g} %"
        if experiment.max_error is not None
        else f"with at most {experiment.max_drop:g} points more error than the baseline"
    )
    lines = [
        f"Wanted: {experiment.at_least:g}x ({experiment.stretch:g}x if it can be) {limit}.",
        "",
    ]
    for codec in dict.fromkeys(row.codec for row in rows):
        group = [row for row in rows if row.codec == codec]
        within = [row for row in group if is_within_limit(experiment, row)]
        num_met = sum(row.weights_ratio >= experiment.at_least for row in within)
        text = (
            f"- {_NAMES[codec]}: {statistics.fmean(row.weights_ratio for row in group):.1f}x at "
            f"{statistics.fmean(row.test_error for row in group):.2f} % in the mean; "
            f"{len(within)} of {len(group)} seeds within the limit, {num_met} of them at "
            f"{experiment.at_least:g}x or more"
        )
        pairs = [
            (row.filter_bytes, row.same_lossless_bytes)
            for row in group
            if row.filter_bytes is not None and row.same_lossless_bytes
        ]
        if pairs:
            ours, lossless = (sum(sizes) / len(pairs) for sizes in zip(*pairs, strict=True))
            verb = "less" if ours <= lossless else "more"
            text += (
                f"; filters take {ours:,.0f} bytes, {abs(ours / lossless - 1):.1%} {verb} than the "
                f"{lossless:,.0f} of the same weights without loss"
            )
        lines.append(f"{text}.")
    return lines


_COLUMNS = (
    Column("baseline_error", "baseline error", as_percent),
    Column("test_error", "test error", as_percent),
    Column("weights_bytes", "weights, bytes", as_bytes),
    Column("weights_ratio", "ratio", as_ratio),
    Column("lossless_bound_bytes", "lossless bound", as_bytes),
    Column("file_bytes", "file, bytes", as_bytes),
    Column("file_ratio", "ratio", as_ratio),
    Column("filter_bytes", "in filters", as_bytes),
    Column("information_bound_bytes", "information bound", as_bytes),
    Column("same_lossless_bytes", "the same, lossless", as_bytes),
    Column("minutes", "minutes", as_minutes),
)
