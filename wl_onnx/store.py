"""Analog storage: the weights of a model into memory cells that are read with noise."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wl_onnx.analog.presets import find_device
from wl_onnx.analog.storage import Storage
from wl_onnx.errors import InputError
from wl_onnx.evaluation import Limits, MonteCarloValidator
from wl_onnx.evaluation.cell_count import count_cells, count_weights
from wl_onnx.graph import (
    AnalogDefaults,
    check_analog_inputs,
    check_output,
    find_stored,
    find_weights,
    load_model,
    require_uncompressed,
    save_model,
)
from wl_onnx.graph.metadata import write_metadata
from wl_onnx.planning import by_recipe
from wl_onnx.planning.assembly import Assembly
from wl_onnx.planning.by_recipe import find_reason
from wl_onnx.planning.calibrated import check_recipe
from wl_onnx.planning.prepared import Goal, Prepared, encode_blind, prepare
from wl_onnx.planning.store_baselines import (
    find_baselines,
    find_digital_cells,
    find_palette_cells,
)
from wl_onnx.planning.store_by_flags import store_by_flags
from wl_onnx.planning.store_goal import StorageGoal
from wl_onnx.planning.store_search import search_storage
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
from wl_onnx.runtime.weights import WeightReader

if TYPE_CHECKING:
    import numpy.typing as npt

    from wl_onnx.evaluation import Score
    from wl_onnx.graph import CompressibleModel, WeightSite

__all__ = ["read_weights", "store"]

_RECIPE_SEEDS = 1 << 32  # as many as a recipe takes


def store(
    model: Model,
    output: str | os.PathLike[str] | None = None,
    *,
    storage: Storage | None = None,
    recipe: Recipe | None = None,
    data: Any = None,
    validation_data: Any = None,
    max_drop: float | None = None,
    max_kl: float | None = None,
    min_snr: float | None = None,
    cell_budget: float | None = None,
    analog_only: bool = False,
    max_trials: int = 24,
    reads: int = 20,
    progress: Progress | None = None,
    force: bool = False,
) -> Result:
    """Stores the weights of a model in analog cells; `AnalogRead` nodes read them with noise.

    Without a limit and a budget, every weight is stored as the storage's flags say. With one, what
    is pruned, how weights are laid on cells and how many cells they get is searched for, and of
    each tensor whether it is analog or compressed and digital.

    The graph gets three inputs with defaults, which a session may feed: `wl_write_seed` fixes
    programming noise and drift, `wl_read_seed` the noise of reads (-1: other noise at each run),
    `wl_time_s` is the time since programming. The same seeds give the same weights.

    Args:
        model: path of an ONNX file, or a ModelProto.
        output: where the model is written; external data goes to `<output>.data`.
        storage: the device and the flags; the default is `pcm-nandakumar2019` read after a day.
        recipe: of which weights are meant `include`, `exclude` and `rules`; threads; codecs of
            what is digital; and where `blobs` go. The seed is the storage's.
        data: inputs to calibrate on, with `labels` for `max_drop`; see `compress`. Needed for
            limits, a budget, and the protection "sensitivity".
        validation_data: inputs to validate on, like `data`.
        max_drop: most that top-1 accuracy may fall, in percentage points, on average over `reads`
            writes, each read once.
        max_kl: most mean KL divergence of the first output's softmax, in nats.
        min_snr: least signal-to-noise ratio of every output, in dB.
        cell_budget: most cells a weight, everything counted; the loss is least.
        analog_only: whether every weight that can be analog is.
        max_trials: most trials of the whole model in each of two searches.
        reads: writes and reads that a model is measured with.
        progress: called with what is done, how much of it is done, and how much there is.
        force: whether an existing output may be replaced.

    Returns:
        The model and its report: that of `compress`, with `cells` (the ledger) and `baselines`,
        cells that other ways to store the model would take; without a limit and a budget, those of
        `palette` are about right, found on at most 1,000 samples.

    Raises:
        InputError: the output cannot be written, a number is out of range, a weight holds NaN or
            infinity, the model has no weight to store, the data do not fit it, or no result keeps
            within the limits or the budget.
        ModelError: the model is damaged, or compressed already.
    """
    storage = storage or Storage(find_device("pcm-nandakumar2019"))
    recipe = dataclasses.replace(recipe or Recipe(), seed=storage.seed % _RECIPE_SEEDS)
    limits = Limits(max_drop, max_kl, min_snr)
    goal = StorageGoal(limits, data, validation_data, cell_budget, analog_only, max_trials, reads)
    goal.check(storage)
    check_recipe(recipe, action="store weights", wanted="to the storage")
    loaded = load_model(model)
    require_uncompressed(loaded)
    if output is not None:
        check_output(output, source=loaded, force=force)
    check_analog_inputs(loaded)
    source = Source.of(loaded)
    original = load_model(loaded.proto, folder=loaded.folder)
    sites = find_weights(loaded)
    check_globs(recipe.globs, [site.key for site in sites])
    chosen = _choose(loaded.name, sites, recipe)
    prepared = None
    if data is not None:
        wanted = Goal(data, validation_data, limits)
        prepared = prepare(original, chosen, recipe, wanted, progress=progress)
    if goal.is_searched and prepared is not None:
        found = _search(
            prepared, chosen, limits, storage, recipe, cell_budget=cell_budget,
            analog_only=analog_only, max_trials=max_trials, reads=reads, progress=progress,
        )  # fmt: skip
    else:
        found = _follow_flags(original, prepared, chosen, storage, recipe, progress)
    reasons = dict(found.reasons)
    for site in sites:
        if site.key not in found.assembly.codecs:
            reasons.setdefault(site.key, find_reason(site, recipe) or "would not shrink")
    reports = report_all(sites, found.assembly, reasons)
    defaults = AnalogDefaults(storage.seed, -1, storage.time_s)
    found.assembly.apply(loaded, blobs=recipe.blobs, analog=defaults)
    ledger = count_cells(
        loaded, num_weights=count_weights(original),
        digital_bits_per_cell=storage.digital_bits_per_cell,
    )  # fmt: skip
    cells = {
        "device": storage.device.name,
        "cells_per_weight": f"{ledger.per_weight:.6g}",
    }
    metadata = form_metadata(
        source, reports, recipe=describe_recipe(recipe), seed=storage.seed, others=cells
    )
    write_metadata(loaded, metadata)
    search, palette_cells = dict(found.search), found.palette_cells
    if prepared is not None:
        validator = MonteCarloValidator(
            original, prepared.validation_feeds, Limits(), time_s=storage.time_s, reads=reads,
            seed=storage.seed, threads=recipe.threads,
        )  # fmt: skip
        score = validator.measure(loaded)
        search |= _describe_loss(score, validator, storage)
        if not goal.is_searched:
            palette_cells = find_digital_cells(
                prepared, chosen, score, storage, recipe, max_trials, progress
            )
    if output is not None:
        save_model(loaded, output, force=force)
    report = {
        **form_report(source, loaded, reports),
        "cells": ledger.as_dict(),
        "baselines": find_baselines(original, storage, palette_cells),
    }
    if search:
        report["search"] = search
    return Result(as_proto(loaded, output), report, {})


def read_weights(
    model: Model,
    *,
    write_seed: int | None = None,
    read_seed: int | None = None,
    time_s: float | None = None,
    threads: int = 0,
) -> dict[str, npt.NDArray[Any]]:
    """One read of all analog weights of a model, bit for bit what its operators give.

    Args:
        model: path of a model that `store` wrote, or a ModelProto.
        write_seed: fixes programming noise and drift; None: the stored one.
        read_seed: fixes the noise of the read; None: other noise at each call.
        time_s: time since programming; None: the stored one.
        threads: threads to use; 0 means one for each core. The weights do not depend on it.

    Returns:
        By weight key, the array in the weight's shape and element type.

    Raises:
        InputError: a seed or the time is out of its range.
        ModelError: the model is damaged.
        BlobError: a blob is damaged.
    """
    reader = WeightReader(write_seed, read_seed, time_s, threads=threads)
    stored = find_stored(load_model(model))
    return {one.key: reader(one) for one in stored if one.codec == "analog"}


def _choose(name: str, sites: Sequence[WeightSite], recipe: Recipe) -> list[WeightSite]:
    chosen = [site for site in sites if find_reason(site, recipe) is None]
    for site in chosen:
        by_recipe.read_weights(site)  # refuses what is not finite
    if not chosen:
        raise InputError(f"cannot store {name}: it must have a weight to store, got none")
    return chosen


@dataclasses.dataclass(frozen=True)
class _Found:
    """What is put into the model.

    Attributes:
        assembly: nodes and values.
        reasons: by weight key, why a weight is left as it is.
        palette_cells: cells of what is wholly digital and loses as much; None where nothing does,
            or it is not known yet.
        search: what was measured on the way.
    """

    assembly: Assembly
    reasons: Mapping[str, str]
    palette_cells: float | None
    search: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def _search(
    prepared: Prepared, sites: Sequence[WeightSite], limits: Limits, storage: Storage,
    recipe: Recipe, **options: Any,
) -> _Found:  # fmt: skip
    """The fewest cells within the limits, or the least loss in a budget; see `search_storage`."""
    reasons: dict[str, str] = {}
    blind = encode_blind(prepared.calibration, sites, recipe, reasons)
    numbers = {site.key: number for number, site in enumerate(sites)}
    found = search_storage(
        prepared.calibration, prepared.validation_feeds, limits, storage, recipe, blind,
        numbers=numbers, **options,
    )  # fmt: skip
    return _Found(found.assembly, reasons, found.palette_cells, found.search)


def _follow_flags(
    original: CompressibleModel,
    prepared: Prepared | None,
    sites: Sequence[WeightSite],
    storage: Storage,
    recipe: Recipe,
    progress: Progress | None,
) -> _Found:
    """Every weight as the storage's flags say."""
    stored, reasons = store_by_flags(
        original, sites, storage, threads=recipe.threads, progress=progress,
        calibration=None if prepared is None else prepared.calibration,
    )  # fmt: skip
    if not stored:
        raise InputError(
            f"cannot store {original.name}: it must have a weight that can be stored, got "
            f"{', '.join(f'{key}, which {why}' for key, why in reasons.items())}"
        )
    palette_cells = None
    if prepared is None:
        palette_cells = find_palette_cells(original, sites, stored, storage, recipe)
    return _Found(Assembly.of_stored(sites, stored), reasons, palette_cells)


def _describe_loss(
    score: Score, validator: MonteCarloValidator, storage: Storage
) -> dict[str, Any]:
    """What the stored model loses, for the report."""
    return {
        "baseline": validator.baseline,
        "drop": score.drop,
        "kl": score.kl,
        "snr_db": score.snr_db,
        "spread": validator.spread,
        "reads": validator.reads,
        "time_s": storage.time_s,
    }
