"""The fewest cells within limits, or the least loss in a budget of cells: all layers together."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from wl_onnx.errors import InputError
from wl_onnx.evaluation import Limits, MonteCarloValidator, Validator
from wl_onnx.evaluation.cell_count import count_cells, count_weights
from wl_onnx.planning.cell_writer import CellWriter
from wl_onnx.planning.layer_coding import code_layer
from wl_onnx.planning.layer_storage import StorageCoder
from wl_onnx.planning.optimize import UnmetError, optimize

if TYPE_CHECKING:
    from wl_onnx.analog.storage import Storage
    from wl_onnx.evaluation import Feeds, Score
    from wl_onnx.graph import CompressibleModel
    from wl_onnx.planning.assembly import Assembly
    from wl_onnx.planning.calibration import Calibration
    from wl_onnx.planning.encoding import EncodedWeight
    from wl_onnx.planning.optimize import Optimum
    from wl_onnx.recipe import Recipe

__all__ = ["StoredModel", "as_good_as", "search_digital", "search_storage"]

Progress = Callable[[str, int, int], None]

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class StoredModel:
    """What a search for the storage of a model found.

    Attributes:
        assembly: what is put into the model.
        search: what was measured, for the report.
        palette_cells: cells of the smallest that is wholly digital and loses as little; None where
            none does.
    """

    assembly: Assembly
    search: Mapping[str, Any]
    palette_cells: float | None


def search_storage(
    calibration: Calibration,
    validation_feeds: Feeds,
    limits: Limits,
    storage: Storage,
    recipe: Recipe,
    blind: Mapping[str, EncodedWeight],
    *,
    numbers: Mapping[str, int],
    cell_budget: float | None = None,
    analog_only: bool = False,
    max_trials: int = 32,
    reads: int = 20,
    progress: Progress | None = None,
) -> StoredModel:
    """Searches for how to store the layers of a model.

    Two searches are made: one with cells, and one with digital codecs alone, which is what the
    cells are compared with, and the result where it needs fewer.

    Args:
        calibration: the model and what its layers' errors count.
        validation_feeds: what the limits are measured on.
        limits: what may be lost, on average over writes and reads.
        storage: device, time, and what a digital bit takes of a cell.
        recipe: which weights, and codecs of what is digital.
        blind: by weight key, what stands for weights whose layers were not observed.
        numbers: by weight key, the number of the tensor in its model.
        cell_budget: most cells a weight, in place of limits; None where there are some.
        analog_only: whether every weight that can be analog is.
        max_trials: most trials of the whole model in each search.
        reads: writes and reads that a trial is measured with.
        progress: called with what is done, and how much of how much.

    Raises:
        InputError: no trial keeps within the limits or the budget.
    """
    model = calibration.model
    num_weights = count_weights(model)
    per_cell = storage.digital_bits_per_cell

    def measure(stored: CompressibleModel) -> int:
        ledger = count_cells(stored, num_weights=num_weights, digital_bits_per_cell=per_cell)
        return math.ceil(ledger.total * per_cell / 8)

    target_bytes = None
    if cell_budget is not None:
        target_bytes = max(1, math.floor(cell_budget * num_weights * per_cell / 8))
    validator = MonteCarloValidator(
        model, validation_feeds, limits, time_s=storage.time_s, reads=reads, seed=storage.seed,
        threads=recipe.threads,
    )  # fmt: skip
    writer = CellWriter(storage, threads=recipe.threads)
    try:
        mixed = optimize(
            calibration, validator, recipe, blind, max_trials=max_trials,
            target_bytes=target_bytes, coder=StorageCoder(writer, numbers, analog_only),
            measure_size=measure, progress=_label(progress, "cells"),
        )  # fmt: skip
    except UnmetError as error:
        if cell_budget is None or target_bytes is None:
            problem = str(error).replace("cannot compress", "cannot store", 1)
            raise InputError(problem) from error
        least = 8 * target_bytes * (1 + error.excess) / per_cell / num_weights
        raise InputError(
            f"cannot store {model.name}: the budget must be at least some {least:.3g} cells a "
            f"weight, the least that was reached, got {cell_budget:.3g}"
        ) from error
    wanted = limits if cell_budget is None else as_good_as(mixed.trial.score)
    digital = search_digital(
        calibration, validation_feeds, wanted, recipe, blind, max_trials=max_trials,
        progress=progress,
    )  # fmt: skip
    palette_cells = None if digital is None else 8 * digital.trial.size_bytes / per_cell
    chosen = mixed
    if (
        digital is not None
        and not analog_only
        and digital.trial.size_bytes <= mixed.trial.size_bytes
    ):
        _log.info("digital storage needs fewer cells than any with analog ones: it is taken")
        chosen = digital
    return StoredModel(chosen.trial.assembly, chosen.describe(validator.baseline), palette_cells)


def search_digital(
    calibration: Calibration,
    feeds: Feeds,
    limits: Limits,
    recipe: Recipe,
    blind: Mapping[str, EncodedWeight],
    *,
    max_trials: int,
    progress: Progress | None = None,
) -> Optimum | None:
    """The fewest bytes within limits, by the codecs of `compress`.

    Args:
        calibration: the model and what its layers' errors count.
        feeds: what the limits are measured on.
        limits: what may be lost.
        recipe: which weights, and with which codecs.
        blind: as of `search_storage`.
        max_trials: most trials of the whole model.
        progress: called with what is done, and how much of how much.

    Returns:
        The best trial; None where none keeps within the limits.
    """
    validator = Validator(calibration.model, feeds, limits, threads=recipe.threads)
    try:
        return optimize(
            calibration, validator, recipe, blind, max_trials=max_trials, coder=code_layer,
            progress=_label(progress, "digital"),
        )  # fmt: skip
    except UnmetError as error:
        _log.warning("nothing digital to compare with: %s", error)
        return None


def as_good_as(score: Score) -> Limits:
    """The limits that a model of this score just keeps."""
    if score.kl is not None and score.kl > 0:
        return Limits(max_kl=score.kl)
    snr_db = 0.0 if score.snr_db is None or not math.isfinite(score.snr_db) else score.snr_db
    return Limits(min_snr=snr_db)


def _label(progress: Progress | None, name: str) -> Progress | None:
    if progress is None:
        return None
    return lambda text, done, total: progress(f"{name}, {text}", done, total)
