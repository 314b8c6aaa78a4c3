"""One run of training: its optimiser, how far it is, and the last state that was good."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wl_onnx.errors import InputError, TrainingError
from wl_onnx.finetune.optimization import OptimizerFn, make_optimizer, scale_rate

__all__ = ["Run", "TrainerState"]

_SMOOTHED_STEPS = 50


@dataclasses.dataclass(frozen=True)
class TrainerState:
    """What a run needs to go on after an epoch; plain values, which `Checkpoint` can keep.

    Attributes:
        stage: name of the run.
        step: steps that are done.
        steps: steps of the whole run.
        loss: as in `StepReport`.
        tensors: the module's state, and what else was trained.
        optimizer: the optimiser's state.
    """

    stage: str
    step: int
    steps: int
    loss: float
    tensors: dict[str, Tensor]
    optimizer: dict[str, Any]


class Run:
    """A run of a module under way.

    Args:
        module: what is trained.
        stage: name of the run.
        steps: how many steps it has.
        parameters: what moves.
        optimizer: see `make_optimizer`.
        learning_rate: the highest of the run.
        schedule: see `scale_rate`.

    Attributes:
        optimizer: the optimiser.
        step: steps that are done.
        loss: mean of about the last 50 steps.
    """

    def __init__(
        self,
        module: nn.Module,
        stage: str,
        steps: int,
        *,
        parameters: Sequence[nn.Parameter],
        optimizer: str | OptimizerFn,
        learning_rate: float,
        schedule: str,
    ) -> None:
        scale_rate(schedule, 0.0)
        self.stage = stage
        self.steps = steps
        self.step = 0
        self.loss = math.nan
        self.optimizer = make_optimizer(optimizer, parameters, learning_rate)
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        self._schedule = schedule
        self._parameters = parameters
        self._live = _find_tensors(module, parameters)
        self._kept = _clone(self._live)

    @property
    def progress(self) -> float:
        """Share of the steps that are done, in 0..1."""
        return self.step / self.steps

    def set_rate(self) -> None:
        """Sets the learning rate of the next step."""
        share = scale_rate(self._schedule, self.progress)
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * share

    def add_loss(self, loss: float) -> None:
        """Takes the loss of the next step, without penalties, into the mean.

        Args:
            loss: in nats, before the parameters move.

        Raises:
            TrainingError: it is not finite.
        """
        if not math.isfinite(loss):
            raise self._failure("the loss", str(loss), self.step + 1)
        weight = 1 / min(self.step + 1, _SMOOTHED_STEPS)
        self.loss = loss if self.step == 0 else self.loss + weight * (loss - self.loss)

    def keep(self) -> None:
        """Takes the tensors as they are for good.

        Raises:
            TrainingError: a parameter is not finite.
        """
        for parameter in self._parameters:
            if not bool(torch.isfinite(parameter).all()):
                raise self._failure("every parameter", "nan or inf", self.step)
        self._kept = _clone(self._live)

    def go_back(self) -> None:
        """Gives the tensors the values that were kept last."""
        _copy(self._kept, self._live)

    def get_state(self) -> TrainerState:
        """The state as of the last `keep`; nothing in it changes later."""
        optimizer = copy.deepcopy(self.optimizer.state_dict())
        return TrainerState(
            self.stage, self.step, self.steps, self.loss, _clone(self._kept), optimizer
        )

    def resume(self, state: TrainerState) -> None:
        """Goes on from a state.

        Raises:
            InputError: it is of another run.
        """
        if (state.stage, state.steps) != (self.stage, self.steps):
            raise InputError(
                f"cannot resume {self.stage}: the state must be of the same run of {self.steps} "
                f"steps, got {state.stage} of {state.steps} steps"
            )
        shapes, wanted = ({k: v.shape for k, v in t.items()} for t in (state.tensors, self._live))
        if shapes != wanted:
            names = sorted(k for k in {**shapes, **wanted} if shapes.get(k) != wanted.get(k))
            raise InputError(
                f"cannot resume {self.stage}: the state must hold the tensors of the module, got "
                f"others for {', '.join(names)}"
            )
        _copy(state.tensors, self._live)
        try:
            self.optimizer.load_state_dict(copy.deepcopy(state.optimizer))
        except ValueError as error:
            raise InputError(
                f"cannot resume {self.stage}: the state must be of the same optimizer, got one "
                "with other parameters"
            ) from error
        self.step, self.loss = state.step, state.loss
        self._kept = _clone(self._live)

    def _failure(self, what: str, value: str, step: int) -> TrainingError:
        return TrainingError(
            f"cannot fine-tune: {what} must stay finite, got {value} at step {step} of "
            f"{self.stage}; the last good parameters are kept, a lower learning rate may help"
        )


def _find_tensors(module: nn.Module, parameters: Sequence[nn.Parameter]) -> dict[str, Tensor]:
    """What a step or a projection may change: the module's state, and parameters beside it."""
    tensors: dict[str, Tensor] = dict(module.state_dict())
    known = {id(parameter) for parameter in module.parameters()}
    others = [parameter for parameter in parameters if id(parameter) not in known]
    return tensors | {f"other.{i}": parameter.detach() for i, parameter in enumerate(others)}


def _clone(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.copy_(source[name])
