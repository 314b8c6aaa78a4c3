from __future__ import annotations

import math

import numpy as np
import pytest

from wl_onnx.analog import blahut_arimoto, cell_capacity, find_device, gaussian
from wl_onnx.analog.capacity import tabulate_channel
from wl_onnx.errors import InputError

DAY_S = 86400.0
YEAR_S = 365.25 * DAY_S


@pytest.mark.parametrize("flip", [0.0, 0.01, 0.11, 0.3, 0.5])
def test_a_binary_symmetric_channel(flip: float) -> None:
    entropy = -sum(p * math.log2(p) for p in (flip, 1 - flip) if p)
    found = blahut_arimoto([[1 - flip, flip], [flip, 1 - flip]], tolerance_bits=1e-9)
    assert found.bits == pytest.approx(1 - entropy, abs=1e-9)
    np.testing.assert_allclose(found.inputs, 0.5)


@pytest.mark.parametrize("flip", [0.1, 0.5])
def test_a_z_channel_needs_uneven_inputs(flip: float) -> None:
    found = blahut_arimoto([[1, 0], [flip, 1 - flip]], tolerance_bits=1e-9)
    capacity = math.log2(1 + (1 - flip) * flip ** (flip / (1 - flip)))
    assert found.bits == pytest.approx(capacity, abs=1e-8)
    assert found.gap_bits <= 1e-9
    assert found.inputs[0] > 0.5


def test_an_erasure_channel_and_one_that_says_nothing() -> None:
    assert blahut_arimoto([[0.7, 0.3, 0], [0, 0.3, 0.7]]).bits == pytest.approx(0.7)
    assert blahut_arimoto([[0.2, 0.8], [0.2, 0.8]]).bits == 0


@pytest.mark.parametrize("snr", [0.5, 3.0, 15.0])
def test_a_gaussian_channel_with_a_limit_on_the_mean_power(snr: float) -> None:
    # The capacity's slope by power is the multiplier: d/dP of log2(1 + P) / 2.
    multiplier = 0.5 / (math.log(2) * (1 + snr))
    inputs = np.linspace(-6, 6, 161) * math.sqrt(snr)
    edges = np.linspace(inputs[0] - 7, inputs[-1] + 7, 2001)
    below = 0.5 * np.vectorize(math.erfc)((inputs[:, None] - edges) / math.sqrt(2))
    channel = np.diff(below, axis=1)
    channel /= channel.sum(axis=1, keepdims=True)
    found = blahut_arimoto(
        channel, costs=inputs**2, multiplier=multiplier, tolerance_bits=1e-4, max_iterations=5000
    )
    assert found.gap_bits <= 1e-4
    assert found.mean_cost == pytest.approx(snr, rel=0.02)
    assert found.bits == pytest.approx(0.5 * math.log2(1 + snr), abs=0.01)
    # What it maximises is flat at its top, so this is far sharper.
    best = 0.5 * math.log2(1 + snr) - multiplier * snr
    assert found.bits - multiplier * found.mean_cost == pytest.approx(best, abs=5e-4)


def test_the_gap_bounds_what_more_iterations_give() -> None:
    channel = tabulate_channel(gaussian(0.05))
    exact = blahut_arimoto(channel, tolerance_bits=1e-4).bits
    for count in (1, 10, 100):
        early = blahut_arimoto(channel, tolerance_bits=1e-12, max_iterations=count)
        assert early.num_iterations == count
        assert early.bits <= exact + 1e-4
        assert early.bits + early.gap_bits >= exact


def test_the_published_device_holds_what_was_computed_for_it() -> None:
    device = find_device("pcm-nandakumar2019")
    programming_only = device.without_drift().without_read_noise()
    assert cell_capacity(programming_only).bits == pytest.approx(3.17, abs=0.05)
    compensated = device.without_drift()
    assert cell_capacity(compensated, DAY_S).bits == pytest.approx(2.76, abs=0.05)
    assert cell_capacity(compensated, YEAR_S).bits == pytest.approx(2.69, abs=0.05)
    assert cell_capacity(compensated, DAY_S, cells=4).bits == pytest.approx(3.64, abs=0.05)
    # That cells drift apart takes more away.
    assert cell_capacity(device, DAY_S).bits < cell_capacity(compensated, DAY_S).bits - 0.1


def test_the_mean_of_several_gaussian_cells_is_a_finer_gaussian_cell() -> None:
    # Far from the clip at 0 the mean of four has half the deviation.
    four = cell_capacity(gaussian(0.02), cells=4)
    half = cell_capacity(gaussian(0.01))
    assert four.bits == pytest.approx(half.bits, abs=0.02)


def test_the_channel_is_that_of_many_draws() -> None:
    device, cells, count = find_device("pcm-nandakumar2019"), 3, 100_000
    channel = tabulate_channel(device, DAY_S, cells=cells)
    for row in (0, len(channel) // 3, len(channel) - 1):
        x = row / (len(channel) - 1)
        rng = np.random.default_rng(row)
        written = device.program(np.full((cells, count), x), rng=rng)
        reads = device.read(written, DAY_S, rng=rng).mean(axis=0)
        mean, deviation = (float(v) for v in device.moments(x, DAY_S))
        top = max(
            float((m + 8 * d).max()) for m, d in [device.moments(np.linspace(0, 1, 65), DAY_S)]
        )
        places = np.arange(channel.shape[1]) / channel.shape[1] * top
        found = float(channel[row] @ places)
        step = top / channel.shape[1]
        assert found == pytest.approx(mean, abs=step + 0.01 * deviation)
        spread = math.sqrt(float(channel[row] @ (places - found) ** 2))
        assert spread == pytest.approx(reads.std(), abs=step, rel=0.02)


def test_a_device_without_noise_holds_its_levels() -> None:
    assert cell_capacity(gaussian(0.0)).bits == pytest.approx(math.log2(1025), abs=0.01)


@pytest.mark.parametrize("cells", [0, -1, 65])
def test_numbers_of_cells_that_cannot_be(cells: int) -> None:
    with pytest.raises(InputError, match=rf"cells must be in 1\.\.64, got {cells}"):
        cell_capacity(gaussian(), cells=cells)


def test_channels_that_are_none() -> None:
    with pytest.raises(InputError, match="rows must sum to 1"):
        blahut_arimoto([[0.5, 0.4], [0.5, 0.5]])
    with pytest.raises(InputError, match="must be probabilities"):
        blahut_arimoto([[1.5, -0.5], [0.5, 0.5]])
    with pytest.raises(InputError, match="must be probabilities"):
        blahut_arimoto([[math.nan, 1], [0.5, 0.5]])
    with pytest.raises(InputError, match="costs must be 2 finite numbers"):
        blahut_arimoto([[1, 0], [0, 1]], costs=[1])
