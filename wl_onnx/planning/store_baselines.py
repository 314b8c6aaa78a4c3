"""What cells are compared with: the same model in digital storage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from wl_onnx.evaluation import limit_feeds
from wl_onnx.evaluation.cell_count import count_weights
from wl_onnx.graph import find_weights, measure_tensors
from wl_onnx.planning.by_recipe import read_weights
from wl_onnx.planning.candidates import encode_smallest
from wl_onnx.planning.prepared import encode_blind
from wl_onnx.planning.store_search import as_good_as, search_digital

if TYPE_CHECKING:
    from wl_onnx.analog.storage import Storage
    from wl_onnx.evaluation import Score
    from wl_onnx.graph import CompressibleModel, WeightSite
    from wl_onnx.planning.cell_writer import StoredTensor
    from wl_onnx.planning.prepared import Prepared
    from wl_onnx.recipe import Recipe

__all__ = ["find_baselines", "find_digital_cells", "find_palette_cells"]

Progress = Callable[[str, int, int], None]

# Trials to find what is digital and loses as much as cells by flags, and most samples on which
# they look at layers and are measured: nothing but the report depends on them.
_MAX_TRIALS = 8
_MAX_CALIBRATION_SAMPLES = 256
_MAX_VALIDATION_SAMPLES = 1000
# What a palette that loses as much is asked for, at least and at most, as a share of the energy.
_ERROR_SHARES = (1e-6, 0.5)


def find_digital_cells(
    prepared: Prepared,
    sites: Sequence[WeightSite],
    score: Score,
    storage: Storage,
    recipe: Recipe,
    max_trials: int,
    progress: Progress | None,
) -> float | None:
    """About the cells of what `compress` finds that loses as much at the model's outputs.

    Some of the samples are enough for a comparison, however many there are.

    Args:
        prepared: the model, its calibration and what it is measured on.
        sites: the weights that are selected.
        score: what is lost.
        storage: what digital bits cost.
        recipe: with which codecs.
        max_trials: most trials of the whole model; eight are enough to compare.
        progress: called with what is done, and how much of how much.

    Returns:
        None where no trial loses as little.
    """
    known = prepared.calibration
    feeds = limit_feeds(known.feeds, _MAX_CALIBRATION_SAMPLES, seed=recipe.seed)
    calibration = dataclasses.replace(known, feeds=feeds)
    validation_feeds = limit_feeds(
        prepared.validation_feeds, _MAX_VALIDATION_SAMPLES, seed=recipe.seed
    )
    blind = encode_blind(calibration, sites, recipe, {})
    digital = search_digital(
        calibration, validation_feeds, as_good_as(score), recipe, blind,
        max_trials=min(max_trials, _MAX_TRIALS), progress=progress,
    )  # fmt: skip
    if digital is None:
        return None
    return 8 * digital.trial.size_bytes / storage.digital_bits_per_cell


def find_palette_cells(
    original: CompressibleModel,
    sites: Sequence[WeightSite],
    stored: Mapping[str, StoredTensor],
    storage: Storage,
    recipe: Recipe,
) -> float:
    """Cells of palettes whose error has the energy that reads are expected to have.

    Args:
        original: the model as it was.
        sites: the weights that are selected.
        stored: by weight key, those in cells.
        storage: what digital bits cost.
        recipe: threads and seed.
    """
    digital_bytes = measure_tensors(original)
    for site in sites:
        if site.key not in stored:
            continue
        weights = read_weights(site)
        energy = float(np.square(weights, dtype=np.float64).sum())
        one = stored[site.key]
        error = np.square(one.values.reshape(-1) - weights).sum() + one.noise.sum()
        share = float(np.clip(error / max(energy, 1e-300), *_ERROR_SHARES))
        own = dataclasses.replace(recipe, codec="palette", error_share=share, rules=())
        blob = encode_smallest(site.key, weights, site.shape, own, threads=recipe.threads).blob
        digital_bytes += min(len(blob), site.size_bytes) - site.size_bytes
    return 8 * digital_bytes / storage.digital_bits_per_cell


def find_baselines(
    original: CompressibleModel, storage: Storage, palette_cells: float | None
) -> dict[str, float | None]:
    """Cells that the model would take in other, wholly digital ways.

    Args:
        original: the model as it was.
        storage: what digital bits cost.
        palette_cells: of palettes that lose as much; None where there are none.
    """
    per_cell = storage.digital_bits_per_cell
    original_bits = 8 * measure_tensors(original)
    weight_bits = 8 * sum(site.size_bytes for site in find_weights(original))
    return {
        "float32": original_bits / per_cell,
        "int8": (original_bits - weight_bits + 8 * count_weights(original)) / per_cell,
        "palette": palette_cells,
    }
