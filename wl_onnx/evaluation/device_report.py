"""What a device does: its constants, its mean and deviation, and what a cell of it holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wl_onnx.analog import PRESETS, cell_capacity, find_device

if TYPE_CHECKING:
    from wl_onnx.analog import Device

__all__ = ["DEFAULT_LEVELS", "describe_device", "is_static", "list_devices"]

DEFAULT_LEVELS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)

_LATE_S = 3.2e7


def list_devices() -> list[dict[str, Any]]:
    """Every device by name: `name`, `g_max_usiemens`, `has_drift` and `source`."""
    devices = [find_device(name) for name in PRESETS]
    return [
        {
            "name": device.name,
            "g_max_usiemens": device.g_max_usiemens,
            "has_drift": device.has_drift,
            "source": device.constants()[0].source,
        }
        for device in devices
    ]


def is_static(device: Device) -> bool:
    """Whether a read is the same at all times."""
    levels = np.linspace(0, 1, 9)
    early, late = (device.moments(levels, time_s) for time_s in (0.0, _LATE_S))
    return all(np.array_equal(a, b) for a, b in zip(early, late, strict=True))


def describe_device(
    device: Device,
    times_s: Sequence[float],
    *,
    levels: Sequence[float] = DEFAULT_LEVELS,
    cells: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """What `wl-onnx device --json` prints.

    Args:
        device: what is described.
        times_s: seconds since programming; of a device that is the same at all times only the
            first is used.
        levels: targets, 0..1, at which moments are given.
        cells: how many are averaged for the capacity.
        progress: called with (what is being done, steps done, steps in all).

    Returns:
        `name`, `g_max_usiemens`, `has_drift`, `is_static`; `constants`, a list of `name`,
        `value`, `unit`, `source`; `levels`; `times`, a list of `time_s`, `mean_usiemens` and
        `deviation_usiemens` (one for each level), `capacity_bits` and
        `capacity_bits_drift_undone`, each cell's own drift undone; `cells`; and
        `capacity_bits_programming`, with neither drift nor read noise.

    Raises:
        InputError: a level, a time or a number of cells that cannot be.
    """
    static = is_static(device)
    times = list(times_s)[:1] if static else list(times_s)
    report = progress or (lambda _what, _done, _total: None)
    undrifted = device.without_drift()
    entries = []
    for index, time_s in enumerate(times):
        report("capacity", index, len(times) + 1)
        mean, deviation = device.moments(levels, time_s)
        bits = cell_capacity(device, time_s, cells=cells).bits
        undone = cell_capacity(undrifted, time_s, cells=cells).bits if device.has_drift else bits
        entries.append(
            {
                "time_s": time_s,
                "mean_usiemens": mean.tolist(),
                "deviation_usiemens": deviation.tolist(),
                "capacity_bits": bits,
                "capacity_bits_drift_undone": undone,
            }
        )
    report("capacity", len(times), len(times) + 1)
    programming = cell_capacity(undrifted.without_read_noise(), cells=cells).bits
    return {
        "name": device.name,
        "g_max_usiemens": device.g_max_usiemens,
        "has_drift": device.has_drift,
        "is_static": static,
        "constants": [dataclasses.asdict(one) for one in device.constants()],
        "levels": list(levels),
        "times": entries,
        "cells": cells,
        "capacity_bits_programming": programming,
    }
