"""A whole model by calibration data: within limits, to a size, or as a plan says."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wl_onnx.errors import InputError
from wl_onnx.evaluation import Limits, Validator, load_feeds, split_feeds, warn_one_sided
from wl_onnx.graph import find_layers
from wl_onnx.planning.assembly import Assembly, assemble
from wl_onnx.planning.by_recipe import find_reason, read_weights
from wl_onnx.planning.calibration import Calibration, CalibrationSettings, calibrate
from wl_onnx.planning.calibration_cache import (
    hash_calibration,
    load_row_weights,
    save_row_weights,
)
from wl_onnx.planning.candidates import encode_smallest
from wl_onnx.planning.layer_problem import LayerSettings
from wl_onnx.planning.optimize import optimize
from wl_onnx.planning.sequence import code_layers
from wl_onnx.recipe import Recipe
from wl_onnx.runtime.opening import open_model

if TYPE_CHECKING:
    from wl_onnx.evaluation import Feeds
    from wl_onnx.graph import CompressibleModel, WeightLayer, WeightSite
    from wl_onnx.planning.encoding import EncodedWeight
    from wl_onnx.planning.plan import Plan

__all__ = ["CalibratedModel", "Goal", "compress_calibrated"]

Progress = Callable[[str, int, int], None]

_log = logging.getLogger(__name__)

# Most samples to calibrate on, and most to validate on.
_MAX_SAMPLES = 4000
# Weights whose layer's input cannot be observed keep this close to the original, by energy.
_BLIND_ERROR_SHARE = 0.001
_LEFT_TO_THE_SEARCH = ("sparsity", "clusters", "bits", "error_share", "prune_scope")


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
class CalibratedModel:
    """What a calibrated compression found.

    Attributes:
        assembly: what is put into the model.
        reasons: by weight key, why a weight is left as it is.
        settings: by weight key, how each observed weight is coded.
        temperature: of the loss, see `calibrate`.
        search: what was measured, for the report.
    """

    assembly: Assembly
    reasons: Mapping[str, str]
    settings: Mapping[str, LayerSettings]
    temperature: float | None
    search: Mapping[str, Any]


def compress_calibrated(
    model: CompressibleModel,
    sites: Sequence[WeightSite],
    recipe: Recipe,
    goal: Goal,
    *,
    plan: Plan | None = None,
    progress: Progress | None = None,
) -> CalibratedModel:
    """Codes a model's weights with what calibration data says of its layers.

    Args:
        model: the model; left as it is.
        sites: its weights.
        recipe: which weights, with which codec, seed and threads.
        goal: data and limits.
        plan: how each weight is coded, in place of a search.
        progress: called with what is done, and how much of how much.

    Raises:
        InputError: the data do not fit the model, the limits cannot be kept, or the recipe says
            what the search is to find.
        ModelError: onnxruntime does not load the model.
        EncodeError: no filter exists for a weight with the hash that the recipe names.
    """
    _check_recipe(recipe)
    reasons = {one.key: reason for one in sites if (reason := find_reason(one, recipe))}
    chosen = [site for site in sites if site.key not in reasons]
    for site in chosen:
        read_weights(site)  # refuses what is not finite
    calibration_feeds, validation_feeds = _load_data(model, goal, recipe.seed)
    limits = goal.limits if plan is None else Limits()
    validator = Validator(model, validation_feeds, limits, threads=recipe.threads)
    warn_one_sided(calibration_feeds.labels, validator.num_classes)
    keys = {site.key for site in chosen}
    settings = CalibrationSettings(seed=recipe.seed, threads=recipe.threads)
    layers = [one for one in find_layers(model) if one.site.key in keys and settings.fits(one)]
    observed = {layer.site.key for layer in layers}
    blind = _encode_blind([site for site in chosen if site.key not in observed], recipe, reasons)
    temperature = validator.temperature if plan is None else plan.temperature
    calibration = _calibrate(
        model, calibration_feeds, layers, temperature, settings, goal.cache, progress
    )
    if plan is None:
        result = optimize(
            calibration,
            validator,
            recipe,
            blind,
            max_trials=goal.max_trials,
            target_bytes=goal.target_bytes,
            progress=progress,
        )
        coded, assembly = result.trial.coded, result.trial.assembly
        search = result.describe(validator.baseline)
    else:
        left = LayerSettings(codec="none")
        chosen_settings = {one.site.key: plan.settings.get(one.site.key, left) for one in layers}
        coded = code_layers(
            calibration, chosen_settings, recipe, progress=_count(progress, len(layers))
        )
        assembly = assemble(model, coded, recipe, blind)
        search = {}
    for key, one in coded.settings.items():
        if one.codec == "none":
            reasons[key] = "is left as it is by the plan"
    for site in chosen:
        if site.key not in assembly.codecs:
            reasons.setdefault(site.key, "would not shrink")
    return CalibratedModel(assembly, reasons, coded.settings, temperature, search)


def _count(progress: Progress | None, total: int) -> Callable[[int, str], None] | None:
    if progress is None:
        return None
    return lambda index, key: progress(key, index, total)


def _check_recipe(recipe: Recipe) -> None:
    default = Recipe()
    for field in _LEFT_TO_THE_SEARCH:
        value = getattr(recipe, field)
        if value != getattr(default, field):
            raise InputError(
                f"cannot search: {field} must be left to the search where there is data, got "
                f"{value}"
            )
    for rule in recipe.rules:
        for field, _ in rule.values:
            if field in _LEFT_TO_THE_SEARCH:
                raise InputError(
                    f"cannot search: {field} must be left to the search where there is data, got "
                    f"a rule about it for {rule.match}"
                )


def _load_data(model: CompressibleModel, goal: Goal, seed: int) -> tuple[Feeds, Feeds]:
    inputs = open_model(model).get_inputs()
    feeds = load_feeds(goal.data, inputs)
    if goal.validation_data is None:
        return split_feeds(feeds, seed=seed, max_samples=_MAX_SAMPLES)
    return feeds, load_feeds(goal.validation_data, inputs)


def _encode_blind(
    sites: Sequence[WeightSite], recipe: Recipe, reasons: dict[str, str]
) -> dict[str, EncodedWeight]:
    """Weights whose layers cannot be observed, close to what they were."""
    careful = dataclasses.replace(recipe, codec="palette", error_share=_BLIND_ERROR_SHARE, rules=())
    encoded: dict[str, EncodedWeight] = {}
    for site in sites:
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
