"""What a compressed model costs in onnxruntime: latency, session creation, memory, by mode."""

from __future__ import annotations

import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import Figure, ratio_figure, require
from timing import Times, interleave

import wl_onnx
from models import SPARSE, ModelFiles, build_mlp, find_model, prepare
from wl_onnx.runtime.measure import Candidate, measure_peak, open_session, silence_warnings

__all__ = ["measure"]

_CREATION_LIMITS = {"mlp": 1.5, "lenet5": 5.0}
_LATENCY_LIMIT = 1.05
_MEMORY_LIMIT = 0.5
_MODES = ("materialize", "cached", "streaming")


def measure(quick: bool) -> list[Figure]:
    silence_warnings()  # to write them takes longer than what is measured
    figures = []
    with tempfile.TemporaryDirectory(prefix="wl_onnx-") as name:
        folder = Path(name)
        build_mlp(folder / "mlp.onnx", width=512 if quick else 2048)
        models = [prepare(folder / "mlp.onnx", folder, SPARSE)]
        for stem in ("lenet5", "slim-320"):
            path = find_model(f"{stem}.onnx")
            if path is None:
                note = f"{stem}.onnx is not in ../shared/models"
                figures.append(Figure("latency, materialize / original", stem, None, note=note))
            else:
                models.append(prepare(path, folder, wl_onnx.Recipe()))
        idle = build_mlp(folder / "idle.onnx", layers=1, width=1)
        for files in models:
            figures += _latency(files, quick)
        for files in models:
            figures += _creation(files, idle, quick)
        for files in models:
            figures += _memory(files, quick)
    return figures


def _latency(files: ModelFiles, quick: bool) -> list[Figure]:
    """Sessions are opened anew several times: where their memory lies makes a difference."""
    seconds: dict[str, list[float]] = {}
    candidates = {**files.candidates(), "original again": Candidate(files.original)}
    for _ in range(2 if quick else 6):
        sessions = {
            label: open_session(candidate, threads=1) for label, candidate in candidates.items()
        }
        calls = {
            label: functools.partial(session.run, None, files.sample)
            for label, session in sessions.items()
        }
        for label, times in interleave(calls, rounds=5 if quick else 15).items():
            seconds.setdefault(label, []).extend(times.seconds)
    files.check()
    times = {label: Times(values) for label, values in seconds.items()}
    figures = []
    for mode in (*_MODES, "original again"):
        aimed = mode == "materialize" and files.name != "mlp"
        figures.append(
            ratio_figure(
                f"latency, {mode} / original",
                f"{files.name}, 1 thread",
                times,
                mode,
                "original",
                limit=_LATENCY_LIMIT if aimed else None,
                note="what chance does to such a ratio" if mode == "original again" else "",
            )
        )
    return figures


def _creation(files: ModelFiles, idle: Path, quick: bool) -> list[Figure]:
    """Of the target: again and again in one process. Beside it: the first of a fresh process."""
    candidates = files.candidates()
    figures = []
    for threads, on in ((0, "default options"), (1, "1 thread")):
        calls = {
            label: functools.partial(open_session, candidate, threads=threads)
            for label, candidate in candidates.items()
        }
        times = interleave(calls, rounds=5 if quick else 25)
        files.check()
        for mode in _MODES:
            aimed = mode == "materialize" and threads == 0
            figures.append(
                ratio_figure(
                    f"session creation, {mode} / original",
                    f"{files.name}, {on}",
                    times,
                    mode,
                    "original",
                    limit=_CREATION_LIMITS.get(files.name) if aimed else None,
                )
            )
    fresh: dict[str, list[float]] = {"materialize": [], "original": []}
    for _ in range(2 if quick else 7):
        for label, values in fresh.items():
            values.append(_create_in_fresh_process(candidates[label], idle))
    first = {label: Times(values) for label, values in fresh.items()}
    figures.append(
        ratio_figure(
            "session creation, materialize / original",
            f"{files.name}, first of a process",
            first,
            "materialize",
            "original",
        )
    )
    return figures


def _create_in_fresh_process(candidate: Candidate, idle: Path) -> float:
    """Seconds; modules are loaded and onnxruntime has opened a small model before."""
    request = {"model": str(candidate.model), "mode": candidate.mode, "idle": str(idle)}
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(request),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    require(done.returncode == 0, "the process that opens a session succeeds", done.stderr)
    return float(json.loads(done.stdout))


def _report_creation() -> None:
    """What the fresh process does: prints the seconds."""
    silence_warnings()
    request = json.load(sys.stdin)
    candidate = Candidate(Path(request["model"]), request["mode"])
    kept = open_session(Candidate(Path(request["idle"])))
    begin = time.perf_counter()
    session = open_session(candidate)
    seconds = time.perf_counter() - begin
    del session, kept
    print(json.dumps(seconds))


def _memory(files: ModelFiles, quick: bool) -> list[Figure]:
    candidates = files.candidates()
    peaks: dict[str, list[int]] = {label: [] for label in candidates}
    for _ in range(1 if quick else 3):
        for label, candidate in candidates.items():
            peak = measure_peak(candidate, files.sample, threads=1)
            if peak is None:
                note = "this system does not tell"
                return [Figure("peak memory / original", files.name, None, note=note)]
            peaks[label].append(peak)
    medians = {label: statistics.median(values) for label, values in peaks.items()}
    return [
        Figure(
            f"peak memory, {mode} / original",
            files.name,
            medians[mode] / medians["original"],
            limit=_MEMORY_LIMIT if mode == "streaming" and files.name == "mlp" else None,
            note=f"{medians[mode] / 1e6:.1f} MB, original {medians['original'] / 1e6:.1f} MB",
        )
        for mode in _MODES
    ]


if __name__ == "__main__":
    _report_creation()
