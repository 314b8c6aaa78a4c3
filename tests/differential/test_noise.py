"""Draws, programming and reads of cells: the compiled core on every CPU target against NumPy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from tests.devices import RECORDS, pcm_record
from wl_onnx.kernels import noise, reference_noise
from wl_onnx.kernels.native import core

LAST_CELL = 2**64 - 65
SOURCES = [
    (0, 0, 0, 0),
    (1, 2, 3, 64),
    (2**64 - 1, 2**32 - 1, 2**32 - 1, 2**34 - 1000),  # blocks whose upper word changes
    (0x0123456789ABCDEF, 2, 7, 2**40 + 17),
    (2**63, 4, 0, LAST_CELL - 9_999),
]


@pytest.fixture(params=["baseline", "avx2", "avx512"])
def target(request: pytest.FixtureRequest) -> Iterator[str]:
    """A CPU target, taken."""
    before = core().current_target()
    if not core().set_target(request.param):
        pytest.skip(f"{request.param} is not in this build or this machine cannot run it")
    assert core().current_target() == request.param
    yield request.param
    assert core().set_target(before)


def philox_by_whole_numbers(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 as its authors write it: in each round, two products and the key."""
    for step in range(10):
        keys = [(key[0] + step * 0x9E3779B9) % 2**32, (key[1] + step * 0xBB67AE85) % 2**32]
        high0, low0 = divmod(0xD2511F53 * counter[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * counter[2], 2**32)
        counter = [high1 ^ counter[1] ^ keys[0], low1, high0 ^ counter[3] ^ keys[1], low0]
    return counter


@pytest.mark.parametrize(("seed", "stream", "tensor", "first"), SOURCES)
def test_words(seed: int, stream: int, tensor: int, first: int) -> None:
    found = noise.philox_words(seed, stream, tensor, first, 100)
    blocks = [(first + i) % 2**64 for i in range(100)]
    expected = [
        philox_by_whole_numbers(
            [block % 2**32, block >> 32, stream, tensor], [seed % 2**32, seed >> 32]
        )
        for block in blocks
    ]
    np.testing.assert_array_equal(found, expected)
    counters = np.array([[b % 2**32, b >> 32, stream, tensor] for b in blocks], np.uint64)
    np.testing.assert_array_equal(
        reference_noise.philox(counters, (seed % 2**32, seed >> 32)), expected
    )


def ulps(found: npt.NDArray[np.float32], expected: npt.NDArray[np.float64]) -> float:
    spacing = np.spacing(np.abs(expected.astype(np.float32))).astype(np.float64)
    return float((np.abs(found - expected) / spacing).max())


@pytest.mark.parametrize(("seed", "stream", "tensor", "first"), SOURCES)
def test_normals(target: str, seed: int, stream: int, tensor: int, first: int) -> None:
    found = noise.draw_normals(seed, stream, tensor, first, 10_000)
    expected = reference_noise.draw_normals(seed, stream, tensor, first, 10_000)
    assert ulps(found, expected) <= 4
    assert np.isfinite(found).all()


def test_a_million_normals(target: str) -> None:
    found = noise.draw_normals(5, 2, 0, 0, 1 << 20)
    assert ulps(found, reference_noise.draw_normals(5, 2, 0, 0, 1 << 20)) <= 4


def test_a_cell_is_its_word_of_its_block() -> None:
    """By hand: cell 64 * 3 + 16 * 2 + 5 is the third part of block 16 * 3 + 5."""
    words = noise.philox_words(8, 1, 2, 53, 1)[0].astype(np.float64)
    uniform = (np.float32(words[2] // 2) + np.float32(0.5)) / np.float32(2**31)
    expected = np.sqrt(-2 * np.log(np.float64(uniform))) * np.cos(words[3] * (2 * np.pi / 2**32))
    assert noise.draw_normals(8, 1, 2, 229, 1)[0] == pytest.approx(expected, rel=1e-6)


def program(name: str, first: int, count: int, **options: int) -> tuple[np.ndarray, np.ndarray]:
    levels = np.random.default_rng(first % 2**32).integers(0, 1 << 6, count, np.uint16)
    return noise.program_cells(
        RECORDS[name], 6, levels, write_seed=3, tensor=9, time_s=1e5, first=first, **options
    )


@pytest.mark.parametrize("first", [0, 1, 5_000, 2**40 + 63])
@pytest.mark.parametrize("count", [0, 1, 16, 63, 64, 65, 300])
def test_any_first_and_count(target: str, first: int, count: int) -> None:
    begin, size = first // 64 * 64, 512
    offset = first - begin
    span = slice(offset, offset + count)
    whole = noise.draw_normals(4, 1, 0, begin, size)
    np.testing.assert_array_equal(noise.draw_normals(4, 1, 0, first, count), whole[span])

    levels = np.random.default_rng(count).integers(0, 16, size, np.uint16)
    arguments = {"write_seed": 4, "tensor": 1, "time_s": 100.0}
    g, d = noise.program_cells(RECORDS["crooked"], 4, levels, first=begin, **arguments)
    some = noise.program_cells(RECORDS["crooked"], 4, levels[span], first=first, **arguments)
    np.testing.assert_array_equal(some[0], g[span])
    np.testing.assert_array_equal(some[1], d[span])
    np.testing.assert_array_equal(
        noise.read_cells(g[span], d[span], read_seed=5, first=first),
        noise.read_cells(g, d, read_seed=5, first=begin)[span],
    )


def test_arrays_that_are_not_aligned(target: str) -> None:
    g, d = program("nandakumar", 0, 1000)
    expected = noise.read_cells(g[:-1].copy(), d[:-1].copy(), read_seed=1, first=7)
    raw = np.zeros(4 * 1000 + 1, np.uint8)[1:].view(np.float32)[:999]
    np.testing.assert_array_equal(
        noise.read_cells(g[:-1], d[:-1], read_seed=1, first=7, out=raw), expected
    )
    g[1:] = g[:-1].copy()  # what is read may be written to
    d[1:] = d[:-1].copy()
    noise.read_cells(g[1:], d[1:], read_seed=1, first=7, out=g[1:])
    np.testing.assert_array_equal(g[1:], expected)


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_threads(threads: int) -> None:
    first, count = 2**32 - 100_001, 300_000
    np.testing.assert_array_equal(
        noise.draw_normals(1, 2, 3, first, count, threads=threads),
        noise.draw_normals(1, 2, 3, first, count),
    )
    g, d = program("nandakumar", first, count)
    for found, expected in zip(
        program("nandakumar", first, count, threads=threads), (g, d), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        noise.read_cells(g, d, read_seed=2, first=first, threads=threads),
        noise.read_cells(g, d, read_seed=2, first=first),
    )


@pytest.mark.parametrize("name", RECORDS)
def test_every_target_gives_the_same_bits(name: str) -> None:
    before = core().current_target()
    results = set()
    for target in core().available_targets():
        assert core().set_target(target)
        assert core().current_target() == target
        g, d = program(name, 77, 200_001)
        reads = noise.read_cells(g, d, read_seed=2**64 - 1, stream=4, tensor=1, first=3)
        draws = noise.draw_normals(6, 0, 0, 11, 200_001)
        results.add((g.tobytes(), d.tobytes(), reads.tobytes(), draws.tobytes()))
    assert core().set_target(before)
    assert len(results) == 1


@pytest.mark.parametrize("time_s", [0.0, 1.0, 86400.0, 1e12])
@pytest.mark.parametrize("write_bits", [1, 4, 8, 16])
@pytest.mark.parametrize("name", RECORDS)
def test_programming_and_reads(target: str, name: str, write_bits: int, time_s: float) -> None:
    levels = np.random.default_rng(write_bits).integers(0, 1 << write_bits, 20_000, np.uint16)
    source = {"write_seed": 2**60 + 1, "tensor": 12, "time_s": time_s, "first": 1000}
    found = noise.program_cells(RECORDS[name], write_bits, levels, **source)
    device = reference_noise.parse_device(RECORDS[name])
    expected = reference_noise.program_cells(device, write_bits, levels, **source)
    # What is left of a mean by a negative draw has the rounding of the mean.
    limit = 1e-6 * device.g_max
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=3e-5, atol=limit)
    assert found[0].min() >= 0 <= found[1].min()

    reads = noise.read_cells(*found, read_seed=3, stream=2, tensor=12, first=1000)
    exact = reference_noise.read_cells(3, 2, 12, found[0], found[1], 1000)
    np.testing.assert_allclose(reads, exact, rtol=1e-6, atol=limit)


@pytest.mark.parametrize("write_seed", [0, 2**33])
def test_time_changes_no_draw(write_seed: int) -> None:
    """ln g falls along a line in ln T, with the slope that was drawn once for the cell."""
    levels = np.full(5000, 200, np.uint16)
    times = np.array([0.0, 180.0, 19_980.0])  # T is 1, 10 and 1000 times t0
    logs = np.log([
        noise.program_cells(RECORDS["nandakumar"], 8, levels, write_seed=write_seed, time_s=t)[0]
        for t in times
    ])  # fmt: skip
    np.testing.assert_allclose(3 * (logs[1] - logs[0]), logs[2] - logs[0], atol=2e-6)


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("time_s", [0.0, 3600.0, 1e12])
def test_mean_response_is_what_quadrature_gives(name: str, time_s: float) -> None:
    targets = np.linspace(0, 1, 33)
    found = noise.mean_response(RECORDS[name], targets, time_s=time_s)
    device = reference_noise.parse_device(RECORDS[name])
    np.testing.assert_allclose(found, integrate(device, targets, time_s), rtol=1e-6, atol=1e-9)


def integrate(
    device: reference_noise.Device, targets: np.ndarray, time_s: float
) -> npt.NDArray[np.float64]:
    """E[max(0, g)] E[(T / t0)^-|nu|] by the trapezoidal rule."""
    z = np.linspace(-9, 9, 200_001)
    weights = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()
    if device.table is not None:
        means, spreads = (np.interp(targets, device.table[0], row) for row in device.table[1:3])
    else:
        p0, p1, p2 = device.programming
        means, spreads = device.g_max * targets, p0 + p1 * targets + p2 * targets**2
    logs = np.log(np.maximum(targets, 1e-7))
    found = []
    for mean, spread, log in zip(means, spreads, logs, strict=True):
        programmed = weights @ np.maximum(0, mean + max(0, spread) * z)
        nu, width = (
            np.clip(law[0] * log + law[1], law[2], law[3])
            for law in (device.drift_mean, device.drift_deviation)
        )
        kept = (1 + time_s / device.t0_s) ** -np.abs(nu + width * z)
        found.append(programmed * (weights @ kept))
    return np.array(found)


def test_a_mean_response_of_drift_that_varies_much() -> None:
    """Where the closed form is a product of the very large and the very small."""
    values = [10.0, *(0.0,) * 3, 0.0, 30.0, 30.0, 30.0, 0.0, 20.0, 20.0, 20.0, 1.0, *(0.0,) * 4]
    record = pcm_record((*values, 1e-6, 0.0))
    for time_s in (1.0, 1e3, 1e12):
        found = noise.mean_response(record, 1.0, time_s=time_s)
        # The density of |nu| is almost even over the few exponents that matter.
        steps = np.linspace(0, 40 / np.log1p(time_s), 400_001)
        density = sum(np.exp(-(((steps + sign * 30) / 20) ** 2) / 2) for sign in (-1, 1))
        kept = np.exp(-steps * np.log1p(time_s)) * density / (20 * np.sqrt(2 * np.pi))
        total = ((kept[1:] + kept[:-1]) / 2).sum() * steps[1]
        assert float(found) == pytest.approx(10 * total, rel=1e-6)
