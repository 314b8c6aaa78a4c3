"""Fine-tuning as one call: everything is checked, then the recipe's kind does the work."""

from __future__ import annotations

import dataclasses
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wl_onnx.analog.presets import find_device
from wl_onnx.analog.storage import Storage
from wl_onnx.errors import InputError
from wl_onnx.finetune.bridge import initializer_names, require_torch, to_torch
from wl_onnx.finetune.job import Job, Targets, form_fingerprint
from wl_onnx.finetune.noisy_recipe import NoisyRecipe
from wl_onnx.finetune.recipe import FinetuneRecipe, scale_epochs
from wl_onnx.finetune.recipe_file import load_finetune_recipe
from wl_onnx.finetune.teacher import compute_scores, measure_accuracy
from wl_onnx.finetune.training_data import hold_out, read_training_data
from wl_onnx.graph import (
    CompressibleModel,
    check_output,
    load_model,
    require_uncompressed,
    save_model,
    to_proto,
)
from wl_onnx.result import Result, Source, as_proto, check_globs
from wl_onnx.runtime.opening import open_model

if TYPE_CHECKING:
    from torch import nn

    from wl_onnx.finetune.progress import ReportFn
    from wl_onnx.finetune.training_data import DataSource, TrainingData
    from wl_onnx.result import Model
    from wl_onnx.runtime import InferenceSession

__all__ = ["finetune"]

_DEFAULT_DEVICE = "pcm-nandakumar2019"


def finetune(
    model: Model,
    output: str | os.PathLike[str] | None = None,
    *,
    data: DataSource,
    recipe: str | os.PathLike[str] | FinetuneRecipe = "weightless",
    validation_data: DataSource | None = None,
    epochs: float | None = None,
    target_ratio: float | None = None,
    max_drop: float | None = None,
    storage: Storage | None = None,
    torch_device: str = "cpu",
    checkpoint: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    progress: ReportFn | None = None,
    force: bool = False,
) -> Result:
    """Trains a model around what compression or noise does to its weights, and writes it.

    The recipe's kind says what is done. "weightless": weights become sparse and clustered, layer
    after layer is encoded and what is behind it is retrained; the result is an ordinary compressed
    model. "noisy": the model is trained on noisy reads of analog cells, then stored in them.

    An interrupted run goes on from its checkpoint where it is called again with the same arguments;
    the checkpoint is removed when the result is written.

    Args:
        model: path of an ONNX file, or a ModelProto; its first output must be class scores.
        output: where the result is written; external data goes to `<output>.data`.
        data: samples to train on: path of an npz whose arrays are named after the inputs, with
            `labels` beside them, or the arrays by name.
        recipe: name of a built-in recipe, path of a TOML file, or the recipe itself.
        validation_data: samples to validate on, like `data`; without any, the recipe's share of
            `data` is held out.
        epochs: of all stages together, in place of the recipe's.
        target_ratio: least ratio of all initializers' bytes to what stands for them.
        max_drop: most that accuracy on the validation data may fall, in percentage points.
        storage: the cells, for "noisy" alone; the default is `pcm-nandakumar2019` read after a day.
        torch_device: where torch computes, such as "cpu" or "cuda".
        checkpoint: file in which the state is kept.
        seed: in place of the recipe's.
        progress: called with a `StepReport`, some twenty times an epoch.
        force: whether an existing output may be replaced.

    Returns:
        The model and its report: that of `compress` or `store`, with `finetune`: the recipe, the
        number of samples, and accuracies on the validation data before and after.

    Raises:
        InputError: an argument is out of range, the data do not fit the model, labels are absent
            where they are needed, the output cannot be written, a glob matches nothing, the
            checkpoint is of another run, or a target is not met.
        LibraryError: torch is not installed.
        ModelError: the model is damaged, compressed already, gives no class scores, or has an
            operator that the bridge does not know; the message names operator and node.
        TrainingError: the loss became NaN or infinite; the checkpoint stays.

    Example:
        >>> result = finetune("m.onnx", "small.onnx", data="train.npz")  # doctest: +SKIP
        >>> result.report["finetune"]["accuracy"]  # doctest: +SKIP
        {'original': 0.984, 'result': 0.982}
    """
    require_torch()
    chosen = _choose_recipe(recipe, epochs, seed)
    targets = Targets(target_ratio, max_drop)
    cells = _choose_storage(chosen, storage, targets)
    _check_device(torch_device)
    loaded = load_model(model)
    require_uncompressed(loaded)
    if output is not None:
        check_output(output, source=loaded, force=force)
    kept = None if checkpoint is None else _check_checkpoint(checkpoint, loaded, output)
    module = to_torch(model, update_statistics=chosen.update_statistics)
    _check_globs(chosen, module)
    session = open_model(loaded)
    train, validation = _read_data(session, data, validation_data, chosen, targets)
    job = Job(
        name=loaded.name,
        model=to_proto(loaded),
        module=module,
        source=Source.of(loaded),
        data=train,
        validation=validation,
        teacher_scores=(
            compute_scores(session, train, name=loaded.name)
            if chosen.objective.needs_teacher and chosen.augment == "none"
            else None
        ),
        original_accuracy=measure_accuracy(session, validation, name=loaded.name),
        recipe=chosen,
        targets=targets,
        storage=cells,
        report=progress,
        device=torch_device,
    )
    if kept is not None:
        from wl_onnx.finetune.checkpoint import Checkpoint

        fingerprint = form_fingerprint(job.model, (train, validation), chosen, targets, cells)
        job = dataclasses.replace(job, checkpoint=Checkpoint(kept, fingerprint))
    del session
    result = _run(job)
    made = load_model(result.model)
    report = {**result.report, "finetune": _describe(job, result, made)}
    if output is not None:
        save_model(made, output, force=force)
    if job.checkpoint is not None:
        job.checkpoint.remove()
    return Result(as_proto(made, output), report, result.plan)


