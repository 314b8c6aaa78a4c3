from __future__ import annotations

import dataclasses
import math
import struct

import numpy as np
import pytest

from wl_onnx.analog import (
    PcmDevice,
    PowerLawDrift,
    ProgrammingNoise,
    ReadNoise,
    find_device,
    gaussian,
)
from wl_onnx.analog.device import Device, check_time
from wl_onnx.analog.pcm import rectified_mean
from wl_onnx.errors import InputError

DAY_S = 86400.0
TARGETS = np.array([0.0, 1e-3, 0.01, 0.05, 0.2, 0.5, 1.0])
NUM_DRAWS = 200_000


def draw_reads(device: Device, time_s: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    cells = device.program(np.repeat(TARGETS[:, None], NUM_DRAWS, axis=1), rng=rng)
    return device.read(cells, time_s, rng=rng)


def integrate(function, low: float, high: float, count: int = 400_001) -> float:
    x = np.linspace(low, high, count)
    y = function(x)
    return float(((y[1:] + y[:-1]) * 0.5 * np.diff(x)).sum())


def density(x: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    z = (x - mean) / deviation
    return np.exp(-0.5 * z * z) / (deviation * math.sqrt(2 * math.pi))


def test_presets_have_the_published_constants() -> None:
    x = np.linspace(0, 1, 11)
    pcm = find_device("pcm-nandakumar2019")
    np.testing.assert_allclose(
        pcm.programming.deviation(x), 0.26348 + 1.9650 * x - 1.1731 * x**2, rtol=1e-12
    )
    joshi = find_device("pcm-joshi2020")
    g = 25 * x
    np.testing.assert_allclose(
        joshi.programming.deviation(x),
        -0.00178767 * g**2 + 0.07585724 * g + 0.28638599,
        rtol=1e-12,
    )
    assert not joshi.has_drift
    assert find_device("gaussian:0.1").programming.deviation(0.7) == pytest.approx(2.5)
    mean, deviation = pcm.drift.exponents(np.array([0.0, 0.05, 1.0]))
    np.testing.assert_allclose(mean, [0.1, 0.0244 - 0.0155 * math.log(0.05), 0.049])
    np.testing.assert_allclose(deviation, [0.045, -0.0059 - 0.0125 * math.log(0.05), 0.008])
    for one in pcm.constants():
        assert one.source
        assert one.name


def test_the_record_holds_every_constant_in_the_order_of_the_format() -> None:
    kind, *values = struct.unpack("<B19f", find_device("pcm-nandakumar2019").record())
    assert kind == 1
    expected = [25, 0.26348, 1.9650, -1.1731, -0.0155, 0.0244, 0.049, 0.1, -0.0125, -0.0059, 0.008]
    expected += [0.045, 20, 0.0088, 0.65, 1e-3, 0.2, 250e-9, 0]
    np.testing.assert_array_equal(np.float32(values), np.float32(expected))


def test_a_record_of_a_device_without_drift_and_read_noise() -> None:
    _, *values = struct.unpack("<B19f", gaussian(0.02).record())
    assert values[:2] == [25.0, 0.5]
    assert values[4:12] == [0.0] * 8
    assert values[13] == 0  # the scale of read noise
    assert values[12] > 0
    assert values[17] > 0


@pytest.mark.parametrize("name", ["pcm-nandakumar2019", "pcm-joshi2020", "gaussian"])
@pytest.mark.parametrize("time_s", [0.0, DAY_S, 3.2e7])
def test_moments_are_those_of_many_draws(name: str, time_s: float) -> None:
    device = find_device(name)
    reads = draw_reads(device, time_s, seed=5)
    mean, deviation = device.moments(TARGETS, time_s)
    np.testing.assert_array_equal(device.deviation(TARGETS, time_s), deviation)
    error = reads.mean(axis=1) - mean
    assert (np.abs(error) < 4.5 * deviation / math.sqrt(NUM_DRAWS)).all()
    centred = reads - reads.mean(axis=1, keepdims=True)
    fourth = (centred**4).mean(axis=1) / deviation**4
    limit = 4.5 * np.sqrt((fourth - 1) / NUM_DRAWS) / 2
    assert (np.abs(reads.std(axis=1) / deviation - 1) < limit).all()
    # The closed form leaves one clip out.
    assert np.abs(device.mean_response(TARGETS, time_s) - mean).max() < 0.01


@pytest.mark.parametrize("time_s", [0.0, DAY_S])
@pytest.mark.parametrize("name", ["pcm-nandakumar2019", "pcm-joshi2020"])
def test_the_distribution_is_that_of_many_draws(name: str, time_s: float) -> None:
    device = find_device(name)
    limits = np.linspace(0, 32, 300)
    reads = np.sort(draw_reads(device, time_s, seed=6), axis=1)
    shares = np.stack([np.searchsorted(row, limits, side="right") for row in reads]) / NUM_DRAWS
    found = device.read_cdf(TARGETS, time_s, limits)
    # Kolmogorov: exceeded with a chance of 1e-4; and what quadrature may add.
    assert np.abs(found - shares).max() < 2.23 / math.sqrt(NUM_DRAWS) + 1e-3
    assert (np.diff(found, axis=1) > -1e-9).all()


def test_the_mean_response_is_the_integral_over_programming_and_drift() -> None:
    device = find_device("pcm-nandakumar2019")
    log_time = device.log_time(DAY_S)
    assert log_time == pytest.approx(math.log((DAY_S + 20) / 20))
    for x in (0.0, 0.003, 0.1, 1.0):
        sigma = float(device.programming.deviation(x))
        written = integrate(
            lambda g, x=x, sigma=sigma: np.maximum(g, 0) * density(g, 25 * x, sigma),
            25 * x - 12 * sigma,
            25 * x + 12 * sigma,
        )
        mean, deviation = (float(v) for v in device.drift.exponents(x))
        decay = integrate(
            lambda nu, m=mean, d=deviation: np.exp(-np.abs(nu) * log_time) * density(nu, m, d),
            mean - 12 * deviation,
            mean + 12 * deviation,
        )
        assert device.mean_response(x, DAY_S) == pytest.approx(written * decay, rel=1e-6)
        assert device.mean_response(x, 0.0) == pytest.approx(written, rel=1e-6)


def test_the_mean_response_without_any_noise() -> None:
    drift = PowerLawDrift(0, 0.05, 0, 1, 0, 0, 0, 0)
    device = PcmDevice(
        name="exact", g_max_usiemens=10.0, programming=ProgrammingNoise(0.0), drift=drift
    )
    np.testing.assert_allclose(
        device.mean_response(TARGETS, 980.0), 10 * TARGETS * 50**-0.05, rtol=1e-12
    )
    np.testing.assert_allclose(device.deviation(TARGETS, 980.0), 0, atol=1e-6)
    steep = PowerLawDrift(0, 100, 0, 100, 0, 1e-3, 0, 1)
    assert np.isfinite(steep.mean_decay(TARGETS, 20.0)).all()


def test_a_rectified_mean() -> None:
    assert rectified_mean(-3.0, 0.0) == 0
    assert rectified_mean(3.0, 0.0) == 3
    assert rectified_mean(0.0, 2.0) == pytest.approx(2 / math.sqrt(2 * math.pi))
    assert rectified_mean(-1e3, 1.0) == 0


def test_programming_freezes_and_reading_does_not() -> None:
    device = find_device("pcm-nandakumar2019")
    rng = np.random.default_rng(1)
    cells = device.program(np.full(1000, 0.5), rng=rng)
    first, second = (device.read(cells, 60.0, rng=rng) for _ in range(2))
    assert (first != second).all()
    # Two reads differ by their read noise alone.
    written = cells.conductances_usiemens
    noise = device.read_noise.share(written / 25) * math.sqrt(math.log(80 / 5e-7))
    expected = noise * written * (80 / 20) ** -cells.drift_exponents
    z = (first - second) / (math.sqrt(2) * expected)
    assert abs(z.var() - 1) < 4.5 * math.sqrt(2 / z.size)
    again = device.program(np.full(1000, 0.5), rng=np.random.default_rng(1))
    np.testing.assert_array_equal(again.conductances_usiemens, cells.conductances_usiemens)
    np.testing.assert_array_equal(again.drift_exponents, cells.drift_exponents)


@pytest.mark.parametrize("name", ["pcm", "", "gaussian2", "PCM-JOSHI2020"])
def test_an_unknown_device_names_all_that_exist(name: str) -> None:
    with pytest.raises(InputError, match=r"pcm-nandakumar2019, pcm-joshi2020, gaussian or"):
        find_device(name)


@pytest.mark.parametrize("parameter", ["x", "-0.1", "nan", "inf", ""])
def test_a_gaussian_of_an_impossible_deviation(parameter: str) -> None:
    with pytest.raises(InputError, match="deviation must be a share of the range"):
        find_device(f"gaussian:{parameter}")


def test_constants_that_cannot_be() -> None:
    drift = find_device("pcm-nandakumar2019").drift
    with pytest.raises(InputError, match="programming noise: its linear must be finite, got nan"):
        ProgrammingNoise(0.1, math.nan)
    with pytest.raises(InputError, match="finite and not negative, got -1"):
        dataclasses.replace(drift, deviation_low=-1)
    with pytest.raises(InputError, match="lowest mean must be at most the highest"):
        dataclasses.replace(drift, mean_low=0.2)
    with pytest.raises(InputError, match="read noise: its floor must be positive"):
        ReadNoise(0.1, 0.65, 0.0, 0.2, 1e-6)
    with pytest.raises(InputError, match="device d: g_max_usiemens must be positive, got 0"):
        PcmDevice(name="d", g_max_usiemens=0.0, programming=ProgrammingNoise(0.1))


def test_targets_and_times_that_cannot_be() -> None:
    device = gaussian()
    for target in (-0.1, 1.1, math.nan):
        with pytest.raises(InputError, match=r"targets must be in 0\.\.1, got"):
            device.program([0.5, target], rng=np.random.default_rng(0))
    for time_s in (-1.0, math.nan, math.inf, 2e12):
        with pytest.raises(InputError, match="the time must be in"):
            check_time(time_s)
        for method in (device.mean_response, device.moments, device.deviation):
            with pytest.raises(InputError, match="the time must be in"):
                method(0.5, time_s)
