"""How far a compressed model is from its original, and what it costs to run."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx

from wl_onnx.errors import InputError
from wl_onnx.evaluation.data import Feeds, load_feeds
from wl_onnx.evaluation.metrics import Accumulator, top1
from wl_onnx.graph import load_model, save_model
from wl_onnx.runtime.measure import (
    Candidate,
    measure_peak,
    open_session,
    run_session,
    time_creation,
    time_runs,
)
from wl_onnx.runtime.session import MODES

if TYPE_CHECKING:
    from wl_onnx.evaluation.inputs import InputInfo

__all__ = ["ORIGINAL", "compare"]

ORIGINAL = "original"

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, steps done, steps in all)."""


def compare(
    original: str | os.PathLike[str] | onnx.ModelProto,
    compressed: str | os.PathLike[str] | onnx.ModelProto,
    data: Any = None,
    *,
    seed: int = 0,
    modes: Sequence[str] = MODES,
    threads: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compares two models: outputs, top-1, file sizes, and times and memory in each mode.

    Every session is open at the same time while latencies are taken in turn. Latency and peak
    memory are those of one sample where the batch is dynamic, of one batch where it is fixed.

    Args:
        original: the model before compression.
        compressed: the model after it, with the same inputs and outputs.
        data: see `load_feeds`; None draws standard-normal inputs.
        seed: seed of drawn inputs.
        modes: modes of `wl_onnx.InferenceSession` in which the compressed model runs; the outputs
            of the first are what is compared.
        threads: threads within an operator; 0 leaves onnxruntime's default.
        progress: called with (what is being done, steps done, steps in all).

    Returns:
        What `wl-onnx compare --json` prints: `outputs`, a list of `name`, `cosine`,
        `relative_l2`, `snr_db`, pooled over all elements of all samples, and `note` where a
        figure is missing; `top1`, `original` and `compressed` as shares in 0..1, where there are
        labels, of the first output; `num_samples` that were run, batches where samples are not
        known; `file_bytes`, of both, with external data; `modes`,
        `original` and each of `modes` to `create_s`, `latency_s`, `peak_bytes` (None where the
        system does not tell) and, but for the original, `max_difference`, the largest absolute
        difference of any output from the first mode's. JSON knows no infinity, so a figure that
        is infinite or undefined is None: `snr_db` where the outputs are identical, all three
        where the note says why.

    Raises:
        InputError: no such file or mode, inputs or outputs that differ, threads below 0, or data
            that do not fit.
        ModelError: a model is damaged, or onnxruntime does not load it.
    """
    modes = tuple(modes)
    unknown = [mode for mode in modes if mode not in MODES]
    if unknown or not modes or len(set(modes)) < len(modes):
        raise InputError(
            f"cannot compare models: modes must be different ones of {', '.join(MODES)}, got "
            f"{', '.join(modes) or 'none'}"
        )
    if threads < 0:
        raise InputError(f"cannot compare models: threads must be at least 0, got {threads}")
    report = progress or (lambda _what, _done, _total: None)
    with tempfile.TemporaryDirectory(prefix="wl_onnx-") as folder:
        before, before_bytes = _as_file(original, Path(folder) / "original.onnx")
        after, after_bytes = _as_file(compressed, Path(folder) / "compressed.onnx")
        candidates = {ORIGINAL: Candidate(before)}
        candidates.update({mode: Candidate(after, mode) for mode in modes})

        report("open sessions", 0, 1)
        sessions = {
            label: open_session(candidate, threads=threads)
            for label, candidate in candidates.items()
        }
        _check_same_interface(sessions[ORIGINAL], sessions[modes[0]], before, after)
        feeds = load_feeds(data, sessions[ORIGINAL].get_inputs(), seed=seed)
        result = _compare_outputs(sessions, modes, feeds, report)

        report("time runs", 0, 1)
        latency_s = time_runs(sessions, feeds.sample)
        sessions.clear()
        report("time session creation", 0, 1)
        create_s = time_creation(candidates, threads=threads)
        difference = result.pop("max_difference")
        costs: dict[str, dict[str, Any]] = {}
        for index, (label, candidate) in enumerate(candidates.items()):
            report("measure memory", index, len(candidates))
            costs[label] = {
                "create_s": create_s[label],
                "latency_s": latency_s[label],
                "peak_bytes": measure_peak(candidate, feeds.sample, threads=threads),
            }
            if label in difference:
                costs[label]["max_difference"] = difference[label]
        report("measure memory", len(candidates), len(candidates))
        result["num_samples"] = feeds.num_samples
        result["file_bytes"] = {"original": before_bytes, "compressed": after_bytes}
        result["modes"] = costs
        return result


def _compare_outputs(
    sessions: Mapping[str, Any], modes: Sequence[str], feeds: Feeds, report: Progress
) -> dict[str, Any]:
    names = [output.name for output in sessions[ORIGINAL].get_outputs()]
    outputs = {name: _Output(name) for name in names}
    spread = {mode: {name: _Output(name) for name in names} for mode in modes}
    correct = {"original": 0, "compressed": 0}
    num_labels = 0
    for index, feed in enumerate(feeds.batches):
        report("compare outputs", index, len(feeds.batches))
        results = {label: run_session(session, feed, label) for label, session in sessions.items()}
        reference, chosen = results[ORIGINAL], results[modes[0]]
        for name in names:
            outputs[name].add(reference[name], chosen[name])
            for mode in modes:
                spread[mode][name].add(chosen[name], results[mode][name])
        if feeds.labels is not None:
            num_rows = _num_rows(reference[names[0]])
            labels = feeds.labels[num_labels : num_labels + num_rows]
            num_labels += num_rows
            correct["original"] += _count_right(reference[names[0]], labels, names[0])
            correct["compressed"] += _count_right(chosen[names[0]], labels, names[0])
    report("compare outputs", len(feeds.batches), len(feeds.batches))
    result: dict[str, Any] = {"outputs": [output.summary() for output in outputs.values()]}
    if feeds.labels is not None:
        if num_labels != len(feeds.labels):
            raise InputError(
                f"cannot count top-1: output {names[0]} must have one row a label "
                f"({len(feeds.labels)}), got {num_labels}"
            )
        result["top1"] = {label: count / num_labels for label, count in correct.items()}
    result["max_difference"] = {
        mode: _json_number(max((o.sums.max_difference for o in spread[mode].values()), default=0.0))
        for mode in modes
    }
    return result


class _Output:
    """One output's sums over the batches, or the reason why there are none."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sums = Accumulator()
        self.note: str | None = None

    def add(self, reference: Any, value: Any) -> None:
        if self.note is not None:
            return
        if not (_is_numeric(reference) and _is_numeric(value)):
            self.note = "not a tensor of numbers, not compared"
        elif reference.shape != value.shape:
            self.note = f"shapes differ: {list(reference.shape)} and {list(value.shape)}"
        else:
            self.sums.add(reference, value)

    def summary(self) -> dict[str, Any]:
        if self.note is not None:
            figures: dict[str, Any] = dict.fromkeys(("cosine", "relative_l2", "snr_db"))
            return {"name": self.name, **figures, "note": self.note}
        sums = self.sums
        summary: dict[str, Any] = {
            "name": self.name,
            "cosine": _json_number(sums.cosine),
            "relative_l2": _json_number(sums.relative_l2),
            "snr_db": _json_number(sums.snr_db),
        }
        if sums.num_nonfinite_mismatches:
            summary["note"] = f"{sums.num_nonfinite_mismatches} elements are finite in one only"
        elif sums.relative_l2 == math.inf:
            summary["note"] = "the original's output is zero, the other's is not"
        elif not sums.num_elements:
            summary["note"] = "no elements"
        return summary


def _is_numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiub"


def _num_rows(logits: Any) -> int:
    return len(logits) if isinstance(logits, np.ndarray) and logits.ndim else 0


def _count_right(logits: Any, labels: npt.NDArray[np.int64], name: str) -> int:
    if not _is_numeric(logits):
        raise InputError(f"cannot count top-1: output {name} must be a tensor of numbers")
    try:
        return top1(logits, labels)
    except ValueError as error:
        raise InputError(f"{error} (output {name})") from error


def _json_number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _check_same_interface(first: Any, second: Any, before: Path, after: Path) -> None:
    for kind in ("inputs", "outputs"):
        mine, theirs = (_interface(getattr(s, f"get_{kind}")()) for s in (first, second))
        if mine != theirs:
            raise InputError(
                f"cannot compare {before} with {after}: their {kind} must be the same, got "
                f"{_describe(mine)} and {_describe(theirs)}"
            )


def _interface(values: Iterable[InputInfo]) -> dict[str, str]:
    return {value.name: value.type for value in values}


def _describe(interface: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in interface.items()) or "none"


def _as_file(model: str | os.PathLike[str] | onnx.ModelProto, path: Path) -> tuple[Path, int]:
    """The model's file, and its bytes with those of its external data, each file counted once.

    A model in memory is written to `path`.
    """
    if isinstance(model, onnx.ModelProto):
        save_model(load_model(model), path)
    else:
        path = Path(model)
    files = {path, *load_model(path).external_paths}
    return path, sum(file.stat().st_size for file in files)
