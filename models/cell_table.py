"""The figures of a reproduction in analog cells, as Markdown."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import table_columns
from table_columns import Column, as_bytes, as_hundredths, as_minutes, as_percent, format_rows

if TYPE_CHECKING:
    from cell_experiments import CellExperiment

NAMES = {"untrained": "stored as it is", "trained": "trained for the noise"}


@dataclasses.dataclass(frozen=True)
class CellRow:
    """What one seed came to. Errors are in percent of the test images.

    Attributes:
        seed: of training, programming and drift.
        model: "untrained" or "trained".
        baseline_error: of the digital model.
        drop: points more than that in cells, on average over the writes.
        spread: deviation of one write.
        analog_per_weight: analog cells for each weight of the model.
        digital_bits_per_weight: digital bits beside them: signs, masks, tables, biases.
        cells_per_weight: both together, in cells.
        file_bytes: of the ONNX file.
        minutes: that it took; of its last part where it was interrupted.
        is_resumed: whether it was.
    """

    seed: int
    model: str
    baseline_error: float
    drop: float
    spread: float
    analog_per_weight: float
    digital_bits_per_weight: float
    cells_per_weight: float
    file_bytes: int
    minutes: float
    is_resumed: bool


def count_cells(report: Mapping[str, Any], bits_per_cell: float) -> dict[str, float]:
    """The fields of a `CellRow` that the report of a stored model gives.

    Args:
        report: of `wl_onnx.store`, or of a fine-tuning for cells.
        bits_per_cell: digital bits that a cell holds.
    """
    cells = report["cells"]
    num_weights = cells["total"] / cells["per_weight"]
    return {
        "analog_per_weight": cells["analog"] / num_weights,
        "digital_bits_per_weight": cells["digital"] * bits_per_cell / num_weights,
        "cells_per_weight": cells["per_weight"],
    }


def summarize(rows: Sequence[CellRow]) -> table_columns.Summary:
    """Mean and worst of each figure, untrained and trained; the worst of each is of any seed."""
    return table_columns.summarize(rows, "model", _COLUMNS)


def format_cell_table(experiment: CellExperiment, rows: Sequence[CellRow]) -> str:
    """The table as Markdown, with what it says and how to read it.

    Args:
        experiment: what was reproduced.
        rows: at least one.
    """
    drops = {
        name: statistics.fmean(row.drop for row in rows if row.model == name) for name in NAMES
    }
    before, after = drops["untrained"], drops["trained"]
    is_met = after <= max(experiment.max_drop, before / 2)
    storage = experiment.storage
    lines = [
        f"# {experiment.title}",
        "",
        f"Wanted: half of the drop without training, or at most {experiment.max_drop:g} points "
        f"({experiment.stretch:g} if it can be).",
        "",
        f"- {NAMES['untrained']}: {before:.2f} points in the mean",
        f"- {NAMES['trained']}: {after:.2f} points in the mean, which is "
        f"{'within' if is_met else 'beyond'} what was wanted",
        "",
        *format_rows(rows, "model", NAMES, _COLUMNS),
        "",
        f"Drops are points of test error above the digital model's, on average over "
        f"{experiment.writes} writes, each read once after {storage.time_s / 86400:g} days; "
        "deviations are those of one write. "
        f"{storage.device.name}, {storage.cells:g} cell a weight, protected by "
        f"{', '.join(sorted(storage.protect))}; {experiment.untrained_sparsity:.0%} of the weights "
        f"are pruned without training, {storage.sparsity:.0%} with it. Digital bits are signs, "
        "masks, tables and biases; the sum counts "
        f"{storage.digital_bits_per_cell:g} of them a cell.",
    ]
    return "\n".join(lines) + "\n"


_COLUMNS = (
    Column("baseline_error", "digital error", as_percent),
    Column("drop", "drop, points", as_hundredths),
    Column("spread", "deviation", as_hundredths),
    Column("analog_per_weight", "cells a weight", as_hundredths),
    Column("digital_bits_per_weight", "digital bits a weight", as_hundredths),
    Column("cells_per_weight", "sum, cells a weight", as_hundredths),
    Column("file_bytes", "file, bytes", as_bytes),
    Column("minutes", "minutes", as_minutes),
)