def _run(job: Job) -> Result:
    """What the job's kind does; the module of its name needs torch, and so waits until now."""
    result: Result = importlib.import_module(f"wl_onnx.finetune.{job.recipe.kind}").run(job)
    return result


def _choose_recipe(
    recipe: str | os.PathLike[str] | FinetuneRecipe, epochs: float | None, seed: int | None
) -> FinetuneRecipe:
    chosen = recipe if isinstance(recipe, FinetuneRecipe) else load_finetune_recipe(recipe)
    if seed is not None:
        chosen = dataclasses.replace(chosen, seed=seed)
    return chosen if epochs is None else scale_epochs(chosen, epochs)


def _choose_storage(
    recipe: FinetuneRecipe, storage: Storage | None, targets: Targets
) -> Storage | None:
    if isinstance(recipe, NoisyRecipe):
        if targets.ratio is not None:
            raise InputError(
                "cannot fine-tune: target_ratio must go with a recipe that compresses, got "
                f"{targets.ratio} with {recipe.kind}"
            )
        return storage or Storage(find_device(_DEFAULT_DEVICE))
    if storage is not None:
        raise InputError(
            f"cannot fine-tune: a storage must go with the recipe noisy, got one with {recipe.kind}"
        )
    return None


def _check_device(device: str) -> None:
    import torch

    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"cannot fine-tune: torch_device must be one that torch can use here, got {device!r}: "
            f"{reason}"
        ) from error


def _check_checkpoint(
    checkpoint: str | os.PathLike[str],
    model: CompressibleModel,
    output: str | os.PathLike[str] | None,
) -> Path:
    path = Path(checkpoint)
    others = [model.path, *model.external_paths]
    if output is not None:
        others += [Path(output), Path(f"{os.fspath(output)}.data")]
    for other in others:
        if other is not None and other.resolve() == path.resolve():
            raise InputError(
                f"cannot keep checkpoints in {path}: the file must be of its own, got {other}"
            )
    return path


def _check_globs(recipe: FinetuneRecipe, module: nn.Module) -> None:
    names = initializer_names(module)
    trained = [names[key] for key, _ in module.named_parameters() if key in names]
    globs = (*recipe.include, *recipe.exclude)
    check_globs(globs, trained, wanted="the name of one that trains")


def _read_data(
    session: InferenceSession,
    data: DataSource,
    validation_data: DataSource | None,
    recipe: FinetuneRecipe,
    targets: Targets,
) -> tuple[TrainingData, TrainingData]:
    """Samples to train on, and samples to validate on."""
    inputs = session.get_inputs()
    needs_labels, has_limit = recipe.objective.needs_labels, targets.max_drop is not None
    if validation_data is None:
        everything = read_training_data(data, inputs, need_labels=needs_labels or has_limit)
        return hold_out(everything, recipe.validation_share, seed=recipe.seed)
    train = read_training_data(data, inputs, need_labels=needs_labels)
    return train, read_training_data(validation_data, inputs, need_labels=has_limit)


def _describe(job: Job, result: Result, made: CompressibleModel) -> dict[str, Any]:
    """The report's `finetune`: what every kind tells, and what this one has put there."""
    figures = dict(result.report.get("finetune", {}))
    accuracy = {"original": job.original_accuracy, "result": _measure(job, figures, made)}
    return {
        "recipe": {"kind": job.recipe.kind, **dataclasses.asdict(job.recipe)},
        "samples": job.data.num_samples,
        "validation_samples": job.validation.num_samples,
        "accuracy": accuracy,
        **figures,
    }


def _measure(job: Job, figures: dict[str, Any], made: CompressibleModel) -> float | None:
    """The accuracy of what is written; from cells it is another at each read, and is a mean."""
    if job.storage is None:
        return measure_accuracy(open_model(made), job.validation, name="the result")
    drop = figures.get("drop")
    if drop is None or job.original_accuracy is None:
        return None
    return job.original_accuracy - float(drop) / 100
