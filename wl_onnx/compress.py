"""The main job: every weight of a model into a blob, and back."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wl_onnx.errors import InputError
from wl_onnx.evaluation import Limits, ValidationFn
from wl_onnx.graph import (
    CompressibleModel,
    WeightSite,
    check_output,
    find_layers,
    find_weights,
    is_compressed,
    is_portable,
    load_model,
    measure_file,
    require_uncompressed,
    restore_weights,
    save_model,
    strip_model,
)
from wl_onnx.planning.assembly import Assembly
from wl_onnx.planning.by_recipe import encode_by_recipe
from wl_onnx.planning.calibrated import compress_calibrated
from wl_onnx.planning.plan import Plan, load_plan
from wl_onnx.planning.prepared import Goal
from wl_onnx.portable import make_portable, restore_dense, upgrade_model
from wl_onnx.recipe import Recipe
from wl_onnx.result import (
    Model,
    Progress,
    Result,
    Source,
    as_proto,
    check_globs,
    describe_recipe,
    form_metadata,
    form_report,
    report_all,
)
from wl_onnx.runtime.weights import WeightDecoder

if TYPE_CHECKING:
    import onnx

__all__ = ["compress", "decompress"]

_log = logging.getLogger(__name__)


def compress(
    model: Model,
    output: str | os.PathLike[str] | None = None,
    *,
    recipe: Recipe | None = None,
    data: Any = None,
    validation_data: Any = None,
    max_drop: float | None = None,
    max_kl: float | None = None,
    min_snr: float | None = None,
    validation_fn: ValidationFn | None = None,
    target_size: int | None = None,
    max_trials: int = 32,
    calibration_cache: str | os.PathLike[str] | None = None,
    plan: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    force: bool = False,
    strip: bool = False,
    portable: bool = False,
    inline: bool = False,
    folding_budget: int | None = None,
) -> Result:
    """Compresses the weights of a model.

    Without data, each weight is coded by itself, as the recipe says. With data and a limit, the
    smallest file within the limit is looked for: layers are coded one after another, each so that
    the output changes least for its bits and makes up for what was lost before it, and the result
    is measured. Ctrl-C ends the search; the best so far is the result.

    Weights that would not shrink stay as they are, and where none shrinks so does the model. The
    same model, recipe and seed give the same bytes; with data, on the same machine with the same
    versions.

    Args:
        model: path of an ONNX file, or a ModelProto.
        output: where the compressed model is written; external data goes to `<output>.data`.
        recipe: how; the default keeps the error within 2 % of each weight's energy where there is
            no data.
        data: inputs to calibrate on: path of an npz whose arrays are named after the inputs, with
            `labels` beside them for `max_drop`; a `CalibrationDataReader`; or an iterable of feed
            dictionaries. Half of it is kept for validation where there is no `validation_data`.
        validation_data: inputs to validate on, like `data`.
        max_drop: most that top-1 accuracy may fall, in percentage points; with a `validation_fn`
            most that its value may fall.
        max_kl: most mean KL divergence of the first output's softmax from the original's, in nats.
        min_snr: least signal-to-noise ratio of every output against the original's, in dB.
        validation_fn: takes a session and gives a number, higher is better.
        target_size: most bytes for all initializers and what stands for them; the loss is least.
        max_trials: most trials of the whole model.
        calibration_cache: file in which the calibration is kept for the next time.
        plan: what is carried out in place of a search, see `Result.plan`; the path of a file or
            the plan itself.
        progress: called with what is done, how much of it is done, and how much there is.
        force: whether an existing output may be replaced.
        strip: whether doc strings, metadata of others and unused initializers go; see
            `strip_model`.
        portable: decode with standard operators, which every onnxruntime from 1.17 on folds into
            constants; see `convert`. A search with data weighs entropy-coded bytes; what the result
            says, and all else, are bytes of the portable file.
        inline: with portable: put the decoding nodes into the graph itself, not into functions.
        folding_budget: with portable: most bytes that a session may take to fold all weights; None:
            2 GiB.

    Raises:
        InputError: the output cannot be written, a glob matches nothing, a weight holds NaN or
            infinity, the data do not fit the model, no limit goes with the data, no result keeps
            within the limits, the plan is for another model, or a portable file would take more
            than the budget.
        ModelError: the model is damaged, compressed already, or cannot be raised to the opset of
            portable files.
        EncodeError: no filter exists for a weight with the hash that the recipe names.

    Example:
        >>> result = compress("model.onnx", "small.onnx")  # doctest: +SKIP
        >>> round(result.report["weights"]["ratio"], 1)  # doctest: +SKIP
        7.8
    """
    recipe = recipe or Recipe()
    recipe = dataclasses.replace(recipe, layout=recipe.layout or ("xor" if portable else "ribbon"))
    _check_portable(recipe, portable, inline, folding_budget, target_size)
    limits = Limits(max_drop, max_kl, min_snr, validation_fn)
    loaded = load_model(model)
    require_uncompressed(loaded)
    if output is not None:
        check_output(output, source=loaded, force=force)
    source = Source.of(loaded)
    carried = None if plan is None else load_plan(plan)
    if carried is not None:
        carried.check_model(loaded.name, source.sha256)
        recipe = carried.amend(recipe)
    is_calibrated = _check_goal(limits, data, target_size, carried)
    _check_companions(data, validation_data, calibration_cache, max_trials)
    if strip:
        strip_model(loaded)
    plain_bytes = measure_file(loaded)
    if portable:
        upgrade_model(loaded)
    sites = find_weights(loaded)
    if carried is not None:
        carried.check_weights(loaded.name, _find_planned(loaded, sites, is_calibrated))
    check_globs(recipe.globs, [site.key for site in sites])

    if is_calibrated:
        goal = Goal(data, validation_data, limits, target_size, max_trials, calibration_cache)
        found = compress_calibrated(loaded, sites, recipe, goal, plan=carried, progress=progress)
        assembly, reasons = found.assembly, found.reasons
        made = Plan.of_settings(loaded.name, source.sha256, found.settings, found.temperature)
    else:
        found = None
        encoded, reasons = encode_by_recipe(sites, recipe, progress, portable=portable)
        assembly = Assembly.of_encoded(sites, encoded)
        made = Plan.of_recipe(loaded.name, source.sha256, recipe, sites, encoded)
    reports = report_all(sites, assembly, reasons)
    if assembly.codecs:
        metadata = form_metadata(source, reports, recipe=describe_recipe(recipe), seed=recipe.seed)
        blobs = "attribute" if portable else recipe.blobs
        assembly.apply(loaded, blobs=blobs, metadata=metadata)
        if portable:
            converted = make_portable(
                loaded, inline=inline, folding_budget=folding_budget,
                allow_growth=recipe.allow_growth,
            )  # fmt: skip
            assembly = assembly.store_as(converted.codecs, converted.stored_bytes)
            reasons = {**reasons, **converted.left}
            reports = report_all(sites, assembly, reasons)
        if not assembly.codecs or (measure_file(loaded) >= plain_bytes and not recipe.allow_growth):
            reason = "shrinks by no more than the metadata adds"
            left = {site.key: reasons.get(site.key, reason) for site in sites}
            assembly = Assembly.of_encoded(sites, {})
            reports = report_all(sites, assembly, left)
    if not assembly.codecs:
        loaded = load_model(model)
        if strip:
            strip_model(loaded)
        _log.warning("no weight of %s shrinks: the model is kept as it is", loaded.name)
    if output is not None:
        save_model(loaded, output, force=force)
    report = form_report(source, loaded, reports)
    if found is not None and found.search:
        report["search"] = dict(found.search)
    return Result(as_proto(loaded, output), report, made.describe(report))


def _check_portable(
    recipe: Recipe,
    portable: bool,
    inline: bool,
    folding_budget: int | None,
    target_size: int | None,
) -> None:
    """Refuses what does not go together with or without a portable file."""
    layouts = [dict(rule.values).get("layout") for rule in recipe.rules]
    if recipe.codec != "palette":
        layouts.append(recipe.layout)
    if portable and "prefix" in layouts:
        raise InputError(
            "cannot compress to a portable file: layout must be xor or ribbon, got prefix"
        )
    if portable and target_size is not None:
        raise InputError(
            "cannot compress to a portable file: target_size must be left out, as the "
            f"search counts entropy-coded bytes, got {target_size}; give a limit on the loss"
        )
    for name, value in (("inline", inline or None), ("folding_budget", folding_budget)):
        if value is not None and not portable:
            raise InputError(f"cannot use {name}: it must come with portable, got {value} alone")
    if folding_budget is not None and folding_budget < 1:
        raise InputError(
            f"cannot compress: folding_budget must be at least 1 byte, got {folding_budget}"
        )


def _check_goal(limits: Limits, data: Any, target_size: int | None, plan: Plan | None) -> bool:
    """Whether the compression looks at data; refuses what does not go together."""
    wanted = [
        name
        for name, value in (
            ("max_drop", limits.max_drop),
            ("max_kl", limits.max_kl),
            ("min_snr", limits.min_snr),
            ("target_size", target_size),
        )
        if value is not None
    ]
    if target_size is not None and (target_size < 1 or len(wanted) > 1):
        raise InputError(
            "cannot compress: target_size must be at least 1 byte and go without limits on the "
            f"loss, got {target_size} with {', '.join(wanted)}"
        )
    if plan is not None and wanted:
        raise InputError(
            f"cannot carry out the plan: it must go without limits, got {', '.join(wanted)}"
        )
    is_calibrated = bool(wanted) or data is not None
    if plan is not None and plan.is_calibrated != is_calibrated:
        problem = "data, since it was made with some" if plan.is_calibrated else "no data"
        raise InputError(
            f"cannot carry out the plan: it must come with {problem}, got "
            f"{'none' if plan.is_calibrated else 'some'}"
        )
    if wanted and data is None:
        raise InputError(
            f"cannot keep within {', '.join(wanted)}: there must be data to measure it on, got none"
        )
    if data is not None and not wanted and plan is None:
        raise InputError(
            "cannot compress by data: there must be a limit (max_drop, max_kl, min_snr or "
            "target_size) or a plan, got none"
        )
    return is_calibrated


def _check_companions(data: Any, validation_data: Any, cache: Any, max_trials: int) -> None:
    """Refuses what says how to look at data where there is none."""
    for name, value in (("validation_data", validation_data), ("calibration_cache", cache)):
        if data is None and value is not None:
            raise InputError(f"cannot use {name}: it must come with data to calibrate on, got none")
    if max_trials < 1:
        raise InputError(
            f"cannot search: max_trials must be a whole number of at least 1, got {max_trials}"
        )


def _find_planned(
    model: CompressibleModel, sites: Sequence[WeightSite], is_calibrated: bool
) -> set[str]:
    """The weights that a plan may name."""
    if not is_calibrated:
        return {site.key for site in sites}
    return {layer.site.key for layer in find_layers(model) if layer.view is not None}


def decompress(
    model: Model, output: str | os.PathLike[str] | None = None, *, force: bool = False
) -> onnx.ModelProto:
    """Makes a compressed model plain again: initializers in place of decode nodes.

    Args:
        model: path of a compressed or portable model, or a ModelProto.
        output: where the plain model is written; external data goes to `<output>.data`.
        force: whether an existing output may be replaced.

    Returns:
        The plain model, its initializers bit for bit what the operators decode. Where it does not
        fit in a protobuf, its tensors stay in the files.

    Raises:
        InputError: the output cannot be written, or the model is not compressed.
        ModelError: the model is damaged.
        BlobError: a blob is damaged.
    """
    loaded = load_model(model)
    if not (is_compressed(loaded) or is_portable(loaded)):
        raise InputError(
            f"cannot decompress {loaded.name}: it must be a compressed model, got one without "
            "nodes of com.wl_onnx"
        )
    if output is not None:
        check_output(output, source=loaded, force=force)
    if is_compressed(loaded):
        restore_weights(loaded, WeightDecoder(threads=0))
    else:
        restore_dense(loaded)
    if output is not None:
        save_model(loaded, output, force=force)
    return as_proto(loaded, output)
