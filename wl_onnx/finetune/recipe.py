"""How a model is fine-tuned: what the recipes of all kinds have in common."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import math
from typing import Any, ClassVar, TypeVar

from wl_onnx.errors import InputError
from wl_onnx.finetune.augmentation import AUGMENTATIONS
from wl_onnx.finetune.losses import Objective
from wl_onnx.finetune.optimization import OPTIMIZERS, SCHEDULES
from wl_onnx.recipe import is_number, is_whole, parse_globs, require_field

__all__ = ["PRECISIONS", "AnyRecipe", "FinetuneRecipe", "Stage", "scale_epochs"]

PRECISIONS = ("float32", "bfloat16")

AnyRecipe = TypeVar("AnyRecipe", bound="FinetuneRecipe")


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a fine-tuning that trains.

    Attributes:
        epochs: how often the data are gone through, at least 0; 0 leaves the stage out.
        learning_rate: the highest of the stage.
        schedule: how it goes: "cosine", "constant" or "one-cycle".
        optimizer: "adam" or "sgd".

    Raises:
        InputError: a value is out of its range; the message names the field.
    """

    epochs: float
    learning_rate: float
    schedule: str = "cosine"
    optimizer: str = "adam"

    def __post_init__(self) -> None:
        """Checks every field."""
        require_field(
            is_number(self.epochs) and 0 <= self.epochs < math.inf,
            "epochs",
            "a number of at least 0",
            self.epochs,
        )
        require_field(
            is_number(self.learning_rate) and 0 < self.learning_rate < math.inf,
            "learning_rate",
            "a number above 0",
            self.learning_rate,
        )
        for name, known in (("schedule", SCHEDULES), ("optimizer", OPTIMIZERS)):
            value = getattr(self, name)
            require_field(value in known, name, " or ".join(known), value)


@dataclasses.dataclass(frozen=True)
class FinetuneRecipe:
    """How a model is fine-tuned. Each kind has a class of its own, with its stages and options.

    A kind's fields of type `Stage` are its stages, in their order. In TOML they are tables of their
    names, and what a table leaves out keeps the kind's default.

    Attributes:
        kind: what is done.
        objective: the loss that is trained.
        batch_size: samples of a step, at least 1.
        validation_share: share of the data, in (0, 1), that is validated on where no validation
            data are given.
        augment: how images are changed at random before they are trained on: "none", "affine" or
            "mirror", see `find_augmentation`.
        precision: in which products are computed while training, "float32" or "bfloat16", see
            `Trainer`.
        update_statistics: whether BatchNormalization trains as in training, on its batches.
        include: globs over initializer names; empty means all.
        exclude: globs over initializer names that are not to be changed.
        seed: of all that is drawn, 0 to 2**32 - 1.

    Raises:
        InputError: a value is out of its range; the message names the field.
    """

    kind: ClassVar[str]

    objective: Objective = dataclasses.field(default_factory=Objective)
    batch_size: int = 128
    validation_share: float = 0.1
    augment: str = "none"
    precision: str = "float32"
    update_statistics: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks every field."""
        require_field(
            is_whole(self.batch_size) and self.batch_size >= 1,
            "batch_size",
            "a whole number of at least 1",
            self.batch_size,
        )
        require_field(
            is_number(self.validation_share) and 0 < self.validation_share < 1,
            "validation_share",
            "in (0, 1)",
            self.validation_share,
        )
        require_field(
            self.augment in AUGMENTATIONS, "augment", " or ".join(AUGMENTATIONS), self.augment
        )
        require_field(
            self.precision in PRECISIONS, "precision", " or ".join(PRECISIONS), self.precision
        )
        require_field(
            isinstance(self.update_statistics, bool),
            "update_statistics",
            "true or false",
            self.update_statistics,
        )
        for name in ("include", "exclude"):
            object.__setattr__(self, name, parse_globs(getattr(self, name), name))
        require_field(
            is_whole(self.seed) and 0 <= self.seed < 2**32,
            "seed",
            "a whole number from 0 to 2**32 - 1",
            self.seed,
        )

    @property
    def stages(self) -> dict[str, Stage]:
        """The stages by name, in their order; those of no epochs too."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Stage)}

    def selects(self, name: str) -> bool:
        """Whether `include` and `exclude` leave the tensor of this name in."""
        included = not self.include or any(fnmatch.fnmatchcase(name, g) for g in self.include)
        return included and not any(fnmatch.fnmatchcase(name, g) for g in self.exclude)

    def describe(self) -> str:
        """Kind and fields as JSON."""
        return json.dumps({"kind": self.kind, **dataclasses.asdict(self)}, separators=(",", ":"))

    def describe_changes(self) -> str:
        """Kind, and the fields that are not as by default, as JSON: for small files."""
        default = dataclasses.asdict(type(self)())
        fields = dataclasses.asdict(self)
        changed = {name: value for name, value in fields.items() if value != default[name]}
        return json.dumps({"kind": self.kind, **changed}, separators=(",", ":"))


def scale_epochs(recipe: AnyRecipe, epochs: float) -> AnyRecipe:
    """A recipe whose stages take so many epochs together, each its share of them.

    Args:
        recipe: of any kind.
        epochs: of all stages, above 0.

    Raises:
        InputError: no such number, or a recipe without epochs.
    """
    if not (is_number(epochs) and 0 < epochs < math.inf):
        raise InputError(f"cannot fine-tune: epochs must be above 0, got {epochs!r}")
    total = sum(stage.epochs for stage in recipe.stages.values())
    if total == 0:
        raise InputError(
            f"cannot fine-tune for {epochs:g} epochs: the recipe must have a stage that trains, "
            "got none"
        )
    changes: dict[str, Any] = {
        name: dataclasses.replace(stage, epochs=stage.epochs * epochs / total)
        for name, stage in recipe.stages.items()
    }
    return dataclasses.replace(recipe, **changes)
