"""The recipe "weightless": from a job to a compressed model and its report."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from wl_onnx.errors import InputError
from wl_onnx.finetune.rate_search import RateTarget, RateTrial
from wl_onnx.finetune.weightless_recipe import WeightlessRecipe
from wl_onnx.finetune.weightless_training import WeightlessTraining
from wl_onnx.graph import (
    find_parameters,
    find_weights,
    load_model,
    to_proto,
)
from wl_onnx.planning.optimize import UnmetError
from wl_onnx.result import Result, form_metadata, form_report, report_all

if TYPE_CHECKING:
    from wl_onnx.evaluation.tensor_report import TensorReport
    from wl_onnx.finetune.job import Job
    from wl_onnx.finetune.network import Network

__all__ = ["run"]

# Tensors that train on around filters change their size a little.
_FILTER_MARGIN = 0.95


def run(job: Job) -> Result:
    """Trains a model to be small and puts it into its compressed form.

    Args:
        job: with a `WeightlessRecipe`.

    Returns:
        The compressed model, and a report as that of `compress`; beside each weight in a filter,
        `tried` has the bits of the same weight without loss. There is no plan to carry out.

    Raises:
        EncodeError: no filter exists for a weight with the hash that the recipe names.
        InputError: the target is not met; the message says what was reached.
        TrainingError: the loss became NaN or infinite.
    """
    recipe = job.recipe
    if not isinstance(recipe, WeightlessRecipe):
        raise InputError(f"cannot fine-tune: the recipe must be weightless, got {recipe.kind}")
    target = RateTarget(max_drop=job.targets.max_drop)
    if job.targets.ratio is not None:
        margin = 1.0 if recipe.codec == "palette" else _FILTER_MARGIN
        wanted = margin * job.source.tensor_bytes / job.targets.ratio
        target = RateTarget(size_bytes=max(1, int(wanted)))
    training = WeightlessTraining(
        job.model,
        recipe,
        module=job.module,
        make_trainer=job.make_trainer,
        num_samples=job.data.num_samples,
        target=target,
        accuracy=job.original_accuracy,
        save=None if job.checkpoint is None else job.checkpoint.save,
        state=None if job.checkpoint is None else job.checkpoint.load(),
    )
    best = training.run()
    if best is None:
        raise _complain(job, training.closest)
    result = _finish(job, training.network)
    ratio = result.report["weights"]["ratio"]
    if job.targets.ratio is not None and ratio < job.targets.ratio:
        raise UnmetError(
            f"cannot fine-tune {job.name} to a ratio of {job.targets.ratio:g}: what trains "
            f"around the filters must not outgrow it, got {ratio:.1f}; ask for a little more, or "
            "let the codec be palette",
            job.targets.ratio / ratio - 1,
        )
    result.report["finetune"] = {
        "rounds": [dataclasses.asdict(trial) for trial in training.trials],
        "lossless_bits": dict(training.network.lossless_bits),
    }
    return result


def _finish(job: Job, network: Network) -> Result:
    """The compressed model, as it would be written, and the report on it."""
    proto, assembly = network.pack()
    loaded = load_model(proto)
    sites = find_weights(loaded)
    reasons = {site.key: site.skip_reason or "is not trained" for site in sites}
    reasons = {key: reason for key, reason in reasons.items() if key not in assembly.codecs}
    reports = _compare(job, report_all(sites, assembly, reasons))
    recipe = job.recipe.describe_changes()
    metadata = form_metadata(job.source, reports, recipe=recipe, seed=job.seed)
    assembly.apply(loaded, metadata=metadata)
    return Result(to_proto(loaded), form_report(job.source, loaded, reports), {})


def _compare(job: Job, reports: list[TensorReport]) -> list[TensorReport]:
    """The reports with the sizes that tensors had before units were removed."""
    original = load_model(job.model)
    bits = {one.key: 8 * one.size_bytes for one in find_weights(original)}
    bits.update({one.key: 8 * one.size_bytes for one in find_parameters(original)})
    return [
        dataclasses.replace(one, original_bits=bits.get(one.name, one.original_bits))
        for one in reports
    ]


def _complain(job: Job, closest: RateTrial) -> UnmetError:
    ratio = job.source.tensor_bytes / closest.size_bytes
    reached = f"a ratio of {ratio:.1f}"
    if job.targets.max_drop is not None:
        drop = closest.drop or 0.0
        return UnmetError(
            f"cannot fine-tune {job.name} within max_drop {job.targets.max_drop:g}: the best round "
            f"must keep within it, got a drop of {drop:.2f} points at {reached}; train for more "
            "epochs, or begin with a lower rate_weight",
            drop - job.targets.max_drop,
        )
    wanted = job.targets.ratio or 1.0
    return UnmetError(
        f"cannot fine-tune {job.name} to a ratio of {wanted:g}: some round must reach it, got "
        f"{reached}; begin with a higher rate_weight, or allow more rounds",
        wanted / ratio - 1,
    )
