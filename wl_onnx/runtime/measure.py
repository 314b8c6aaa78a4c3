"""Opening and running sessions for measurement: creation time, latency, peak memory.

Times are taken in interleaved rounds, so that their ratios hold on a machine that other work
disturbs, and the lower quartile stands for all: what disturbs only ever adds time. Four sessions
of the same LeNet-5 on two busy cores had medians up to 6 times apart and lower quartiles within
6 %, but for one. Peak memory is taken in a fresh process for each candidate.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto, helper

from wl_onnx.errors import InputError, ModelError, WlOnnxError
from wl_onnx.runtime.session import InferenceSession

__all__ = [
    "Candidate",
    "measure_peak",
    "open_session",
    "run_session",
    "silence_warnings",
    "time_creation",
    "time_runs",
]

Feed = Mapping[str, npt.NDArray[Any]]

_BURST_S = 0.002
_MAX_BURST = 1000
_PEAK_RUNS = 3


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A model file and how it is opened.

    Attributes:
        model: the file.
        mode: mode of `wl_onnx.InferenceSession`; None for a plain `onnxruntime.InferenceSession`.
    """

    model: Path
    mode: str | None = None

    def __str__(self) -> str:
        return f"{self.model} ({self.mode})" if self.mode else str(self.model)


def silence_warnings() -> None:
    """Lets onnxruntime log nothing but errors, in this process from now on.

    Sessions whose options have a severity of their own keep it.
    """
    onnxruntime.set_default_logger_severity(3)


