"""Reads of analog cells: the core against NumPy, and the operator against the core."""

from __future__ import annotations

import concurrent.futures
import math
from collections.abc import Iterator

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto

from tests.cells import feeds, open_stock, random_tensor, read_model
from tests.devices import LEVELS, RECORDS, table_record
from wl_onnx.codecs import cells
from wl_onnx.codecs.cells import CellTensor, Symbol
from wl_onnx.kernels import reference_analog, reference_cells
from wl_onnx.kernels.native import core

TYPES = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.DOUBLE: np.float64,
    TensorProto.BFLOAT16: ml_dtypes.bfloat16,
}
TIMES = [0.0, 20.0, 86400.0, 3e7]


@pytest.fixture(params=["baseline", "avx2", "avx512"])
def _target(request: pytest.FixtureRequest) -> Iterator[None]:
    before = core().current_target()
    if not core().set_target(request.param):
        pytest.skip(f"{request.param} is not in this build or this machine cannot run it")
    yield
    assert core().set_target(before)


def tolerance(tensor: CellTensor) -> float:
    """What float32 may lose: positions are sums of an intercept and a product, both below 100."""
    scales = 1.0 if tensor.channel_scales is None else float(np.max(tensor.channel_scales))
    span = max(abs(one.high) + abs(one.low) for one in tensor.symbols)
    return 2e-5 * tensor.scale * scales * max(span, 1.0)


@pytest.mark.usefixtures("_target")
@pytest.mark.parametrize("device", list(RECORDS))
def test_reads_are_those_of_the_reference(device: str) -> None:
    rng = np.random.default_rng(61)
    for trial in range(25):
        tensor = random_tensor(rng, device_record=RECORDS[device])
        blob = cells.encode(tensor)
        parsed = reference_cells.parse(blob)
        seed, write_seed = int(rng.integers(0, 2**63)), int(rng.integers(0, 2**63))
        time_s = TIMES[trial % len(TIMES)]
        found = cells.read(blob, read_seed=seed, write_seed=write_seed, time_s=time_s, threads=2)
        expected = reference_analog.read(
            parsed, read_seed=seed, write_seed=write_seed, time_s=time_s
        )
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=tolerance(tensor))
        own = reference_analog.read(parsed, read_seed=seed)
        np.testing.assert_allclose(
            cells.read(blob, read_seed=seed), own, rtol=2e-5, atol=tolerance(tensor)
        )


def test_targets_are_those_of_the_reference() -> None:
    rng = np.random.default_rng(62)
    for _ in range(60):
        tensor = random_tensor(rng)
        blob = cells.encode(tensor)
        expected = reference_analog.decode(reference_cells.parse(blob))
        np.testing.assert_allclose(
            cells.decode(blob, threads=2), expected, rtol=1e-6, atol=tolerance(tensor)
        )


def test_every_target_gives_the_same_bits() -> None:
    rng = np.random.default_rng(63)
    before = core().current_target()
    for _ in range(10):
        blob = cells.encode(random_tensor(rng, num_weights=5000))
        reads = []
        for target in ("baseline", "avx2", "avx512"):
            if core().set_target(target):
                reads.append(cells.read(blob, read_seed=4).tobytes())
        core().set_target(before)
        assert len(set(reads)) == 1


def test_threads_change_nothing() -> None:
    rng = np.random.default_rng(64)
    blob = cells.encode(random_tensor(rng, num_weights=200_003))
    one = cells.read(blob, read_seed=9, threads=1)
    for threads in (2, 3, 8):
        np.testing.assert_array_equal(cells.read(blob, read_seed=9, threads=threads), one)


@pytest.mark.parametrize("threads", [1, 4])
def test_the_operator_gives_what_the_binding_gives(threads: int) -> None:
    rng = np.random.default_rng(65)
    for _ in range(8):
        blob = cells.encode(random_tensor(rng, num_weights=70_000))
        session = open_stock(read_model(blob, [700, 100]), threads=threads)
        for seed in (0, 7, 2**63 - 1):
            write_seed, time_s = int(rng.integers(0, 2**64, dtype=np.uint64)), 3600.0
            (found,) = session.run(None, feeds(write_seed, seed, time_s))
            expected = cells.read(blob, write_seed=write_seed, read_seed=seed, time_s=time_s)
            np.testing.assert_array_equal(found.reshape(-1), expected)


@pytest.mark.parametrize("data_type", list(TYPES))
def test_other_element_types_are_rounded(data_type: int) -> None:
    blob = cells.encode(random_tensor(np.random.default_rng(66), num_weights=5000))
    session = open_stock(read_model(blob, [50, 100], data_type=data_type))
    (found,) = session.run(None, feeds(1, 2, 30.0))
    expected = cells.read(blob, write_seed=1, read_seed=2, time_s=30.0).astype(TYPES[data_type])
    np.testing.assert_array_equal(found.reshape(-1), expected.astype(np.float64))
    targets = np.empty(5000, TYPES[data_type])
    cells.decode_into(blob, targets, onnx_type=data_type)
    np.testing.assert_array_equal(
        targets.astype(np.float64), cells.decode(blob).astype(TYPES[data_type]).astype(np.float64)
    )


def test_runs_at_the_same_time_do_not_meet() -> None:
    blob = cells.encode(random_tensor(np.random.default_rng(67), num_weights=60_000))
    session = open_stock(read_model(blob, [60_000]), threads=2)
    settings = [(w, r, t) for w in (1, 2) for r in (3, 4, 5) for t in (0.0, 86400.0)]
    expected = [cells.read(blob, write_seed=w, read_seed=r, time_s=t) for w, r, t in settings]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for _ in range(4):
            found = pool.map(lambda one: session.run(None, feeds(*one))[0], settings)
            for one, weights in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, weights)


def test_a_device_without_noise_gives_the_targets() -> None:
    levels = np.array([[0.0, 0.5, 1.0], [0.0, 5.0, 10.0], [0.0] * 3, [0.0] * 3])
    rng = np.random.default_rng(68)
    tensor = random_tensor(rng, device_record=table_record(levels), num_weights=4000)
    blob = cells.encode(tensor)
    np.testing.assert_allclose(
        cells.read(blob, read_seed=1), cells.decode(blob), rtol=1e-5, atol=50 * tolerance(tensor)
    )
    straight = [Symbol(one.low, one.high, 0.0, one.cells) for one in tensor.symbols]
    plain = cells.encode(random_tensor(np.random.default_rng(68), num_weights=4000,
                                       device_record=table_record(levels)))  # fmt: skip
    assert plain == blob
    blob = cells.encode(CellTensor(**(vars(tensor) | {"symbols": straight})))
    np.testing.assert_allclose(
        cells.read(blob, read_seed=1), cells.decode(blob), rtol=1e-5, atol=tolerance(tensor)
    )


def test_a_response_that_falls_in_places_is_inverted_where_it_rises() -> None:
    assert (np.diff(LEVELS[1]) < 0).any()
    quiet = LEVELS.copy()
    quiet[2:] = 0
    levels = np.arange(256)
    tensor = CellTensor(
        num_weights=256, symbols=[Symbol(0, 1)], labels=None, levels=levels,
        device_record=table_record(quiet),
    )  # fmt: skip
    found = cells.read(cells.encode(tensor), read_seed=0)
    means = np.interp(levels / 255, quiet[0], quiet[1])
    rises = (levels / 255 <= 0.5) | (means > 11.3)
    np.testing.assert_allclose(found[rises], (levels / 255)[rises], atol=0.02)
    assert math.isclose(float(found[0]), 0, abs_tol=1e-5)
