"""Noise-aware training: a model learns to bear reads of analog cells, and is stored in them.

Weights are pruned as the storage asks for, then trained with another write and read at each step,
by distillation from the original model and by the labels, and stored with the same flags.

Source: Joshi et al., "Accurate deep neural network inference using computational phase-change
memory", Nature Communications 11, 2473 (2020), for training with noise on the weights and for
clipping them; Zhou et al., "Noisy machines", 2020, for distillation from the model without noise.
"""

from __future__ import annotations

import dataclasses
import glob
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from wl_onnx.errors import InputError
from wl_onnx.evaluation import Limits, MonteCarloValidator, load_feeds
from wl_onnx.evaluation.inputs import LABELS
from wl_onnx.finetune.attribute_names import name_parameters, read_names
from wl_onnx.finetune.device_noise import NoisyRead
from wl_onnx.finetune.export import export_model
from wl_onnx.finetune.noisy_recipe import NoisyRecipe
from wl_onnx.finetune.run import TrainerState
from wl_onnx.finetune.training_data import hold_out
from wl_onnx.graph import find_weights, load_model, why_not_analog
from wl_onnx.planning.by_recipe import find_reason
from wl_onnx.planning.cell_writer import CellWriter
from wl_onnx.planning.prepared import Goal, prepare
from wl_onnx.planning.store_by_flags import find_channel_axes, observe, prepare_tensor
from wl_onnx.recipe import Recipe
from wl_onnx.runtime.opening import open_model
from wl_onnx.store import store

if TYPE_CHECKING:
    from onnx import ModelProto

    from wl_onnx.analog.storage import Storage
    from wl_onnx.finetune.job import Job
    from wl_onnx.finetune.progress import RunSummary
    from wl_onnx.finetune.training_data import TrainingData
    from wl_onnx.graph import CompressibleModel
    from wl_onnx.planning.cell_writer import Tensor as CellTensor
    from wl_onnx.result import Result

__all__ = ["run"]

_STAGE = "train"
# Of digital storage that loses as much, for the report.
_MAX_TRIALS = 8
# What `store` measures of its own, on the way to what the report says of the fine-tuning.
_MAX_STORE_SAMPLES = 1000


def run(job: Job) -> Result:
    """Trains a model under the noise of its cells and stores it.

    Weights in Constant nodes, subgraphs and functions are neither trained nor noisy while the
    others are; `store` treats them all.

    Args:
        job: what is to be done, with a recipe of the kind "noisy" and a storage.

    Returns:
        What `store` gives for the trained model; its `search` and `baselines` are measured on at
        most some 1,000 of the validation samples. The report has `finetune` beside: `loss`, of the
        training at its end, and as all validation data say `baseline`, the original's accuracy in
        percent, `retrained_drop`, points that the trained model has less without noise, `drop`,
        points that it has less as stored, on average over the reads, `spread`, the deviation of
        one, and `kl`, divergence from the original as stored, in nats.

    Raises:
        InputError: the data do not fit the model or the objective, there is nothing to train and
            store, or the target is none for cells or not reached.
        TrainingError: the loss did not stay finite.
    """
    recipe, storage = _check(job)
    original = load_model(job.model)
    weights = _attach(original, job, recipe, storage)
    summary = _train(weights, job, recipe) if recipe.train.epochs > 0 else None
    trained = export_model(job.module.eval(), job.model)
    result = store(
        trained, storage=storage, recipe=_select(original, recipe), data=_as_arrays(job.data),
        validation_data=_as_arrays(_take_some(job.validation, job.seed)), reads=recipe.reads,
        max_trials=_MAX_TRIALS,
    )  # fmt: skip
    figures = _measure(original, trained, result.model, job, recipe.reads, storage)
    most = job.targets.max_drop
    if most is not None and not figures["drop"] <= most:
        raise InputError(
            f"cannot fine-tune {job.name}: as stored it must lose at most {most:g} points, got "
            f"{figures['drop']:.2f}; more epochs, a higher sparsity or more cells may help"
        )
    figures = {"loss": None if summary is None else summary.loss, **figures}
    return dataclasses.replace(result, report={**result.report, "finetune": figures})


def _check(job: Job) -> tuple[NoisyRecipe, Storage]:
    """The recipe and the storage, if the job is of this kind."""
    recipe, storage = job.recipe, job.storage
    if not isinstance(recipe, NoisyRecipe) or storage is None:
        raise InputError(
            f"cannot fine-tune {job.name} for cells: there must be a recipe of the kind noisy and "
            f"a storage, got kind {recipe.kind} and {'no' if storage is None else 'a'} storage"
        )
    if job.targets.ratio is not None:
        raise InputError(
            f"cannot fine-tune {job.name} for cells: there must be no target_ratio, got "
            f"{job.targets.ratio:g}; cells are counted in the report"
        )
    if job.targets.max_drop is not None and job.validation.labels is None:
        raise InputError(
            f"cannot fine-tune {job.name} within max_drop: the validation data must have labels, "
            "got none"
        )
    return recipe, storage


@dataclasses.dataclass(frozen=True)
class _NoisyWeight:
    """A parameter whose reads are noisy.

    Attributes:
        parameter: what is trained.
        read: draws its reads.
        kept: which weights are not pruned, 0 or 1 in the parameter's type; None: all.
    """

    parameter: nn.Parameter
    read: NoisyRead
    kept: Tensor | None

    def project(self, clip: float | None) -> None:
        """Takes away what a step did to pruned weights, and outliers."""
        if self.kept is not None:
            self.parameter.mul_(self.kept)
        if clip is not None:
            count = self.parameter.numel() if self.kept is None else self.kept.sum()
            limit = clip * torch.sqrt(self.parameter.square().sum() / count)
            self.parameter.copy_(torch.minimum(torch.maximum(self.parameter, -limit), limit))


