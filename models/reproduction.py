"""An experiment as it runs: baselines, results, their table and their picture."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lenet
import onnx
import onnxruntime
from accuracy import count_errors
from lenet_network import MODELS, build_onnx
from result_files import check_baseline, read_record, write_record, write_text
from result_picture import draw
from result_table import Row, count_bytes, format_table, summarize
from run_progress import progress_bar, show_step
from script_files import replacing

import wl_onnx
from wl_onnx.finetune import finetune

if TYPE_CHECKING:
    from experiments import Codec, Experiment
    from image_data import ImageData, Split
    from rich.console import Console


class Reproduction:
    """One experiment in a folder.

    Args:
        name: key of `EXPERIMENTS`.
        experiment: what is done.
        data: the images.
        folder: where everything is kept.
        given: the baseline, where none is trained.
        console: told what is done.
    """

    def __init__(
        self,
        name: str,
        experiment: Experiment,
        data: ImageData,
        folder: Path,
        *,
        given: Path | None,
        console: Console,
    ) -> None:
        self._name = name
        self._experiment = experiment
        self._data = data
        self._folder = folder
        self._given = given
        self._console = console
        self._feeds: tuple[dict[str, Any], dict[str, Any]] | None = None

    def run(self, seeds: Sequence[int], codecs: Sequence[Codec]) -> None:
        """Makes what is not there yet, then the table and the picture of all seeds.

        Args:
            seeds: of each codec.
            codecs: in their order.
        """
        results = []
        for codec in codecs:
            for seed in seeds:
                baseline = self._given or self._make_baseline(seed)
                results.append(self._make_result(seed, codec, baseline))
        rows = [Row(**result["figures"]) for result in results]
        everything = {
            "experiment": self._name,
            "title": self._experiment.title,
            "published": [dataclasses.asdict(one) for one in self._experiment.published],
            "summary": summarize(rows),
            "results": results,
        }
        table = self._folder / f"{self._name}.md"
        write_text(table.with_suffix(".json"), json.dumps(everything, indent=1))
        write_text(table, format_table(self._experiment, rows))
        pictures = [table.with_suffix(suffix) for suffix in (".svg", ".png")]
        draw(self._experiment, rows, pictures)
        self._console.print(format_table(self._experiment, rows), markup=False, soft_wrap=True)
        self._console.print(f"written: {table} and, beside it, .json, .svg, .png", soft_wrap=True)

    def _make_baseline(self, seed: int) -> Path:
        """The network of a seed, trained if it is not there yet."""
        network, epochs = self._experiment.network, self._experiment.baseline_epochs
        assert epochs is not None  # noqa: S101  else the baseline is given
        path = self._folder / f"{network}-seed{seed}.onnx"
        properties = {"data": self._data.sha256, "epochs": str(epochs), "seed": str(seed)}
        if path.exists():
            check_baseline(path, properties)
            return path
        start = time.monotonic()
        with progress_bar(f"seed {seed} baseline", self._console) as (bar, task):
            parameters = lenet.train(
                MODELS[network],
                self._data.train.images,
                self._data.train.labels,
                epochs=epochs,
                seed=seed,
                progress=lambda done, total, loss: bar.update(
                    task, completed=done, total=total, figures=f"loss {loss:.4f}"
                ),
            )
        minutes = (time.monotonic() - start) / 60
        proto = build_onnx(network, parameters, {**properties, "minutes": f"{minutes:.2f}"})
        with replacing(path) as temporary:
            onnx.save(proto, temporary)
        self._console.print(f"{path}: trained in {minutes:.1f} minutes", soft_wrap=True)
        return path

    def _make_result(self, seed: int, codec: Codec, baseline: Path) -> dict[str, Any]:
        """What a seed comes to with a codec, made if it is not there yet."""
        stem = self._folder / f"{self._name}-seed{seed}-{codec}"
        recipe = self._experiment.choose_recipe(codec, seed)
        model, record = stem.with_suffix(".onnx"), stem.with_suffix(".json")
        settings = {
            "recipe": json.loads(recipe.describe()),
            "data": self._data.sha256,
            "baseline": hashlib.sha256(baseline.read_bytes()).hexdigest(),
        }
        if record.exists() and model.exists():
            return read_record(record, settings, Row)
        if self._feeds is None:
            data = self._data
            self._feeds = data.to_feeds(data.train), data.to_feeds(data.validation)
        checkpoint = stem.with_suffix(".checkpoint")
        is_resumed = checkpoint.exists()
        start = time.monotonic()
        with progress_bar(f"seed {seed} {codec}", self._console) as (bar, task):
            made = finetune(
                baseline,
                model,
                data=self._feeds[0],
                validation_data=self._feeds[1],
                recipe=recipe,
                checkpoint=checkpoint,
                progress=lambda step: show_step(bar, task, step),
                force=True,
            )
        row = Row(
            seed=seed,
            codec=codec,
            baseline_error=measure_error(baseline, self._data, self._data.test),
            test_error=measure_error(model, self._data, self._data.test),
            file_bytes=model.stat().st_size,
            file_ratio=baseline.stat().st_size / model.stat().st_size,
            minutes=(time.monotonic() - start) / 60,
            is_resumed=is_resumed,
            **count_bytes(made.report, self._experiment.layer),
        )
        result = write_record(
            record, settings, row, baseline=baseline, model=model, report=made.report
        )
        self._console.print(
            f"seed {seed}, {codec}: {row.weights_ratio:.1f}x, test error {row.test_error:.2f} % "
            f"(baseline {row.baseline_error:.2f} %), {row.minutes:.1f} minutes",
            soft_wrap=True,
        )
        return result


def measure_error(path: Path, data: ImageData, split: Split) -> float:
    """Share of images, in percent, that a model classifies wrong in onnxruntime.

    Args:
        path: of an ONNX file, compressed or not.
        data: of which the images are.
        split: the images.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = wl_onnx.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    num_wrong = count_errors(session, split.images, split.labels, data.to_input)
    return 100 * num_wrong / len(split.images)