def open_session(candidate: Candidate, *, threads: int = 0) -> onnxruntime.InferenceSession:
    """A session on the CPU.

    Args:
        candidate: what to open.
        threads: threads within an operator; 0 leaves onnxruntime's default.

    Raises:
        ModelError: onnxruntime does not load it.
        WlOnnxError: what `wl_onnx.InferenceSession` raises.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # A model's warnings are for whoever runs it, not for whoever measures it.
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    try:
        if candidate.mode is None:
            return onnxruntime.InferenceSession(candidate.model, options, providers)
        return InferenceSession(candidate.model, options, providers, mode=candidate.mode)
    except WlOnnxError:
        raise
    except Exception as error:  # onnxruntime's exceptions have no public base
        raise ModelError(
            f"cannot open {candidate}: it must be a model that onnxruntime loads, got: "
            f"{_first_line(error)}"
        ) from error


def run_session(
    session: onnxruntime.InferenceSession, feed: Feed, name: str = "model"
) -> dict[str, Any]:
    """The outputs of one run by name.

    Args:
        session: an open session.
        feed: input name to array.
        name: what an error calls the model.

    Raises:
        InputError: onnxruntime refuses the feed or fails on it.
    """
    names = [output.name for output in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, dict(feed)), strict=True))
    except Exception as error:  # onnxruntime's exceptions have no public base
        raise InputError(
            f"cannot run {name}: the inputs must fit the model, got: {_first_line(error)}"
        ) from error


def time_creation(
    candidates: Mapping[str, Candidate],
    *,
    threads: int = 0,
    repeats: int = 15,
    budget_s: float = 10.0,
) -> dict[str, float]:
    """Seconds from a file to a session, by label: the lower quartile of several.

    A first round, which is not counted, warms the file cache and whatever is loaded once.

    Args:
        candidates: what to open, by label.
        threads: see `open_session`.
        repeats: rounds; in each, every candidate is opened once.
        budget_s: no further round begins after this many seconds; one at least is counted.

    Raises:
        WlOnnxError: see `open_session`.
    """
    times_s: dict[str, list[float]] = {label: [] for label in candidates}
    for label in _rounds(list(candidates), 1 + repeats, 2, budget_s):
        gc.collect()
        begin = time.perf_counter()
        session = open_session(candidates[label], threads=threads)
        times_s[label].append(time.perf_counter() - begin)
        del session
    return {label: _typical(times[1:]) for label, times in times_s.items()}


def time_runs(
    sessions: Mapping[str, onnxruntime.InferenceSession],
    feed: Feed,
    *,
    rounds: int = 100,
    budget_s: float = 10.0,
) -> dict[str, float]:
    """Seconds of one run, by label: the lower quartile of interleaved bursts.

    A burst repeats a short run until it takes some two milliseconds, and follows a run that is
    not counted, which brings the session's data back into the cache.

    Args:
        sessions: open sessions by label, all with the same inputs.
        feed: what each run is given.
        rounds: bursts of each session.
        budget_s: no further round begins after this many seconds; three at least are counted.

    Raises:
        InputError: see `run_session`.
    """
    lengths: dict[str, int] = {}
    for label, session in sessions.items():
        run_session(session, feed, label)
        shortest = min(_time_burst(session, feed, 1) for _ in range(3))
        lengths[label] = max(1, min(_MAX_BURST, round(_BURST_S / max(shortest, 1e-9))))
    times_s: dict[str, list[float]] = {label: [] for label in sessions}
    for label in _rounds(list(sessions), rounds, 3, budget_s):
        session = sessions[label]
        _time_burst(session, feed, 1)
        times_s[label].append(_time_burst(session, feed, lengths[label]))
    return {label: _typical(times) for label, times in times_s.items()}


def _typical(times_s: list[float]) -> float:
    return float(np.quantile(times_s, 0.25))


def _time_burst(session: onnxruntime.InferenceSession, feed: Feed, length: int) -> float:
    begin = time.perf_counter()
    for _ in range(length):
        session.run(None, feed)
    return (time.perf_counter() - begin) / length


def _rounds(labels: list[str], count: int, minimum: int, budget_s: float) -> Iterator[str]:
    """Every label once a round, forth and back in turn, until the rounds or the time are spent."""
    deadline = time.perf_counter() + budget_s
    for index in range(count):
        if index >= minimum and time.perf_counter() > deadline:
            return
        yield from labels if index % 2 == 0 else reversed(labels)


def measure_peak(candidate: Candidate, feed: Feed, *, threads: int = 0) -> int | None:
    """Peak resident memory in bytes of a session and a few runs, above an empty session's.

    A fresh process imports the same modules whatever the candidate, opens and runs a model of one
    operator, and counts from there. File pages that the process maps count as memory.

    Args:
        candidate: what to open.
        feed: what each run is given.
        threads: see `open_session`.

    Returns:
        Bytes, at least 0; exact to some hundred kilobytes. None where the system does not tell
        (Windows).

    Raises:
        WlOnnxError: the process failed.
    """
    request = {
        "model": str(candidate.model.absolute()),
        "mode": candidate.mode,
        "threads": threads,
        "names": list(feed),
    }
    with tempfile.TemporaryDirectory(prefix="wl_onnx-") as folder:
        arrays = Path(folder) / "feed.npz"
        # By position: a name may be any text, also one of savez's own parameters.
        np.savez(arrays, *feed.values())
        done = subprocess.run(  # noqa: S603  our own code in our own interpreter
            [sys.executable, "-c", _CHILD, json.dumps(request), str(arrays)],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(p or str(Path.cwd()) for p in sys.path),
            },
            capture_output=True,
            text=True,
            check=False,
        )
    try:
        peak_bytes = json.loads(done.stdout)["peak_bytes"]
    except (ValueError, KeyError) as error:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise WlOnnxError(
            f"cannot measure the memory of {candidate}: its process must succeed, got: {reason}"
        ) from error
    return None if peak_bytes is None else int(peak_bytes)


# With -c the working folder comes first, where sources without their compiled module may lie.
_CHILD = """
import sys
sys.path = [path for path in sys.path if path]
from wl_onnx.runtime import measure
measure._report_peak()
"""


def _report_peak() -> None:
    """What the fresh process does: measures, and prints the result as JSON."""
    request = json.loads(sys.argv[1])
    with np.load(sys.argv[2], allow_pickle=False) as archive:
        values = [archive[f"arr_{index}"] for index in range(len(request["names"]))]
    feed = dict(zip(request["names"], values, strict=True))
    candidate = Candidate(Path(request["model"]), request["mode"])
    # Kept open, so that what it allocated is not used a second time.
    idle = _open_idle(Path(sys.argv[2]).with_name("idle.onnx"), request["threads"])
    gc.collect()
    _reset_peak()
    before = _read_peak_bytes()
    session = open_session(candidate, threads=request["threads"])
    for _ in range(_PEAK_RUNS):
        run_session(session, feed, str(candidate))
    after = _read_peak_bytes()
    del idle
    peak_bytes = None if before is None or after is None else max(0, after - before)
    print(json.dumps({"peak_bytes": peak_bytes}))


def _open_idle(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """A session of one operator that has run, so that all that is lazy in onnxruntime is there."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "idle", [value], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    path.write_bytes(model.SerializeToString())
    session = open_session(Candidate(path), threads=threads)
    run_session(session, {"x": np.zeros(1, np.float32)})
    return session


def _reset_peak() -> None:
    """Lets the peak start again from what is resident now, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def _read_peak_bytes() -> int | None:
    try:
        # getrusage would give the parent's peak where that is larger: it survives fork and exec.
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