def _attach(
    original: CompressibleModel, job: Job, recipe: NoisyRecipe, storage: Storage
) -> list[_NoisyWeight]:
    """Prunes the weights that are to be stored, and has the module read them with noise."""
    module = job.module.to(job.device)
    attributes = {name: attribute for attribute, name in read_names(module).items()}
    writer = CellWriter(storage)
    axes = find_channel_axes(original) if storage.scale == "channel" else {}
    weights = []
    for key, tensor in _find_tensors(original, job, recipe, storage).items():
        parameter = getattr(module, attributes.get(key, ""), None)
        if not isinstance(parameter, nn.Parameter):
            continue
        read = NoisyRead(
            writer, costs=tensor.costs, channel_axis=axes.get(key, 0), gradient=recipe.gradient,
            refresh_every=recipe.refresh_every, strength=recipe.strength,
        )  # fmt: skip
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(tensor.weights))
        kept = None
        if not tensor.weights.all():
            kept = torch.from_numpy(tensor.weights != 0).to(parameter)
        parametrize.register_parametrization(module, attributes[key], read, unsafe=True)
        weights.append(_NoisyWeight(parameter, read, kept))
    if not weights:
        raise InputError(
            f"cannot fine-tune {job.name} for cells: it must have a weight that can be trained and "
            "stored, got none"
        )
    return weights


def _find_tensors(
    original: CompressibleModel, job: Job, recipe: NoisyRecipe, storage: Storage
) -> dict[str, CellTensor]:
    """By key the weights as `store` would prune them, and what their errors cost."""
    selected = _select(original, recipe)
    chosen = [site for site in find_weights(original) if find_reason(site, selected) is None]
    goal = Goal(_as_arrays(job.data), _as_arrays(job.validation))
    observed = observe(prepare(original, chosen, selected, goal).calibration)
    return {
        site.key: prepare_tensor(site, number, storage, observed.get(site.key))
        for number, site in enumerate(chosen)
        if why_not_analog(site) is None
    }


def _train(weights: Sequence[_NoisyWeight], job: Job, recipe: NoisyRecipe) -> RunSummary:
    checkpoint, stage = job.checkpoint, recipe.train

    def set_strength(progress: float) -> None:
        share = min(1.0, progress / recipe.ramp) if recipe.ramp > 0 else 1.0
        for weight in weights:
            weight.read.strength = share * recipe.strength

    def restart(step: int) -> None:
        """Draws depend on the seed and the step: a run that was interrupted draws the same."""
        for index, weight in enumerate(weights):
            words = np.random.SeedSequence([job.seed, step, index]).generate_state(1, np.uint64)
            weight.read.restart(int(words[0] >> np.uint64(1)))

    def after_step(progress: float) -> None:
        set_strength(progress)
        for weight in weights:
            weight.project(recipe.clip)

    def on_epoch(state: TrainerState) -> None:
        restart(state.step)
        if checkpoint is not None:
            checkpoint.save({one.name: getattr(state, one.name) for one in fields})

    fields = dataclasses.fields(TrainerState)
    saved = None if checkpoint is None else checkpoint.load()
    resume = None if saved is None else TrainerState(**saved)
    trainer = job.make_trainer(parameters=_choose_parameters(job.module, recipe))
    restart(0 if resume is None else resume.step)
    set_strength(0.0 if resume is None else resume.step / resume.steps)
    return trainer.run(
        _STAGE, stage.epochs, learning_rate=stage.learning_rate, optimizer=stage.optimizer,
        schedule=stage.schedule, after_step=after_step, resume=resume, on_epoch=on_epoch,
    )  # fmt: skip


def _choose_parameters(module: nn.Module, recipe: NoisyRecipe) -> list[nn.Parameter]:
    """What the recipe selects, as it is trained: behind its parametrisation where it has one."""
    return [
        parameter for name, parameter in name_parameters(module).items() if recipe.selects(name)
    ]


def _measure(
    original: CompressibleModel,
    trained: ModelProto,
    stored: ModelProto,
    job: Job,
    reads: int,
    storage: Storage,
) -> dict[str, Any]:
    """What is lost to the original, on the validation data."""
    feeds = load_feeds(_as_arrays(job.validation), open_model(original).get_inputs())
    validator = MonteCarloValidator(
        original, feeds, Limits(), time_s=storage.time_s, reads=reads, seed=storage.seed
    )
    digital, score = (validator.measure(load_model(one)) for one in (trained, stored))
    return {
        "baseline": validator.baseline,
        "retrained_drop": digital.drop,
        "drop": score.drop,
        "spread": validator.spread,
        "kl": score.kl,
    }


def _select(original: CompressibleModel, recipe: NoisyRecipe) -> Recipe:
    """Which weights are meant, for `store`, which refuses globs of other initializers."""
    keys = [site.key for site in find_weights(original)]
    return Recipe(exclude=tuple(glob.escape(key) for key in keys if not recipe.selects(key)))


def _take_some(data: TrainingData, seed: int) -> TrainingData:
    if data.num_samples <= max(_MAX_STORE_SAMPLES, data.fixed_batch or 1):
        return data
    return hold_out(data, _MAX_STORE_SAMPLES / data.num_samples, seed=seed)[1]


def _as_arrays(data: TrainingData) -> dict[str, Any]:
    labels = {} if data.labels is None else {LABELS: data.labels}
    return {**data.inputs, **labels}
