"""What a portable file costs: latency in a stock onnxruntime, and bytes beside the operators."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from figures import Figure, ratio_figure, require
from timing import Times, interleave

import wl_onnx
from models import SPARSE, build_mlp, find_model
from wl_onnx.evaluation.data import load_feeds

__all__ = ["measure"]

_FILTER = wl_onnx.Recipe(codec="bloomier", layout="xor")
_PALETTE = wl_onnx.Recipe(codec="palette")
_SPARSE = dataclasses.replace(SPARSE, layout="xor")
_LATENCY_LIMIT = 1.05
_SIZE_LIMIT = 1.05
_BYTES_A_TENSOR = 4000


def measure(quick: bool) -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory(prefix="wl_onnx-") as name:
        folder = Path(name)
        mlp = build_mlp(folder / "mlp.onnx", width=512 if quick else 2048)
        figures.append(_size(mlp, folder, _SPARSE))
        for stem in ("lenet5", "slim-320"):
            path = find_model(f"{stem}.onnx")
            if path is None:
                note = f"{stem}.onnx is not in ../shared/models"
                figures.append(Figure("latency, portable / original", stem, None, note=note))
                continue
            figures.append(_size(path, folder, _FILTER))
            for codec, recipe in (("bloomier", _FILTER), ("palette", _PALETTE)):
                figures += _latency(path, folder, recipe, f"{stem}, {codec}, 1 thread", quick)
    return figures


def _size(original: Path, folder: Path, recipe: wl_onnx.Recipe) -> Figure:
    """The size without what each weight may take for its nodes."""
    operators, portable = folder / "operators.onnx", folder / "portable.onnx"
    wl_onnx.compress(original, operators, recipe=recipe, force=True)
    wl_onnx.convert(operators, portable, folding_budget=1 << 40, force=True)
    before, after = operators.stat().st_size, portable.stat().st_size
    count = _count_decoded(portable)
    has_dense = count < _count_decoded(operators)
    others = ", others dense" if has_dense else ""
    return Figure(
        f"(portable file - {_BYTES_A_TENSOR} bytes a weight) / file of operators",
        f"{original.stem}, xor",
        (after - _BYTES_A_TENSOR * count) / before,
        # Where small filters are dense in the portable file, it is another scheme.
        limit=None if has_dense else _SIZE_LIMIT,
        note=f"{after} bytes of {count} weights{others}, {before} bytes of operators",
    )


def _count_decoded(path: Path) -> int:
    return sum("Decode" in node.op_type for node in onnx.load(path).graph.node)


def _latency(
    original: Path, folder: Path, recipe: wl_onnx.Recipe, on: str, quick: bool
) -> list[Figure]:
    """Sessions are opened anew several times: where their memory lies makes a difference."""
    portable, dense = folder / "portable.onnx", folder / "dense.onnx"
    wl_onnx.compress(original, portable, recipe=recipe, portable=True, force=True)
    wl_onnx.decompress(portable, dense, force=True)
    files = {"original": original, "dense": dense, "portable": portable}
    sample = dict(load_feeds(None, _open(original).get_inputs(), seed=0).sample)
    expected, got = (_open(path).run(None, sample) for path in (dense, portable))
    same = all(np.array_equal(one, other) for one, other in zip(expected, got, strict=True))
    require(same, f"{on}: outputs are those of the dense model", "others")
    seconds: dict[str, list[float]] = {}
    for _ in range(2 if quick else 6):
        sessions = {label: _open(path) for label, path in files.items()}
        calls = {
            label: functools.partial(session.run, None, sample)
            for label, session in sessions.items()
        }
        for label, times in interleave(calls, rounds=5 if quick else 25).items():
            seconds.setdefault(label, []).extend(times.seconds)
    times = {label: Times(values) for label, values in seconds.items()}
    return [
        ratio_figure("latency, portable / original", on, times, "portable", "original",
                     limit=_LATENCY_LIMIT),
        ratio_figure("latency, portable / the same weights dense", on, times, "portable", "dense"),
    ]  # fmt: skip


def _open(path: Path) -> Any:
    """A session as anybody opens it, with nothing of this package."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
