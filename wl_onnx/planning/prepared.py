"""Data, layers and their calibration: what is needed before anything is searched for."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wl_onnx.evaluation import Limits, Validator, load_feeds, split_feeds, warn_one_sided
from wl_onnx.graph import find_layers
from wl_onnx.planning.by_recipe import read_weights
from wl_onnx.planning.calibration import Calibration, CalibrationSettings, calibrate
from wl_onnx.planning.calibration_cache import (
    hash_calibration,
    load_row_weights,
    save_row_weights,
)
from wl_onnx.planning.candidates import encode_smallest
from wl_onnx.runtime.opening import open_model

if TYPE_CHECKING:
    from wl_onnx.evaluation import Feeds
    from wl_onnx.graph import CompressibleModel, WeightLayer, WeightSite
    from wl_onnx.planning.encoding import EncodedWeight
    from wl_onnx.planning.plan import Plan
    from wl_onnx.recipe import Recipe

__all__ = ["Goal", "Prepared", "encode_blind", "prepare"]

Progress = Callable[[str, int, int], None]

# Most samples to calibrate on, and most to validate on.
_MAX_SAMPLES = 4000
# Weights whose layer's input cannot be observed keep this close to the original, by energy.
_BLIND_ERROR_SHARE = 0.001


@dataclasses.dataclass(frozen=True)
class Goal:
    """What a calibrated compression is to reach, and with which data.

    Attributes:
        data: to calibrate on, and to validate on where there is no other; see `load_feeds`.
        validation_data: to validate on.
        limits: what may be lost.
        target_bytes: most that may stand for the initializers, instead of limits; or None.
        max_trials: most trials of the whole model.
        cache: file in which the calibration is kept; or None.
    """

    data: Any
    validation_data: Any = None
    limits: Limits = dataclasses.field(default_factory=Limits)
    target_bytes: int | None = None
    max_trials: int = 32
    cache: str | os.PathLike[str] | None = None


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A calibrated model, and what measures others against it.

    Attributes:
        calibration: the model, its layers, and what their errors count.
        validator: has the limits.
        validation_feeds: what it runs models on.
        temperature: of the loss, see `calibrate`.
    """

    calibration: Calibration
    validator: Validator
    validation_feeds: Feeds
    temperature: float | None


def prepare(
    model: CompressibleModel,
    sites: Sequence[WeightSite],
    recipe: Recipe,
    goal: Goal,
    *,
    plan: Plan | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Loads the data and calibrates the layers of the weights that are selected.

    Args:
        model: the model; left as it is.
        sites: the weights that are selected.
        recipe: seed and threads.
        goal: data and limits.
        plan: what is to be carried out, without limits; or None.
        progress: called with what is done, and how much of how much.

    Raises:
        InputError: a weight is not finite, or the data do not fit the model.
        ModelError: onnxruntime does not load the model.
    """
    for site in sites:
        read_weights(site)  # refuses what is not finite
    calibration_feeds, validation_feeds = _load_data(model, goal, recipe.seed)
    limits = goal.limits if plan is None else Limits()
    validator = Validator(model, validation_feeds, limits, threads=recipe.threads)
    warn_one_sided(calibration_feeds.labels, validator.num_classes)
    keys = {site.key for site in sites}
    settings = CalibrationSettings(seed=recipe.seed, threads=recipe.threads)
    layers = [one for one in find_layers(model) if one.site.key in keys and settings.fits(one)]
    temperature = validator.temperature if plan is None else plan.temperature
    calibration = _calibrate(
        model, calibration_feeds, layers, temperature, settings, goal.cache, progress
    )
    return Prepared(calibration, validator, validation_feeds, temperature)


def _load_data(model: CompressibleModel, goal: Goal, seed: int) -> tuple[Feeds, Feeds]:
    inputs = open_model(model).get_inputs()
    feeds = load_feeds(goal.data, inputs)
    if goal.validation_data is None:
        return split_feeds(feeds, seed=seed, max_samples=_MAX_SAMPLES)
    return feeds, load_feeds(goal.validation_data, inputs)


def encode_blind(
    calibration: Calibration,
    sites: Sequence[WeightSite],
    recipe: Recipe,
    reasons: dict[str, str],
) -> dict[str, EncodedWeight]:
    """Weights whose layers cannot be observed, as palettes close to what they were.

    Args:
        calibration: has the layers that are observed.
        sites: the weights that are selected.
        recipe: how palettes are made.
        reasons: by weight key, gets why a weight is left as it is.
    """
    observed = {layer.site.key for layer in calibration.layers}
    careful = dataclasses.replace(recipe, codec="palette", error_share=_BLIND_ERROR_SHARE, rules=())
    encoded: dict[str, EncodedWeight] = {}
    for site in sites:
        if site.key in observed:
            continue
        one = encode_smallest(
            site.key, read_weights(site), site.shape, careful, threads=recipe.threads
        )
        if len(one.blob) < site.size_bytes:
            encoded[site.key] = one
        else:
            reasons[site.key] = "would not shrink, and its layer's input cannot be observed"
    return encoded


def _calibrate(
    model: CompressibleModel,
    feeds: Feeds,
    layers: Sequence[WeightLayer],
    temperature: float | None,
    settings: CalibrationSettings,
    cache: str | os.PathLike[str] | None,
    progress: Progress | None,
) -> Calibration:
    fingerprint = ""
    if cache is not None:
        keys = sorted(layer.site.key for layer in layers)
        fingerprint = hash_calibration(
            model, feeds.batches, seed=settings.seed, temperature=temperature, keys=keys
        )
        if Path(cache).exists():
            row_weights = load_row_weights(cache, fingerprint=fingerprint)
            return Calibration(model, tuple(layers), feeds, row_weights, settings)
    calibration = calibrate(
        model, feeds, layers, temperature=temperature, settings=settings, progress=progress
    )
    if cache is not None:
        save_row_weights(cache, calibration.row_weights, fingerprint=fingerprint)
    return calibration
