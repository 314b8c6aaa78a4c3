"""Noise of AIHWKit's PCMLikeNoiseModel against wl-onnx: moments of reads, and time a weight.

It is no part of `run.py`: it needs torch, and AIHWKit's Python files, whose compiled part is not
used. A line says why where one of them is missing.

    python tests/bench/aihwkit_peer.py path/to/aihwkit/src --json build/aihwkit.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from figures import Figure, as_json, print_figures, require
from machine import describe_machine
from noise_speed import PCM_RECORD
from rich.console import Console
from timing import interleave

from wl_onnx.kernels import noise

_G_MAX = 25.0
_NUM_DRAWS = 100_000
_TARGETS = np.linspace(0, 1, 11)
_TIMES_S = {"20s": 20.0, "1h": 3600.0, "1d": 86400.0, "30d": 30 * 86400.0, "1y": 365.25 * 86400.0}
_STANDARD_ERRORS = 4.0
_WRITE_BITS = 16
_DAY_S = 86400.0

Float64 = npt.NDArray[np.float64]


class Peer:
    """AIHWKit's model of a phase-change memory cell.

    Args:
        source: the folder that holds the package `aihwkit`.

    Raises:
        ImportError: torch or a file of AIHWKit is missing.
    """

    def __init__(self, source: Path) -> None:
        import torch

        # The packages' own __init__ would load the compiled part, which noise models do not need.
        folder = source / "aihwkit"
        for name in ("", ".inference", ".inference.noise", ".inference.converter"):
            package = types.ModuleType(f"aihwkit{name}")
            package.__path__ = [str(folder.joinpath(*name.split(".")))]
            sys.modules[package.__name__] = package
        from aihwkit.inference.noise.pcm import PCMLikeNoiseModel

        torch.set_num_threads(1)
        torch.manual_seed(1)
        self._torch = torch
        self._model = PCMLikeNoiseModel(g_max=_G_MAX)

    def read(self, targets: npt.NDArray[np.float32], time_s: float) -> npt.NDArray[np.float32]:
        """Cells programmed, drifted and read once; targets in uS."""
        wanted = self._torch.from_numpy(targets)
        programmed = self._model.apply_programming_noise_to_conductance(wanted)
        exponents = self._model.generate_drift_coefficients(wanted)
        read = self._model.apply_drift_noise_to_conductance(programmed, exponents, time_s)
        found: npt.NDArray[np.float32] = read.numpy()
        return found

    def read_weights(self, weights: Any) -> Any:
        """Weights by the model's own entry: a differential pair of cells each."""
        return self._model.apply_noise(weights, _DAY_S)

    def tensor(self, array: npt.NDArray[np.float32]) -> Any:
        return self._torch.from_numpy(array)


def compare_moments(peer: Peer) -> list[Figure]:
    """By how many standard errors mean and deviation lie apart, for each time the most."""
    largest = (1 << _WRITE_BITS) - 1
    figures = []
    for index, (label, time_s) in enumerate(_TIMES_S.items()):
        means, deviations = [], []
        for target in _TARGETS:
            level = round(target * largest)
            levels = np.full(_NUM_DRAWS, level, np.uint16)
            seed = level * 16 + index
            cells = noise.program_cells(
                PCM_RECORD, _WRITE_BITS, levels, write_seed=seed, time_s=time_s
            )
            ours = noise.read_cells(*cells, read_seed=seed).astype(np.float64)
            conductance = np.full(_NUM_DRAWS, _G_MAX * level / largest, np.float32)
            theirs = peer.read(conductance, time_s).astype(np.float64)
            mean, deviation = _scores(ours, theirs)
            means.append(mean)
            deviations.append(deviation)
        on = f"{label}, {len(_TARGETS)} conductances, {_NUM_DRAWS} draws"
        unit = "standard errors"
        figures += [
            Figure("most, mean", on, max(means), unit=unit, limit=_STANDARD_ERRORS),
            Figure("most, deviation", on, max(deviations), unit=unit, limit=_STANDARD_ERRORS),
        ]
    return figures


def compare_times(peer: Peer, side: int, rounds: int) -> list[Figure]:
    """A complete read: programming, drift for a day, read; one thread each."""
    rng = np.random.default_rng(1)
    count = side * side
    levels = rng.integers(0, 256, count, np.uint16)
    conductances = (levels * np.float32(_G_MAX / 255)).reshape(side, side)
    g, d, reads = (np.zeros(count, np.float32) for _ in range(3))
    weights = peer.tensor(rng.standard_normal((side, side), np.float32))

    def ours(tensor: int = 0) -> None:
        noise.program_cells(
            PCM_RECORD, 8, levels, write_seed=1, tensor=tensor, time_s=_DAY_S, out=(g, d)
        )
        noise.read_cells(g, d, read_seed=1, tensor=tensor, out=reads)

    calls = {
        "wl-onnx, one cell": ours,
        "AIHWKit, one cell": lambda: peer.read(conductances, _DAY_S),
        "wl-onnx, two cells": lambda: (ours(0), ours(1)),
        "AIHWKit, apply_noise of two cells": lambda: peer.read_weights(weights),
    }
    times = interleave(calls, rounds=rounds)
    theirs = peer.read(conductances, _DAY_S).astype(np.float64)
    worst = max(_scores(reads.astype(np.float64), theirs.reshape(-1)))
    require(worst < 5, "both read the same moments", f"{worst:.2f} standard errors")
    on = f"{side} x {side}, a day, 1 thread"
    seconds = {label: times[label].median for label in calls}
    figures = [
        Figure(label, on, value / count * 1e9, unit="ns a weight")
        for label, value in seconds.items()
    ]
    labels = list(calls)
    for mine, peers in (labels[:2], labels[2:], (labels[0], labels[3])):
        ratio = seconds[mine] / seconds[peers]
        note = f"{1 / ratio:.1f} times faster"
        figures.append(Figure(f"{mine} / {peers}", on, ratio, limit=1 / 8, note=note))
    return figures


def _scores(first: Float64, second: Float64) -> tuple[float, float]:
    """How far means and deviations of two samples lie apart, in standard errors."""
    means = np.hypot(*(values.std() / values.size**0.5 for values in (first, second)))
    spreads = np.hypot(*(_deviation_error(values) for values in (first, second)))
    return (
        float(abs(first.mean() - second.mean()) / means),
        float(abs(first.std() - second.std()) / spreads),
    )


def _deviation_error(values: Float64) -> float:
    centred = values - values.mean()
    variance = np.mean(centred**2)
    kurtosis = np.mean(centred**4) / variance**2
    return float(np.sqrt(variance * (kurtosis - 1) / (4 * values.size)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="the folder that holds the package aihwkit")
    parser.add_argument("--side", type=int, default=4096, metavar="N", help="of the timed matrix")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    try:
        peer = Peer(options.source)
    except ImportError as error:
        print(f"skipped: AIHWKit and torch must be importable, got: {error}")
        return
    parts = {
        "moments": compare_moments(peer),
        "times": compare_times(peer, options.side, options.rounds),
    }
    console = Console() if sys.stdout.isatty() else Console(width=160)
    for name, figures in parts.items():
        print_figures(f"wl-onnx and AIHWKit: {name}", figures, console)
    if options.json:
        report = {
            "machine": describe_machine(),
            "parts": {name: as_json(figures) for name, figures in parts.items()},
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=2) + os.linesep, encoding="utf-8")


if __name__ == "__main__":
    main()
