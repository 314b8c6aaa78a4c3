"""What `reproduce.py` stores in analog cells: recipe, storage, and what is wanted."""

from __future__ import annotations

import dataclasses
from typing import Any

from wl_onnx.analog import PROTECTIONS, Storage, find_device
from wl_onnx.finetune import NoisyRecipe, Objective, Stage

_YEAR_S = 365 * 86400.0


@dataclasses.dataclass(frozen=True)
class CellExperiment:
    """One reproduction in analog cells: a model stored as it is, and one trained for it.

    Attributes:
        title: what a table is headed with.
        dataset: "CIFAR-10", the dataset of the model that is given.
        recipe: how it is trained; the seed is put in.
        storage: the cells of the trained model; the seed is put in.
        untrained_sparsity: share that is pruned of the model that is stored as it is, which bears
            less.
        writes: how often each result is written and read for its test error.
        max_drop: most points of test error above the digital model's that are wanted.
        stretch: points to hope for.
    """

    title: str
    dataset: str
    recipe: NoisyRecipe
    storage: Storage
    untrained_sparsity: float
    writes: int = 10
    max_drop: float = 0.5
    stretch: float = 0.2

    def choose_recipe(self, seed: int) -> NoisyRecipe:
        """The recipe of one seed."""
        return dataclasses.replace(self.recipe, seed=seed)

    def choose_storage(self, seed: int, *, is_trained: bool) -> Storage:
        """The cells of one result.

        Args:
            seed: of programming and drift.
            is_trained: whether the model is trained for them.
        """
        sparsity = self.storage.sparsity if is_trained else self.untrained_sparsity
        return dataclasses.replace(self.storage, seed=seed, sparsity=sparsity)

    def shorten(self) -> CellExperiment:
        """The same in one epoch and few reads."""
        train = dataclasses.replace(self.recipe.train, epochs=1)
        recipe = dataclasses.replace(self.recipe, train=train, reads=2)
        return dataclasses.replace(self, title=f"{self.title} (quick)", recipe=recipe, writes=3)


def describe_storage(storage: Storage) -> dict[str, Any]:
    """The fields of a storage as JSON has them."""
    fields = {one.name: getattr(storage, one.name) for one in dataclasses.fields(storage)}
    return fields | {"device": storage.device.name, "protect": sorted(storage.protect)}


CELL_EXPERIMENTS: dict[str, CellExperiment] = {
    "resnet20-cells": CellExperiment(
        title="ResNet-20 on CIFAR-10 in one cell of phase-change memory a weight, after a year",
        dataset="CIFAR-10",
        recipe=NoisyRecipe(
            objective=Objective(0.3, 1.0),
            train=Stage(3, 3e-4, "one-cycle"),
            augment="mirror",
            precision="bfloat16",
            reads=10,
        ),
        storage=Storage(
            find_device("pcm-nandakumar2019"),
            time_s=_YEAR_S,
            protect=frozenset(PROTECTIONS),
            sparsity=0.5,
        ),
        untrained_sparsity=0.3,
    ),
}
"""By the name that the command takes. The constants of each stand here and nowhere else."""
