"""A kind of fine-tuning that only trains, to test what is around it."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

import wl_onnx
from wl_onnx import finetune

if TYPE_CHECKING:
    from wl_onnx.finetune.job import Job
    from wl_onnx.finetune.run import TrainerState

RECIPE = """
kind = "weightless"
batch_size = 50

[sparsify]
epochs = 3
learning_rate = 1e-3
"""


def run(job: Job) -> wl_onnx.Result:
    """Trains for the first stage, keeps checkpoints, and compresses what came out."""
    from wl_onnx.finetune.run import TrainerState

    def keep(state: TrainerState) -> None:
        if job.checkpoint is not None:
            job.checkpoint.save({"trainer": vars(state)})

    stage = job.recipe.stages["sparsify"]
    kept = None if job.checkpoint is None else job.checkpoint.load()
    job.make_trainer().run(
        "sparsify",
        stage.epochs,
        learning_rate=stage.learning_rate,
        resume=None if kept is None else TrainerState(**kept["trainer"]),
        on_epoch=keep,
    )
    trained = finetune.to_onnx(job.module, job.model)
    return wl_onnx.compress(trained, recipe=wl_onnx.Recipe(min_elements=1))


def use(monkeypatch: pytest.MonkeyPatch, replacement: Callable[[Job], wl_onnx.Result]) -> None:
    """Puts a function in the place of what the recipe weightless does."""
    module = types.ModuleType("wl_onnx.finetune.weightless")
    module.run = replacement  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
