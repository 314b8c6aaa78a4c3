"""Tensors in cells: what is read back is what was told, in mean and in spread."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from wl_onnx.analog import Storage, find_device
from wl_onnx.analog.allocation import LineExponents, spread_lines
from wl_onnx.analog.mapping import Mapping
from wl_onnx.codecs import cells
from wl_onnx.errors import InputError
from wl_onnx.planning.cell_writer import CellWriter, StoredTensor, Tensor

PCM = find_device("pcm-nandakumar2019")
ALL = frozenset(("sign", "adaptive", "sparsity", "sensitivity"))


def draw(*shape: int, share: float = 0.6, seed: int = 0, number: int = 3) -> Tensor:
    rng = np.random.default_rng(seed)
    weights = rng.laplace(size=shape) * rng.uniform(0.2, 2, (shape[0], *(1,) * (len(shape) - 1)))
    kept = np.abs(weights) > np.quantile(np.abs(weights), 1 - share) if share < 1 else weights != 0
    costs = np.multiply.outer(
        rng.lognormal(0, 1, shape[0]), rng.lognormal(0, 1, int(np.prod(shape[1:])))
    )
    return Tensor(np.where(kept, weights, 0.0), kept, number, costs.reshape(shape))


def measure(stored: StoredTensor, num_reads: int = 200) -> np.ndarray:
    """Mean squared error of each weight over writes, each with a read, about what was told."""
    total = np.zeros(stored.values.size)
    for seed in range(num_reads):
        read = cells.read(stored.blob, write_seed=seed, read_seed=seed)
        total += np.square(read - stored.values.reshape(-1))
    return (total / num_reads).reshape(stored.values.shape)


FLAGS: dict[str, dict[str, Any]] = {
    "plain magnitude": {"protect": frozenset(("sign",))},
    "plain pair": {"protect": frozenset(), "mapping": "pair"},
    "plain offset": {"protect": frozenset(), "mapping": "offset"},
    "default": {},
    "adaptive pair": {"protect": frozenset(("adaptive",)), "mapping": "pair"},
    "adaptive offset": {"protect": frozenset(("adaptive", "sparsity")), "mapping": "offset"},
    "three cells": {"cells": 3},
    "three pairs": {"cells": 3, "protect": frozenset(("adaptive",))},
    "many ranges": {"ranges": 7},
    "sensitivity": {"protect": ALL, "cells": 2.5},
    "sensitive pairs": {"protect": frozenset(("sensitivity", "sparsity")), "cells": 2.5},
    "channels": {"scale": "channel"},
    "sensitive channels": {"scale": "channel", "protect": ALL, "cells": 2.0},
    "no inverse": {"inverts_response": False},
    "no compensation": {"compensates_drift": False},
    "neither": {"inverts_response": False, "compensates_drift": False, "protect": frozenset()},
    "other device": {"device": find_device("gaussian")},
    "later": {"time_s": 3e7},
    "at once": {"time_s": 1.0},
}


@pytest.mark.parametrize("flags", FLAGS)
def test_the_noise_is_what_was_told(flags: str) -> None:
    storage = dataclasses.replace(Storage(PCM), **FLAGS[flags])
    tensor = draw(24, 50)
    stored = CellWriter(storage).store(tensor)
    measured = measure(stored)
    np.testing.assert_array_equal(measured[stored.noise == 0], 0.0)
    if "sparsity" in storage.protect:
        np.testing.assert_array_equal(stored.noise == 0, ~tensor.kept)
    # Of 720 to 1,200 weights in 200 reads the sum is known to 1 %; reference reads of so few cells
    # move whole tensors by some 1 % of the range.
    assert stored.noise.sum() == pytest.approx(measured.sum(), rel=0.12)
    most = np.argsort(stored.noise, axis=None)
    for part in np.array_split(most[stored.noise.reshape(-1)[most] > 0], 4):
        told = stored.noise.reshape(-1)[part].sum()
        assert told == pytest.approx(measured.reshape(-1)[part].sum(), rel=0.25)


@pytest.mark.parametrize("kind", ["magnitude", "pair", "offset"])
@pytest.mark.parametrize("write_bits", [4, 8, 12])
@pytest.mark.parametrize("curve", [0.0, 1.5])
def test_values_are_the_weights_up_to_the_step(kind: Any, write_bits: int, curve: float) -> None:
    tensor = draw(10, 7, 3)
    top = float(np.abs(tensor.weights).max())
    protect = frozenset(("sign",)) if kind == "magnitude" else frozenset()
    mapping = "pair" if kind == "magnitude" else kind
    writer = CellWriter(Storage(PCM, protect=protect, mapping=mapping, write_bits=write_bits))
    stored = writer.store_mapped(tensor, Mapping(kind, (0.0, 0.3 * top, top), curve))
    np.testing.assert_array_equal(stored.values[~tensor.kept], 0.0)
    np.testing.assert_array_equal(
        stored.values, cells.decode(stored.blob).reshape(10, 7, 3).astype(np.float64)
    )
    edge = np.where(np.abs(tensor.weights) < 0.3 * top, 0.3 * top, top)
    width = {"magnitude": edge, "pair": edge, "offset": 2 * edge}[kind]
    # Where the curve is flattest a level is worth (exp(curve) - 1) / curve as much as on average.
    step = width / (2**write_bits - 1) * (np.expm1(curve) / curve if curve else 1.0)
    error = np.abs(stored.values - tensor.weights)[tensor.kept]
    assert (error <= 0.5 * step[tensor.kept] + top * 2**-11).all()


def test_values_are_cut_where_that_loses_less() -> None:
    weights = np.random.default_rng(0).standard_normal((100, 100))
    weights[0, 0] = 12.0
    tensor = Tensor(weights, np.ones(weights.shape, bool), 0)
    losses = []
    for protect in (frozenset(("sign", "adaptive")), frozenset(("sign",))):
        stored = CellWriter(Storage(PCM, protect=protect, ranges=1)).store(tensor)
        assert (stored.values[0, 0] < 11) == ("adaptive" in protect)
        losses.append(float((stored.noise + np.square(stored.values - weights)).sum()))
    assert losses[0] < 0.5 * losses[1]


def test_a_scale_for_each_channel_along_any_axis() -> None:
    rng = np.random.default_rng(4)
    for axis in range(3):
        factors = 10.0 ** rng.uniform(-2, 1, [5 if one == axis else 1 for one in range(3)])
        weights = rng.uniform(-1, 1, (5, 5, 5)) * factors
        weights[tuple(slice(None) if one != axis else 2 for one in range(3))] = 0
        tensor = Tensor(weights, weights != 0, 0)
        writer = CellWriter(Storage(PCM, scale="channel", write_bits=12))
        stored = writer.store(tensor, channel_axis=axis)
        assert stored.info.num_channels == 5
        # The error is small beside the channel's own scale, not the tensor's.
        assert (np.abs(stored.values - weights) <= 0.08 * factors).all()
        shared = CellWriter(Storage(PCM)).store(tensor)
        assert stored.noise.sum() < 0.8 * shared.noise.sum()


def test_lines_are_those_of_the_readers() -> None:
    tensor = draw(6, 9)
    lines = LineExponents(
        np.array([8, 9, 10, 7, 12, 8], np.uint8), np.arange(4, 13, dtype=np.uint8)
    )
    mapping = Mapping("pair", (0.0, 3.0))
    stored = CellWriter(Storage(PCM, protect=frozenset())).store_mapped(
        tensor, mapping, lines=lines
    )
    counts = spread_lines(lines)
    assert stored.info.num_cells == 2 * counts[tensor.kept].sum()
    one = CellWriter(Storage(PCM, protect=frozenset())).store_mapped(tensor, mapping)
    kept = tensor.kept
    ratio = (one.noise[kept] / stored.noise[kept])[counts[kept] > 4]
    assert (ratio > 4).all()


@pytest.mark.parametrize("cells_each", [1.0, 1.5, 3.0])
def test_sensitive_weights_get_more_of_the_cells(cells_each: float) -> None:
    tensor = draw(20, 30, share=0.7)
    storage = Storage(PCM, protect=ALL, cells=cells_each)
    stored = CellWriter(storage).store(tensor)
    assert 0.85 * cells_each * 600 < stored.info.num_cells <= cells_each * 600
    even = CellWriter(Storage(PCM, cells=int(stored.info.num_cells / 420))).store(tensor)
    assert tensor.weigh(stored.noise).sum() < tensor.weigh(even.noise).sum()


def test_fewer_cells_than_weights_are_refused() -> None:
    tensor = draw(20, 30, share=0.5)
    writer = CellWriter(Storage(PCM, protect=ALL, cells=0.4))
    with pytest.raises(InputError, match=r"cells must be at least 0.5, one for each .* got 0.4"):
        writer.store(tensor)
    assert CellWriter(Storage(PCM, protect=ALL, cells=0.5)).store(tensor).info.num_cells == 300


@pytest.mark.parametrize("flags", ["default", "sensitivity", "sensitive channels", "plain pair"])
def test_the_same_bytes_twice_and_with_any_threads(flags: str) -> None:
    storage = dataclasses.replace(Storage(PCM), **FLAGS[flags])
    tensor = draw(50, 60)
    blobs = {CellWriter(storage, threads=n).store(tensor).blob for n in (1, 1, 2)}
    assert len(blobs) == 1
    other = dataclasses.replace(tensor, number=4)
    assert CellWriter(storage).store(other).blob not in blobs


def test_the_blob_says_what_the_storage_says() -> None:
    storage = Storage(PCM, time_s=3600.0, write_bits=6, seed=2**62 + 1, inverts_response=False)
    info = CellWriter(storage).store(draw(8, 8, number=9)).info
    assert (info.time_s, info.write_bits, info.write_seed) == (3600.0, 6, 2**62 + 1)
    assert (info.tensor, info.inverts_response, info.compensates_drift) == (9, False, True)
    still = CellWriter(dataclasses.replace(storage, device=find_device("gaussian")))
    assert not still.store(draw(8, 8)).info.compensates_drift


@pytest.mark.parametrize(
    "protect", [ALL, frozenset(("sensitivity",)), frozenset(), ALL - {"adaptive"}]
)
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 1), (2, 3, 2, 2)])
def test_corners(protect: frozenset[str], shape: tuple[int, ...]) -> None:
    ones = np.ones(shape)
    writer = CellWriter(Storage(PCM, protect=protect, cells=2))
    for weights in (0 * ones, ones, -ones, 1e-30 * ones, 1e30 * ones):
        kept = weights != 0 if "sparsity" in protect else np.ones(shape, bool)
        stored = writer.store(Tensor(weights, kept, 0))
        np.testing.assert_allclose(stored.values, weights, rtol=1e-6)
        assert np.isfinite(stored.noise).all()
        assert stored.ledger.analog_cells == stored.info.num_cells
        assert stored.ledger.digital_bits == stored.info.digital_bits


def test_the_report_by_hand() -> None:
    tensor = draw(12, 12)
    original = tensor.weights + 0.01
    stored = CellWriter(Storage(PCM)).store(tensor)
    fields = stored.describe(original)
    energy = np.square(original).sum()
    error = np.square(stored.values - original).sum()
    assert fields["error_share"] == pytest.approx(error / energy)
    assert fields["noise_share"] == pytest.approx(stored.noise.sum() / energy)
    assert fields["cells"] == stored.info.num_cells == tensor.kept.sum()
