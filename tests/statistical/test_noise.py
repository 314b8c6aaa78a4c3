"""Moments, normality and independence of noisy cells, against the published formulas.

What is expected is drawn anew with NumPy's own generator, from the formulas of Nandakumar et al.
(ICECS 2019), not from the reference of the draws. Limits are standard errors; at 4 of them one
figure in 16,000 fails by chance, and the seeds are fixed.
"""

from __future__ import annotations

import itertools
from math import erfc, sqrt

import numpy as np
import numpy.typing as npt
import pytest

from tests.devices import JOSHI, LEVELS, NANDAKUMAR, RECORDS
from wl_onnx.kernels import noise

NUM_DRAWS = 100_000
STANDARD_ERRORS = 4.0
WRITE_BITS = 16
TIMES_S = [0.0, 20.0, 3600.0, 86400.0, 3.15576e7]

Values = npt.NDArray[np.float64]


def deviation_error(values: Values) -> float:
    """The standard error of a standard deviation, by the sample's kurtosis."""
    centred = values - values.mean()
    variance = np.mean(centred**2)
    kurtosis = np.mean(centred**4) / variance**2
    return float(np.sqrt(variance * (kurtosis - 1) / (4 * values.size)))


def scores(found: Values, expected: Values) -> tuple[float, float]:
    """By how many standard errors mean and deviation of two samples lie apart."""
    means = np.hypot(found.std() / found.size**0.5, expected.std() / expected.size**0.5)
    spreads = np.hypot(deviation_error(found), deviation_error(expected))
    return (
        float(abs(found.mean() - expected.mean()) / means),
        float(abs(found.std() - expected.std()) / spreads),
    )


def store(name: str, level: int, time_s: float, *, write_seed: int, read_seed: int) -> Values:
    levels = np.full(NUM_DRAWS, level, np.uint16)
    cells = noise.program_cells(
        RECORDS[name], WRITE_BITS, levels, write_seed=write_seed, time_s=time_s
    )
    return noise.read_cells(*cells, read_seed=read_seed).astype(np.float64)


def draw_pcm(
    rng: np.random.Generator, values: tuple[float, ...], x: float, time_s: float
) -> Values:
    """Reads of a formula device, each of another cell."""
    g_max, p0, p1, p2 = values[:4]
    t0_s, (scale, power, floor, cap), t_read_s = values[12], values[13:17], values[17]
    z = rng.standard_normal((3, NUM_DRAWS))
    programmed = np.maximum(0, g_max * x + (p0 + p1 * x + p2 * x**2) * z[0])
    log = np.log(max(x, 1e-7))
    mean, spread = (
        np.clip(slope * log + intercept, low, high)
        for slope, intercept, low, high in (values[4:8], values[8:12])
    )
    total_s = time_s + t0_s
    drifted = programmed * (total_s / t0_s) ** -np.abs(mean + spread * z[1])
    share = np.minimum(scale / np.maximum((programmed / g_max) ** power, floor), cap)
    growth = np.sqrt(np.log((total_s + t_read_s) / (2 * t_read_s)))
    return np.maximum(0, drifted + drifted * share * growth * z[2])


def draw_table(rng: np.random.Generator, x: float) -> Values:
    mean, spread, read = (np.interp(x, LEVELS[0], row) for row in LEVELS[1:])
    z = rng.standard_normal((2, NUM_DRAWS))
    return np.maximum(0, np.maximum(0, mean + spread * z[0]) + read * z[1])


@pytest.mark.parametrize("time_s", TIMES_S)
@pytest.mark.parametrize("tenth", range(11))
@pytest.mark.parametrize("name", ["nandakumar", "joshi", "table"])
def test_moments(name: str, tenth: int, time_s: float) -> None:
    level = round(tenth / 10 * 65535)
    seed = 1000 * tenth + TIMES_S.index(time_s)
    found = store(name, level, time_s, write_seed=seed, read_seed=seed + 7)
    rng = np.random.default_rng([seed, len(name)])
    x = level / 65535
    if name == "table":
        expected = draw_table(rng, x)
    else:
        values = {"nandakumar": NANDAKUMAR, "joshi": JOSHI}[name]
        expected = draw_pcm(rng, values, x, time_s)
    assert max(scores(found, expected)) < STANDARD_ERRORS


