"""An experiment in analog cells as it runs: results, their table and their picture."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cell_experiments import describe_storage
from cell_picture import draw_cells
from cell_table import NAMES, CellRow, count_cells, format_cell_table, summarize
from result_files import read_record, write_record, write_text
from run_progress import progress_bar, show_step

import wl_onnx
from wl_onnx.evaluation import Limits, MonteCarloValidator, load_feeds
from wl_onnx.finetune import finetune
from wl_onnx.graph import load_model
from wl_onnx.runtime.opening import open_model

if TYPE_CHECKING:
    from cell_experiments import CellExperiment
    from image_data import ImageData
    from rich.console import Console

# Of the writes for the test error: none that anything was chosen by.
_FIRST_WRITE_SEED = 1000


class CellReproduction:
    """One experiment in a folder.

    Args:
        name: key of `CELL_EXPERIMENTS`.
        experiment: what is done.
        data: the images.
        folder: where everything is kept.
        given: the digital model.
        console: told what is done.
    """

    def __init__(
        self,
        name: str,
        experiment: CellExperiment,
        data: ImageData,
        folder: Path,
        *,
        given: Path,
        console: Console,
    ) -> None:
        self._name = name
        self._experiment = experiment
        self._data = data
        self._folder = folder
        self._given = given
        self._console = console
        self._feeds = data.to_feeds(data.train), data.to_feeds(data.validation)

    def run(self, seeds: Sequence[int]) -> None:
        """Makes what is not there yet, then the table and the picture of all seeds.

        Args:
            seeds: of the untrained and the trained model.
        """
        results = [self._make_result(seed, model) for model in NAMES for seed in seeds]
        rows = [CellRow(**result["figures"]) for result in results]
        everything = {
            "experiment": self._name,
            "title": self._experiment.title,
            "summary": summarize(rows),
            "results": results,
        }
        table = self._folder / f"{self._name}.md"
        text = format_cell_table(self._experiment, rows)
        write_text(table.with_suffix(".json"), json.dumps(everything, indent=1))
        write_text(table, text)
        draw_cells(
            self._experiment, rows, [table.with_suffix(suffix) for suffix in (".svg", ".png")]
        )
        self._console.print(text, markup=False, soft_wrap=True)
        self._console.print(f"written: {table} and, beside it, .json, .svg, .png", soft_wrap=True)

    def _make_result(self, seed: int, model: str) -> dict[str, Any]:
        """What a seed comes to, made if it is not there yet."""
        stem = self._folder / f"{self._name}-seed{seed}-{model}"
        experiment, is_trained = self._experiment, model == "trained"
        storage = experiment.choose_storage(seed, is_trained=is_trained)
        recipe = experiment.choose_recipe(seed) if is_trained else None
        path, record = stem.with_suffix(".onnx"), stem.with_suffix(".json")
        settings = {
            "recipe": None if recipe is None else json.loads(recipe.describe()),
            "storage": describe_storage(storage),
            "writes": experiment.writes,
            "data": self._data.sha256,
            "baseline": hashlib.sha256(self._given.read_bytes()).hexdigest(),
        }
        if record.exists() and path.exists():
            return read_record(record, settings, CellRow)
        checkpoint = stem.with_suffix(".checkpoint")
        is_resumed = checkpoint.exists()
        start = time.monotonic()
        train, validation = self._feeds
        with progress_bar(f"seed {seed} {model}", self._console) as (bar, task):
            if recipe is None:
                made = wl_onnx.store(
                    self._given, path, storage=storage, data=train, validation_data=validation,
                    reads=experiment.recipe.reads, force=True,
                )  # fmt: skip
            else:
                made = finetune(
                    self._given, path, data=train, validation_data=validation, recipe=recipe,
                    storage=storage, checkpoint=checkpoint, force=True,
                    progress=lambda step: show_step(bar, task, step),
                )  # fmt: skip
        row = CellRow(
            seed=seed,
            model=model,
            **self._measure(path),
            **count_cells(made.report, storage.digital_bits_per_cell),
            file_bytes=path.stat().st_size,
            minutes=(time.monotonic() - start) / 60,
            is_resumed=is_resumed,
        )
        result = write_record(
            record, settings, row, baseline=self._given, model=path, report=made.report
        )
        self._console.print(
            f"seed {seed}, {NAMES[model]}: {row.drop:.2f} points of drop, a write's deviation "
            f"{row.spread:.2f}, {row.minutes:.1f} minutes",
            soft_wrap=True,
        )
        return result

    def _measure(self, stored: Path) -> dict[str, float]:
        """Errors on the test images, which are read here alone."""
        original = load_model(self._given)
        feeds = load_feeds(self._data.to_feeds(self._data.test), open_model(original).get_inputs())
        validator = MonteCarloValidator(
            original, feeds, Limits(), time_s=self._experiment.storage.time_s,
            reads=self._experiment.writes, seed=_FIRST_WRITE_SEED,
        )  # fmt: skip
        score = validator.measure(load_model(stored))
        assert validator.baseline is not None  # noqa: S101  there are labels
        assert score.drop is not None  # noqa: S101
        return {
            "baseline_error": 100 - validator.baseline,
            "drop": score.drop,
            "spread": validator.spread,
        }
