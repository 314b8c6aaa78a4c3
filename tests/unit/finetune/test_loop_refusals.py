"""What the training loop refuses: data, arguments, states and modules that do not fit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from tests.unit.finetune.modules import classified, linear_module
from wl_onnx import InputError, ModelError
from wl_onnx.finetune.losses import Objective
from wl_onnx.finetune.training_data import TrainingData

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn

from wl_onnx.finetune.loop import Trainer, TrainerState  # noqa: E402  needs torch


def test_states_of_other_runs_are_refused() -> None:
    states: list[TrainerState] = []
    trainer = Trainer(linear_module(), classified())
    trainer.run("s", 2, learning_rate=0.1, on_epoch=states.append)
    with pytest.raises(InputError, match=r"^cannot resume t: .* of 2 steps, got s of 2 steps$"):
        trainer.run("t", 2, learning_rate=0.1, resume=states[0])
    with pytest.raises(InputError, match=r"^cannot resume s: .* of 3 steps, got s of 2 steps$"):
        trainer.run("s", 3, learning_rate=0.1, resume=states[0])
    deeper = nn.Sequential(linear_module())
    with pytest.raises(InputError, match=r"got others for 0\.bias, 0\.weight, bias, weight$"):
        Trainer(deeper, classified()).run("s", 2, learning_rate=0.1, resume=states[0])
    module = linear_module()
    other = Trainer(module, classified(), parameters=[module.weight])
    with pytest.raises(InputError, match=r"the same optimizer, got one with other parameters$"):
        other.run("s", 2, learning_rate=0.1, resume=states[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": dataclasses.replace(classified(), labels=None)}, "the data must have labels"),
        ({"objective": Objective(0, 1)}, "there must be the teacher's scores"),
        (
            {"objective": Objective(0, 1), "teacher_logits": np.zeros((40, 4), np.float32)},
            r"the teacher's scores must be finite and \[40, 3\], got \[40, 4\]",
        ),
        (
            {"validation": TrainingData(classified().inputs, np.arange(40))},
            "labels must be 0 to 2, the classes of the model, got 3 for sample 3",
        ),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
    ],
)
def test_data_that_do_not_fit_the_objective(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^cannot fine-tune: {message}"):
        Trainer(linear_module(), **{"data": classified(), **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs must be above 0, got 0"),
        ({"learning_rate": -1.0}, r"the learning rate must be above 0, got -1\.0"),
        ({"optimizer": "newton"}, "the optimizer must be adam or sgd, got 'newton'"),
        ({"schedule": "linear"}, "the schedule must be cosine or constant or one-cycle, got"),
        ({"parameters": []}, "there must be a parameter to train, got none"),
    ],
)
def test_runs_that_cannot_be(arguments: dict[str, Any], message: str) -> None:
    trainer = Trainer(linear_module(), classified())
    with pytest.raises(InputError, match=f"^cannot fine-tune: {message}"):
        trainer.run("s", **{"epochs": 1, "learning_rate": 0.1, **arguments})


def test_modules_that_give_no_classes() -> None:
    with pytest.raises(ModelError, match=r"class scores \[n, classes\], got float32 \[40, 1\]$"):
        Trainer(nn.Linear(4, 1), classified())
    with pytest.raises(ModelError, match=r"a row a sample, got \[80, 2\] of 40 samples$"):
        Trainer(
            nn.Sequential(nn.Linear(4, 4), nn.Unflatten(1, (2, 2)), nn.Flatten(0, 1)), classified()
        )
    with pytest.raises(
        ModelError, match=r"^cannot fine-tune: the module must run on the data, got: "
    ):
        Trainer(nn.Linear(5, 3), classified())
