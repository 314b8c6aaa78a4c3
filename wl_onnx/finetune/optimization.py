"""How parameters move: optimisers by name, and learning rates over a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from wl_onnx.errors import InputError

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

__all__ = ["OPTIMIZERS", "SCHEDULES", "OptimizerFn", "make_optimizer", "scale_rate"]

OPTIMIZERS = ("adam", "sgd")
"""Adam with its authors' constants, and gradient descent with a momentum of 0.9."""

SCHEDULES = ("cosine", "constant", "one-cycle")
"""How the learning rate goes over a run; see `scale_rate`."""

OptimizerFn: TypeAlias = "Callable[[list[nn.Parameter], float], Optimizer]"
"""Makes an optimiser of parameters and a learning rate; it may divide them into groups."""

_MOMENTUM = 0.9
_WARM_UP = 0.3
_START = 1 / 25


def make_optimizer(
    optimizer: str | OptimizerFn, parameters: Sequence[nn.Parameter], learning_rate: float
) -> Optimizer:
    """An optimiser of some parameters.

    Args:
        optimizer: one of `OPTIMIZERS`, or what makes one.
        parameters: what it moves; at least one.
        learning_rate: the highest of the run, above 0.

    Raises:
        InputError: no such optimiser, nothing to move, or a rate that is not above 0.
    """
    if not parameters:
        raise InputError("cannot fine-tune: there must be a parameter to train, got none")
    if not 0 < learning_rate < math.inf:
        raise InputError(
            f"cannot fine-tune: the learning rate must be above 0, got {learning_rate!r}"
        )
    if callable(optimizer):
        return optimizer(list(parameters), learning_rate)
    if optimizer not in OPTIMIZERS:
        raise InputError(
            f"cannot fine-tune: the optimizer must be {' or '.join(OPTIMIZERS)}, got {optimizer!r}"
        )
    from torch import optim

    # One call for all tensors: small networks spend more time between kernels than in them.
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)
    if optimizer == "adam":
        return optim.Adam(parameters, learning_rate, fused=fused)
    return optim.SGD(parameters, learning_rate, momentum=_MOMENTUM, fused=fused)


def scale_rate(schedule: str, progress: float) -> float:
    """The learning rate at a point of a run, as a share of the highest.

    "constant" is 1. "cosine" falls from 1 to 0 (I. Loshchilov and F. Hutter, "SGDR" (2017),
    equation 5, without restarts). "one-cycle" rises in a line from 1/25 to 1 over the first 30 % of
    the run and falls by the cosine to 0 over the rest (after L. Smith and N. Topin,
    "Super-convergence" (2018)).

    Args:
        schedule: one of `SCHEDULES`.
        progress: share of the run that is done, in 0..1.

    Raises:
        InputError: no such schedule.

    Example:
        >>> [round(scale_rate("cosine", x), 2) for x in (0, 0.5, 1)]
        [1.0, 0.5, 0.0]
    """
    if schedule == "constant":
        return 1.0
    if schedule == "one-cycle":
        if progress < _WARM_UP:
            return _START + (1 - _START) * progress / _WARM_UP
        progress = (progress - _WARM_UP) / (1 - _WARM_UP)
    elif schedule != "cosine":
        raise InputError(
            f"cannot fine-tune: the schedule must be {' or '.join(SCHEDULES)}, got {schedule!r}"
        )
    return 0.5 * (1 + math.cos(math.pi * progress))
