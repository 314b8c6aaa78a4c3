"""The search for quantization steps: one for all tensors, then one for each.

A step is a "QP", an integer: four more of it double the step.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Problem", "Settings", "Trial", "search_steps", "sweep_options"]

Settings = Mapping[str, Any]
"""Options by name: `qp` with `bias_offset`, or `steps`, a QP for each tensor by name; and others
that are the codec's own."""

Steps = dict[str, int]
Floats = npt.NDArray[np.float64]

_QP_RANGE = (-64, 8)
_NEARBY = 7
# In the order in which they are tried; the first of each is where the sweep begins.
_OPTIONS: dict[str, tuple[Any, ...]] = {
    "use_dq": (True, False),
    "lambda_scale": (0.0, 0.25, 0.5, 1.0, 2.0, 4.0),
    "bias_offset": (-8, -24, -16, -4, 0, 4),
    "opt_qp": (False, True),
    "blocks": (False, True),
    "row_skipping": (False, True),
    "cabac_unary_length_minus1": (10, 2, 4, 6, 16),
    "scan_order": (0, 1),
}
_ROUNDS = 2

_TABLE_OFFSETS = (-16, -8, 0, 8, 16, 24, 32, 40)
_OUTPUT_WEIGHTS = (0.25, 1.0, 4.0)
_BISECTIONS = 12


@dataclasses.dataclass(frozen=True)
class Trial:
    """What one encoding gave.

    Attributes:
        settings: how it was made.
        size_bytes: the whole bitstream.
        excess: how far the model is beyond the limit; allowed where at most 0.
        noise: float64 [outputs], energy of each output's error over that of the output.
    """

    settings: Settings
    size_bytes: int
    excess: float
    noise: Floats

    @property
    def is_allowed(self) -> bool:
        return self.excess <= 0


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is searched.

    Attributes:
        names: the tensors, of which those of one dimension are `biases`.
        sizes: elements of each.
        biases: see `names`.
        attempt: encodes, decodes and measures; with a name, that tensor alone and others as
            they were.
        report: told of every improvement.
    """

    names: list[str]
    sizes: list[int]
    biases: frozenset[str]
    attempt: Callable[[Settings, str | None], Trial]
    report: Callable[[str, Trial], None]


def sweep_options(problem: Problem) -> Trial:
    """The smallest bitstream with one step for all tensors, options tried one after another.

    Raises:
        ValueError: not even the finest step is allowed.
    """
    options = {name: values[0] for name, values in _OPTIONS.items()}
    best = _coarsest(problem, options, _QP_RANGE)
    if best is None:
        raise ValueError(f"cannot sweep options: QP {_QP_RANGE[0]} must be allowed, got refused")
    for _, (name, values) in itertools.product(range(_ROUNDS), _OPTIONS.items()):
        for value in values:
            if value == options[name]:
                continue
            near = (best.settings["qp"] - _NEARBY, best.settings["qp"] + _NEARBY)
            trial = _coarsest(problem, {**options, name: value}, near)
            if trial is not None and trial.size_bytes < best.size_bytes:
                best = trial
                problem.report("one step", best)
        options = {option: best.settings[option] for option in _OPTIONS}
    return best


def _coarsest(problem: Problem, options: Settings, qps: tuple[int, int]) -> Trial | None:
    """The trial with the largest QP that is allowed, as if larger ones were all refused."""
    low, high = qps
    best: Trial | None = None
    while low <= high:
        qp = (low + high) // 2
        trial = problem.attempt({**options, "qp": qp}, None)
        if trial.is_allowed:
            best, low = trial, qp + 1
        else:
            high = qp - 1
    return best


def search_steps(problem: Problem, start: Trial, *, budget_s: float, seed: int = 0) -> Trial:
    """The smallest bitstream with a step for each tensor that is found in a time.

    Noises of tensors are taken to add up: a table of each tensor's size and noise at some steps
    gives the allocation of least size by Lagrange's multiplier, and bisection the multiplier that
    is allowed in fact. Then single steps and pairs of steps are changed while that helps.
    """
    deadline = time.monotonic() + budget_s
    qp = int(start.settings["qp"])
    base = {
        name: qp + (int(start.settings["bias_offset"]) if name in problem.biases else 0)
        for name in problem.names
    }
    fixed = {name: value for name, value in start.settings.items() if name != "qp"}
    fixed["opt_qp"] = False
    tables = {name: _Table(problem, fixed, name, base[name]) for name in problem.names}
    best = start
    weights = itertools.product(_OUTPUT_WEIGHTS, repeat=start.noise.size - 1)
    for ratios, lambda_scale in itertools.product(weights, _OPTIONS["lambda_scale"]):
        chosen = {**fixed, "lambda_scale": lambda_scale}
        trial = _allocate(problem, chosen, tables, np.array([1.0, *ratios]))
        if trial is not None and trial.size_bytes < best.size_bytes:
            best = trial
            problem.report("allocation", best)
    if "steps" not in best.settings:
        best = problem.attempt({**fixed, "steps": base}, None)
    return _refine(problem, best, deadline, np.random.default_rng(seed))


class _Table:
    """Size and noise of one tensor at each QP, interpolated between those that were tried."""

    def __init__(self, problem: Problem, fixed: Settings, name: str, base: int) -> None:
        tried = [base + offset for offset in _TABLE_OFFSETS]
        trials = [problem.attempt({**fixed, "steps": {name: qp}}, name) for qp in tried]
        self.qps = np.arange(tried[0], tried[-1] + 1)
        sizes = [float(trial.size_bytes) for trial in trials]
        self._sizes = np.interp(self.qps, tried, sizes)
        noise = np.log(np.stack([trial.noise for trial in trials]) + 1e-30)
        self._noise = np.exp([np.interp(self.qps, tried, column) for column in noise.T])

    def best(self, multipliers: Floats) -> int:
        return int(self.qps[int((self._sizes + multipliers @ self._noise).argmin())])


def _allocate(
    problem: Problem, fixed: Settings, tables: Mapping[str, _Table], weights: Floats
) -> Trial | None:
    low, high = 0.0, 40.0  # of the multiplier's logarithm, base 2
    best: Trial | None = None
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        multipliers = 2.0**middle * weights
        steps = {name: table.best(multipliers) for name, table in tables.items()}
        trial = problem.attempt({**fixed, "steps": steps}, None)
        if trial.is_allowed:
            high = middle
            if best is None or trial.size_bytes < best.size_bytes:
                best = trial
        else:
            low = middle
    return best


def _refine(problem: Problem, best: Trial, deadline: float, rng: np.random.Generator) -> Trial:
    """Single steps up, and one up with another down, drawn at random, kept where smaller."""
    # Large tensors have more to give.
    shares = np.sqrt(problem.sizes) / np.sqrt(problem.sizes).sum()
    while time.monotonic() < deadline:
        steps: Steps = dict(best.settings["steps"])
        up, down = str(rng.choice(problem.names, p=shares)), str(rng.choice(problem.names))
        steps[up] += int(rng.integers(1, 5))
        if up != down and rng.random() < 0.75:
            steps[down] -= int(rng.integers(1, 4))
        trial = problem.attempt({**best.settings, "steps": steps}, None)
        if trial.is_allowed and trial.size_bytes < best.size_bytes:
            best = trial
            problem.report("refinement", best)
    return best
