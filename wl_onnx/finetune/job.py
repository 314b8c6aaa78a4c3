"""One fine-tuning, all checked and measured: what a recipe of any kind is given to run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from wl_onnx.errors import InputError
from wl_onnx.recipe import is_number

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from onnx import ModelProto
    from torch import fx, nn

    from wl_onnx.analog.storage import Storage
    from wl_onnx.finetune.checkpoint import Checkpoint, Fingerprint
    from wl_onnx.finetune.loop import Trainer
    from wl_onnx.finetune.progress import ReportFn
    from wl_onnx.finetune.recipe import FinetuneRecipe
    from wl_onnx.finetune.training_data import TrainingData
    from wl_onnx.result import Source

__all__ = ["Job", "Targets", "form_fingerprint"]


@dataclasses.dataclass(frozen=True)
class Targets:
    """What the result is to reach; with neither, what the recipe says is done.

    Attributes:
        ratio: least ratio of all initializers' bytes to what stands for them.
        max_drop: most that accuracy on the validation data may fall, in percentage points.

    Raises:
        InputError: a number is out of range, or both are given.
    """

    ratio: float | None = None
    max_drop: float | None = None

    def __post_init__(self) -> None:
        """Checks both."""
        if self.ratio is not None and self.max_drop is not None:
            raise InputError(
                "cannot fine-tune: there must be one target, the ratio or the drop, got "
                f"target_ratio {self.ratio} and max_drop {self.max_drop}"
            )
        for name, value, least in (("target_ratio", self.ratio, 1), ("max_drop", self.max_drop, 0)):
            if value is not None and not (is_number(value) and least <= value < math.inf):
                raise InputError(
                    f"cannot fine-tune: {name} must be a number of at least {least}, got {value!r}"
                )


@dataclasses.dataclass(frozen=True)
class Job:
    """A fine-tuning that can begin.

    Attributes:
        name: how messages call the model.
        model: the original, all of its tensors inside; not to be changed.
        module: made of it by `to_torch`, to be trained.
        source: its sizes and its hash.
        data: samples to train on.
        validation: samples to validate on; none of those trained on.
        teacher_scores: the original's scores of `data`, where the objective is about them; where
            inputs are augmented, the original is asked for each batch instead.
        original_accuracy: the original's on the validation data, in 0..1; None without labels.
        recipe: what is done, with the seed of all that is drawn.
        targets: what it is to reach.
        storage: the cells, for the kind "noisy".
        checkpoint: where the state is kept, or None.
        report: told where it is, or None.
        device: where torch computes.
    """

    name: str
    model: ModelProto
    module: fx.GraphModule
    source: Source
    data: TrainingData
    validation: TrainingData
    teacher_scores: npt.NDArray[np.float32] | None
    original_accuracy: float | None
    recipe: FinetuneRecipe
    targets: Targets
    storage: Storage | None = None
    checkpoint: Checkpoint | None = None
    report: ReportFn | None = None
    device: str = "cpu"

    @property
    def seed(self) -> int:
        """The recipe's."""
        return self.recipe.seed

    def make_trainer(
        self, module: nn.Module | None = None, parameters: Iterable[nn.Parameter] | None = None
    ) -> Trainer:
        """A trainer of the job's module, or of another with the same inputs and classes.

        Args:
            module: what is trained instead.
            parameters: see `Trainer`.

        Raises:
            InputError: the data do not fit the module's classes.
            ModelError: the module gives no class scores.
        """
        from wl_onnx.finetune.augmentation import find_augmentation
        from wl_onnx.finetune.loop import Trainer

        augment = find_augmentation(self.recipe.augment)
        needs_module = augment is not None and self.recipe.objective.needs_teacher
        return Trainer(
            self.module if module is None else module,
            self.data,
            validation=self.validation,
            teacher_logits=self.teacher_scores,
            objective=self.recipe.objective,
            batch_size=self.recipe.batch_size,
            seed=self.seed,
            device=self.device,
            report=self.report,
            parameters=parameters,
            augment=augment,
            teacher=self._make_teacher() if needs_module else None,
            precision=self.recipe.precision,
        )

    def _make_teacher(self) -> nn.Module:
        from wl_onnx.finetune.bridge import to_torch

        return to_torch(self.model).to(self.device).eval().requires_grad_(requires_grad=False)


def form_fingerprint(
    model: ModelProto,
    data: Iterable[TrainingData],
    recipe: FinetuneRecipe,
    targets: Targets,
    storage: Storage | None,
) -> Fingerprint:
    """What a checkpoint of a fine-tuning is told by.

    Args:
        model: the original, all of its tensors inside.
        data: the samples to train on and those to validate on.
        recipe: what is done.
        targets: what it is to reach.
        storage: the cells, or None.
    """
    from wl_onnx.finetune.checkpoint import Fingerprint, hash_data

    settings = {
        "recipe": recipe.describe(),
        "targets": dataclasses.asdict(targets),
        "storage": None if storage is None else _describe_storage(storage),
    }
    return Fingerprint(
        model=hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest(),
        recipe=json.dumps(settings, sort_keys=True),
        data=" ".join(map(hash_data, data)),
        seed=recipe.seed,
    )


def _describe_storage(storage: Storage) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(storage)]
    values = {name: getattr(storage, name) for name in names if name != "device"}
    values["protect"] = sorted(storage.protect)
    return {**values, "device": storage.device.record().hex()}
