"""The options by which a compression is led by data: the data, the limits, the plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from wl_onnx.cli.options import take_flags
from wl_onnx.cli.portable_options import parse_size
from wl_onnx.evaluation import load_validation_fn

__all__ = ["takes_goal"]

Data = Annotated[
    Path | None,
    typer.Option(
        metavar="D.npz",
        help="Inputs to calibrate on, samples along axis 0, `labels` beside them for --max-drop.",
    ),
]
ValidationData = Annotated[
    Path | None,
    typer.Option(metavar="V.npz", help="Inputs to validate on. Default: half of --data."),
]
MaxDrop = Annotated[
    float | None,
    typer.Option(metavar="P", help="Most that accuracy may fall, in percentage points."),
]
MaxKl = Annotated[
    float | None,
    typer.Option(metavar="NATS", help="Most KL divergence of the class scores."),
]
MinSnr = Annotated[
    float | None,
    typer.Option(metavar="DB", help="Least signal-to-noise ratio of every output."),
]
ValidationFunction = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FUNCTION",
        help="Takes a session, gives a number; --max-drop is about it.",
    ),
]
TargetSize = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Least loss in so many bytes, such as 200kB, for weights."),
]
Trials = Annotated[int, typer.Option(metavar="N", min=1, help="Most trials of the whole model.")]
CalibrationCache = Annotated[
    Path | None,
    typer.Option(metavar="C.npz", help="Keep the calibration here, and reuse it."),
]
PlanPath = Annotated[
    Path | None,
    typer.Option("--plan", metavar="P.json", help="Carry out a saved plan instead of a search."),
]


def takes_goal(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the flags of a goal, and calls it with keywords of `wl_onnx.compress`.

    Args:
        command: takes a keyword argument `goal`, and parameters of its own.
    """
    return take_flags(command, "goal", _goal_flags, lambda **given: _make_goal(**given))


def _goal_flags(
    data: Data = None,
    validation_data: ValidationData = None,
    max_drop: MaxDrop = None,
    max_kl: MaxKl = None,
    min_snr: MinSnr = None,
    validation_fn: ValidationFunction = None,
    target_size: TargetSize = None,
    trials: Trials = 32,
    calibration_cache: CalibrationCache = None,
    plan_path: PlanPath = None,
) -> None:
    """Only its signature is used."""


def _make_goal(
    *,
    validation_fn: str | None,
    target_size: str | None,
    trials: int,
    plan_path: Path | None,
    **others: Any,
) -> dict[str, Any]:
    return {
        "validation_fn": None if validation_fn is None else load_validation_fn(validation_fn),
        "target_size": None if target_size is None else parse_size(target_size, "target size"),
        "max_trials": trials,
        "plan": plan_path,
        **others,
    }
