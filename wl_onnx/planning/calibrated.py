"""A whole model by calibration data: within limits, to a size, or as a plan says."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wl_onnx.errors import InputError
from wl_onnx.planning.assembly import Assembly, assemble
from wl_onnx.planning.by_recipe import find_reason
from wl_onnx.planning.layer_problem import LayerSettings
from wl_onnx.planning.optimize import optimize
from wl_onnx.planning.prepared import Goal, encode_blind, prepare
from wl_onnx.planning.sequence import code_layers
from wl_onnx.recipe import Recipe

if TYPE_CHECKING:
    from wl_onnx.graph import CompressibleModel, WeightSite
    from wl_onnx.planning.plan import Plan

__all__ = ["CalibratedModel", "check_recipe", "compress_calibrated"]

Progress = Callable[[str, int, int], None]

_log = logging.getLogger(__name__)

_LEFT_TO_THE_SEARCH = ("sparsity", "clusters", "bits", "error_share", "prune_scope")


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
    check_recipe(recipe, wanted="to the search where there is data")
    reasons = {one.key: reason for one in sites if (reason := find_reason(one, recipe))}
    chosen = [site for site in sites if site.key not in reasons]
    prepared = prepare(model, chosen, recipe, goal, plan=plan, progress=progress)
    calibration, validator = prepared.calibration, prepared.validator
    blind = encode_blind(calibration, chosen, recipe, reasons)
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
        layers = calibration.layers
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
    return CalibratedModel(assembly, reasons, coded.settings, prepared.temperature, search)


def _count(progress: Progress | None, total: int) -> Callable[[int, str], None] | None:
    if progress is None:
        return None
    return lambda index, key: progress(key, index, total)


def check_recipe(recipe: Recipe, *, action: str = "search", wanted: str) -> None:
    """Refuses fields of a recipe that something else decides about.

    Args:
        recipe: the recipe.
        action: what cannot be done with such a field, for the error.
        wanted: to what the field is to be left.

    Raises:
        InputError: one is not as it is by default.
    """
    default = Recipe()
    for field in _LEFT_TO_THE_SEARCH:
        value = getattr(recipe, field)
        if value != getattr(default, field):
            raise InputError(f"cannot {action}: {field} must be left {wanted}, got {value}")
    for rule in recipe.rules:
        for field, _ in rule.values:
            if field in _LEFT_TO_THE_SEARCH:
                raise InputError(
                    f"cannot {action}: {field} must be left {wanted}, got a rule about it for "
                    f"{rule.match}"
                )
