"""Devices in Python against the compiled core that parses their records."""

from __future__ import annotations

import numpy as np
import pytest

from wl_onnx.analog import Device, TableDevice, find_device
from wl_onnx.kernels import noise

DEVICES = {
    "pcm-nandakumar2019": find_device("pcm-nandakumar2019"),
    "pcm-joshi2020": find_device("pcm-joshi2020"),
    "gaussian": find_device("gaussian"),
    "table": TableDevice(
        "t", np.array([0, 0.3, 1]), np.array([0.2, 9, 20]), np.array([0.3, 0.5, 1]), np.zeros(3)
    ),
}


@pytest.mark.parametrize("time_s", [0.0, 20.0, 86_400.0, 3e8])
@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES.keys())
def test_the_mean_response_is_the_cores(device: Device, time_s: float) -> None:
    targets = np.concatenate([np.linspace(0, 1, 256), [1e-9, 1e-4, 0.01]])
    core = noise.mean_response(device.record(), targets, time_s=time_s)
    # The record holds the constants as float32.
    np.testing.assert_allclose(device.mean_response(targets, time_s), core, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES.keys())
def test_a_whole_read_of_the_core_has_the_moments(device: Device) -> None:
    bits, count, time_s = 4, 200_000, 86_400.0
    for level in (0, 1, 6, 15):
        levels = np.full(count, level, np.uint16)
        conductances, deviations = noise.program_cells(
            device.record(), bits, levels, write_seed=level, time_s=time_s
        )
        reads = noise.read_cells(conductances, deviations, read_seed=3)
        mean, deviation = (float(v) for v in device.moments(level / 15, time_s))
        assert abs(reads.mean() - mean) < 4.5 * deviation / np.sqrt(count)
        fourth = float(((reads - reads.mean()) ** 4).mean()) / deviation**4
        assert abs(reads.std() / deviation - 1) < 4.5 * np.sqrt((fourth - 1) / count) / 2
