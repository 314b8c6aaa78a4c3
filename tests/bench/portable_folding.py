"""What it costs onnxruntime to fold a portable file: session creation, its memory, and the file."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from figures import Figure, ratio_figure, require
from timing import Times

import wl_onnx
from models import build_mlp

__all__ = ["measure"]

_WIDTHS = {"0.4M": 320, "4M": 1024, "16M": 2048}  # four layers each
_TIME_LIMIT = 12
_BYTES_A_WEIGHT_LIMIT = 45


def measure(quick: bool) -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory(prefix="wl_onnx-") as name:
        folder = Path(name)
        idle = build_mlp(folder / "idle.onnx", layers=1, width=1)
        cases = [(size, "xor", bits) for size in _WIDTHS for bits in (7, 8, 9)]
        cases += [("0.4M", "ribbon", 9), ("4M", "ribbon", 9)]
        if quick:
            cases = [("0.4M", "xor", 8)]
        for size, layout, bits in cases:
            original = build_mlp(folder / "mlp.onnx", width=_WIDTHS[size])
            portable, dense = folder / "portable.onnx", folder / "dense.onnx"
            recipe = wl_onnx.Recipe(sparsity=0.9, clusters=16, bits=bits, layout=layout)
            operators = folder / "operators.onnx"
            wl_onnx.compress(original, operators, recipe=recipe, force=True)
            wl_onnx.convert(operators, portable, folding_budget=1 << 40, force=True)
            wl_onnx.decompress(operators, dense, force=True)
            on = f"{size} weights, {layout}, {bits} bits"
            figures += _measure_files(portable, dense, idle, on, 2 if quick else 5)
    return figures


def _measure_files(portable: Path, dense: Path, idle: Path, on: str, rounds: int) -> list[Figure]:
    """Each session in a process of its own, in turn."""
    paths = {"portable": portable, "dense": dense}
    seconds: dict[str, list[float]] = {label: [] for label in paths}
    peaks: dict[str, list[int]] = {label: [] for label in paths}
    sums: dict[str, float] = {}
    for _ in range(rounds):
        for label, path in paths.items():
            found = _create_in_fresh_process(path, idle)
            seconds[label].append(found["seconds"])
            peaks[label].append(found["peak_bytes"])
            sums[label] = found["sum"]
    same = sums["portable"] == sums["dense"]
    require(same, f"{on}: both files give the same", f"{sums['portable']} and {sums['dense']}")
    model = onnx.load(dense)
    weights = sum(int(np.prod(t.dims)) for t in model.graph.initializer if len(t.dims) > 1)
    above = statistics.median(peaks["portable"]) - statistics.median(peaks["dense"])
    aimed = "xor" in on
    return [
        ratio_figure(
            "session creation, portable / dense",
            on,
            {label: Times(values) for label, values in seconds.items()},
            "portable",
            "dense",
            limit=_TIME_LIMIT if aimed else None,
        ),
        Figure(
            "peak memory above that of the dense file",
            on,
            above / weights,
            unit="bytes a weight",
            limit=_BYTES_A_WEIGHT_LIMIT if aimed else None,
        ),
    ]


def _create_in_fresh_process(model: Path, idle: Path) -> dict[str, float]:
    """Seconds, peak memory and a sum of the outputs; a small model was opened before."""
    done = subprocess.run(
        [sys.executable, __file__, str(model), str(idle)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    require(done.returncode == 0, "the process that opens a session succeeds", done.stderr)
    return dict(json.loads(done.stdout))


def _report(model: str, idle: str) -> None:
    """What the fresh process does: prints what was measured."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    kept = onnxruntime.InferenceSession(idle, options, ["CPUExecutionProvider"])
    begin = time.perf_counter()
    session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    seconds = time.perf_counter() - begin
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    (value,) = session.get_inputs()
    shape = [dim if isinstance(dim, int) else 1 for dim in value.shape]
    outputs = session.run(None, {value.name: np.ones(shape, np.float32)})
    del kept
    total = float(np.sum(outputs[0], dtype=np.float64))
    print(json.dumps({"seconds": seconds, "peak_bytes": 1024 * int(peak.split()[1]), "sum": total}))


if __name__ == "__main__":
    _report(*sys.argv[1:])
