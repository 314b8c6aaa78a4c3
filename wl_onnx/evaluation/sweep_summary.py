"""A sweep's trials in a few numbers for each model and time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from wl_onnx.evaluation.trial_file import Trial

__all__ = ["QUANTILES", "SweepResult", "summarize_sweep"]

QUANTILES = (0.1, 0.5, 0.9)


@dataclasses.dataclass(frozen=True)
class SweepResult:
    """What a sweep found.

    Attributes:
        summary: what `summarize_sweep` gives; JSON.
        trials: every trial that was asked for, by model, time and seed.
    """

    summary: dict[str, Any]
    trials: tuple[Trial, ...]


def summarize_sweep(
    trials: Sequence[Trial],
    models: Mapping[str, Mapping[str, Any]],
    *,
    metric: str,
    reference: str,
    seed: int,
) -> dict[str, Any]:
    """What a sweep found.

    Args:
        trials: all of them, of the models given.
        models: `path`, `cells_per_weight` and `baseline` by the model's name.
        metric: "accuracy" (0..1) or "snr_db".
        reference: "original" or "targets", with what trials are compared.
        seed: of the sweep.

    Returns:
        `metric`, `reference`, `seed`, and `models`, a list of `name`, `path`,
        `cells_per_weight` (None where nothing is stored), `baseline` (the reference's accuracy;
        None without labels) and `times`, a list in rising order of `time_s`, `trials`, `mean`,
        `deviation` (of a trial, with n - 1; None for one trial), `worst`, `best`, `quantiles`
        ("0.1", "0.5", "0.9") and, with a baseline, `mean_drop` in percentage points. JSON knows no
        infinity, so the SNR of identical outputs is None, and with it what it would enter.
    """
    values: dict[str, dict[float, list[float]]] = {name: {} for name in models}
    for trial in trials:
        values[trial.model].setdefault(trial.time_s, []).append(trial.value)
    described = []
    for name, facts in models.items():
        times = [
            {"time_s": time_s, **_describe(sorted(some), facts["baseline"])}
            for time_s, some in sorted(values[name].items())
        ]
        described.append({"name": name, **facts, "times": times})
    return {"metric": metric, "reference": reference, "seed": seed, "models": described}


def _describe(values: Sequence[float], baseline: float | None) -> dict[str, Any]:
    array = np.array(values)
    with np.errstate(invalid="ignore"):
        mean = float(array.mean())
        deviation = float(array.std(ddof=1)) if len(array) > 1 else math.nan
        # No interpolation: of a finite and an infinite value it would be undefined.
        quantiles = np.quantile(array, QUANTILES, method="nearest")
    described: dict[str, Any] = {
        "trials": len(array),
        "mean": _finite(mean),
        "deviation": _finite(deviation),
        "worst": _finite(float(array.min())),
        "best": _finite(float(array.max())),
        "quantiles": {
            f"{share:g}": _finite(float(value))
            for share, value in zip(QUANTILES, quantiles, strict=True)
        },
    }
    if baseline is not None:
        described["mean_drop"] = 100 * (baseline - mean)
    return described


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
