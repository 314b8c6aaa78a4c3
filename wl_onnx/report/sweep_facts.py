"""A sweep's folder, read and checked: how good a model is by the time since programming."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any, NoReturn

from wl_onnx.errors import InputError
from wl_onnx.evaluation import TRIALS_NAME
from wl_onnx.evaluation.noisy_trial import HASH_DIGITS, hash_files

if TYPE_CHECKING:
    from pathlib import Path

    from wl_onnx.graph import CompressibleModel

__all__ = ["Sweep", "SweepModel", "SweepPoint", "read_sweep"]

_SUMMARY_NAME = "summary.json"


@dataclasses.dataclass(frozen=True)
class SweepPoint:
    """Trials of one model at one time.

    Attributes:
        time_s: since programming.
        trials: how many.
        mean: accuracy 0..1, or SNR in dB; None where it is infinite.
        deviation: of a trial; None for one trial.
        worst: of the trials; None where it is infinite.
        mean_drop: percentage points; None without labels.
    """

    time_s: float
    trials: int
    mean: float | None
    deviation: float | None
    worst: float | None
    mean_drop: float | None


@dataclasses.dataclass(frozen=True)
class SweepModel:
    """One model of a sweep.

    Attributes:
        name: in the sweep.
        is_reported: whether it is the model that the report is on.
        cells_per_weight: None where it is not known.
        baseline: accuracy of what it is compared with; None without labels.
        points: by rising time.
    """

    name: str
    is_reported: bool
    cells_per_weight: float | None
    baseline: float | None
    points: tuple[SweepPoint, ...]


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What a sweep found.

    Attributes:
        metric: "accuracy" or "snr_db".
        reference: "original" or "targets", with what trials are compared.
        seed: of the sweep.
        models: each of them.
    """

    metric: str
    reference: str
    seed: int
    models: tuple[SweepModel, ...]


def read_sweep(folder: Path, compressed: CompressibleModel) -> Sweep:
    """What `wl-onnx sweep` left in a folder.

    Args:
        folder: that it was told to write to.
        compressed: a model of the sweep.

    Raises:
        InputError: the folder holds no sweep, or none of this model.
    """
    summary = _read_summary(folder / _SUMMARY_NAME)
    hashes = _read_hashes(folder / TRIALS_NAME)
    mine = hash_files(compressed)[:HASH_DIGITS]
    if mine not in hashes.values():
        known = ", ".join(f"{name} ({digits})" for name, digits in hashes.items()) or "none"
        raise InputError(
            f"cannot report on {folder}: its trials must be of {compressed.name} ({mine}), "
            f"got those of {known}"
        )
    try:
        return _parse(summary, {name for name, digits in hashes.items() if digits == mine})
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        _fail(folder / _SUMMARY_NAME, "it must be what wl-onnx sweep writes", error)


def _read_summary(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        _fail(path, "a sweep must have written it", error.strerror or error)
    except ValueError:
        _fail(path, "it must be JSON", "something else")


def _read_hashes(path: Path) -> dict[str, str]:
    """The start of each model's hash by its name in the sweep."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(line for line in file if not line.startswith("# wl-onnx"))
            return {row["model"]: row["model_sha256"] for row in rows}
    except OSError as error:
        _fail(path, "a sweep must have written it", error.strerror or error)
    except (KeyError, ValueError, csv.Error):
        _fail(path, "it must be a table of trials", "another")


def _parse(summary: Any, reported: set[str]) -> Sweep:
    metric, reference = summary["metric"], summary["reference"]
    if metric not in ("accuracy", "snr_db") or reference not in ("original", "targets"):
        raise ValueError(f"{metric} and {reference}")
    models = tuple(
        SweepModel(
            name=str(one["name"]),
            is_reported=str(one["name"]) in reported,
            cells_per_weight=_number(one["cells_per_weight"]),
            baseline=_number(one["baseline"]),
            points=tuple(_parse_point(entry) for entry in one["times"]),
        )
        for one in summary["models"]
    )
    if metric == "accuracy" and any(model.baseline is None for model in models):
        raise ValueError("accuracy without a baseline")
    if not any(model.is_reported for model in models):
        raise ValueError("other models")
    return Sweep(metric, reference, int(summary["seed"]), models)


def _parse_point(entry: Any) -> SweepPoint:
    time_s, trials = float(entry["time_s"]), int(entry["trials"])
    if not 0 <= time_s < math.inf or trials < 1:
        raise ValueError(f"{trials} trials at {time_s} s")
    return SweepPoint(
        time_s=time_s,
        trials=trials,
        mean=_number(entry["mean"]),
        deviation=_number(entry["deviation"]),
        worst=_number(entry["worst"]),
        mean_drop=_number(entry.get("mean_drop")),
    )


def _number(value: Any) -> float | None:
    number = None if value is None else float(value)
    if number is not None and not math.isfinite(number):
        raise ValueError(f"{value}")
    return number


def _fail(path: Path, must: str, got: object) -> NoReturn:
    raise InputError(f"cannot report on {path}: {must}, got {got}") from None