@pytest.mark.parametrize("time_s", TIMES_S)
@pytest.mark.parametrize("tenth", [0, 1, 5, 10])
def test_mean_response(tenth: int, time_s: float) -> None:
    """Before the read, whose noise is cut at 0 where it is large."""
    level = round(tenth / 10 * 65535)
    levels = np.full(NUM_DRAWS, level, np.uint16)
    found, _ = noise.program_cells(
        RECORDS["nandakumar"], WRITE_BITS, levels, write_seed=tenth + 50, time_s=time_s
    )
    expected = float(noise.mean_response(RECORDS["nandakumar"], level / 65535, time_s=time_s))
    error = found.std() / found.size**0.5
    assert abs(found.mean(dtype=np.float64) - expected) < STANDARD_ERRORS * error


@pytest.fixture(scope="module")
def normals() -> Values:
    return noise.draw_normals(2024, noise.READ_STREAM, 3, 0, 4_000_000).astype(np.float64)


def test_normal_moments(normals: Values) -> None:
    """E[z^k] is (k - 1)!! for even k and 0 for odd; Var[z^k] = E[z^2k] - E[z^k]^2."""
    moments = np.array([1, 0, 1, 0, 3, 0, 15, 0, 105, 0, 945, 0, 10395, 0, 135135])
    for k in range(1, 8):
        error = np.sqrt((moments[2 * k] - moments[k] ** 2) / normals.size)
        assert abs((normals**k).mean() - moments[k]) < STANDARD_ERRORS * error


def test_normal_distribution(normals: Values) -> None:
    """Kolmogorov's statistic: above 2.3 / sqrt(n) once in 20,000 times."""
    places = np.linspace(-4, 4, 801)
    below = np.array([erfc(-place / sqrt(2)) / 2 for place in places])
    shares = np.searchsorted(np.sort(normals), places, side="right") / normals.size
    assert np.abs(shares - below).max() < 2.3 / np.sqrt(normals.size)


def test_tails(normals: Values) -> None:
    for place in (3.0, 4.0, 4.5):
        expected = erfc(place / sqrt(2)) / 2 * normals.size
        for count in ((normals > place).sum(), (normals < -place).sum()):
            assert abs(count - expected) < STANDARD_ERRORS * np.sqrt(expected) + 1


@pytest.mark.parametrize("lag", [1, 2, 4, 15, 16, 17, 32, 48, 63, 64, 128, 1024])
def test_cells_do_not_go_together(normals: Values, lag: int) -> None:
    """Lags of 16, 32 and 48 join the four draws of one block."""
    for power in (1, 2):
        values = normals**power
        values = (values - values.mean()) / values.std()
        correlation = np.mean(values[lag:] * values[:-lag])
        assert abs(correlation) < STANDARD_ERRORS / np.sqrt(values.size - lag)


def test_seeds_streams_and_tensors_do_not_go_together() -> None:
    count = 200_000
    sources = [
        (seed, stream, tensor)
        for seed in (0, 1, 2**32, 2**63)
        for stream in (0, 1, 2)
        for tensor in (0, 1, 2**31)
    ]
    draws = np.stack([noise.draw_normals(*source, 0, count) for source in sources])
    for values in (draws, draws**2):
        correlations = np.corrcoef(values.astype(np.float64))
        pairs = [correlations[i, j] for i, j in itertools.combinations(range(len(sources)), 2)]
        # 4 would be too few standard errors for 351 pairs, twice
        assert np.abs(pairs).max() < 5 / np.sqrt(count)


def test_what_a_seed_fixes() -> None:
    levels = np.full(1000, 100, np.uint16)
    first, again, other = (
        noise.program_cells(RECORDS["nandakumar"], 8, levels, write_seed=seed, time_s=100.0)
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first[0], again[0])
    assert np.mean(first[0] == other[0]) < 0.01
    reads = [noise.read_cells(*first, read_seed=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(reads[0], reads[1])
    assert np.mean(reads[0] == reads[2]) < 0.01
