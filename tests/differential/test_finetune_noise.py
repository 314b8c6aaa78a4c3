"""Reads that training draws, against reads of the same tensor by the compiled core."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from wl_onnx.analog import Storage, TableDevice, find_device
from wl_onnx.codecs import cells
from wl_onnx.planning.cell_writer import CellWriter, StoredTensor, Tensor

torch = pytest.importorskip("torch", reason="torch is not installed")

Float64 = npt.NDArray[np.float64]

PCM = find_device("pcm-nandakumar2019")
TABLE = TableDevice(
    "table",
    np.array([0.0, 0.25, 0.5, 0.75, 1.0]),
    np.array([0.5, 4.0, 11.0, 15.0, 20.0]),
    np.array([0.25, 1.0, 0.5, 0.8, 0.5]),
    np.array([0.0, 0.1, 0.3, 0.2, 0.1]),
)
YEAR_S = 3.15e7
ALL = frozenset(("sign", "adaptive", "sparsity", "sensitivity"))
FLAGS: dict[str, dict[str, Any]] = {
    "default, a day": {},
    "default, soon": {"time_s": 20.0},
    "default, a year": {"time_s": YEAR_S},
    "sign, a year": {"protect": frozenset(("sign",)), "time_s": YEAR_S},
    "pair": {"protect": frozenset()},
    "adaptive pair, three cells": {"protect": frozenset(("adaptive",)), "cells": 3},
    "offset": {"protect": frozenset(), "mapping": "offset"},
    "offset with zeros": {"protect": frozenset(("adaptive", "sparsity")), "mapping": "offset"},
    "seven ranges": {"ranges": 7},
    "all, a year": {"protect": ALL, "cells": 1.5, "time_s": YEAR_S},
    "channels": {"scale": "channel"},
    "no inverse": {"inverts_response": False},
    "no compensation": {"compensates_drift": False},
    "joshi": {"device": find_device("pcm-joshi2020")},
    "gaussian": {"device": find_device("gaussian")},
    "table": {"device": TABLE},
}
NUM_ROWS, NUM_EACH, NUM_LEVELS, NUM_READS = 8, 40, 16, 20


def make_tensor() -> Tensor:
    """Sixteen weights, each in forty columns of every row; a quarter are zeros."""
    rng = np.random.default_rng(0)
    values = rng.laplace(size=(NUM_ROWS, NUM_LEVELS, 1)) * np.ones(NUM_EACH)
    values[:, ::4] = 0
    values = values.astype(np.float32).astype(np.float64)
    costs = rng.lognormal(0, 1, (NUM_ROWS, 1, 1)) * np.ones(values.shape)
    return Tensor(values, values != 0, 0, costs)


def measure(reads: Float64) -> tuple[Float64, Float64, Float64]:
    """Mean and deviation of each weight over columns and reads, and the deviation's error."""
    mean = reads.mean(axis=(0, 3))
    centred = reads - mean[None, :, :, None]
    variance = np.square(centred).mean(axis=(0, 3))
    kurtosis = (centred**4).mean(axis=(0, 3)) / np.maximum(variance**2, 1e-300)
    count = reads.shape[0] * reads.shape[3]
    return mean, np.sqrt(variance), np.sqrt(variance * np.maximum(kurtosis - 1, 0) / (4 * count))


def read_stored(stored: StoredTensor, shape: tuple[int, ...]) -> Float64:
    reads = [
        cells.read(stored.blob, write_seed=seed, read_seed=seed).reshape(shape)
        for seed in range(NUM_READS)
    ]
    return np.asarray(reads, np.float64)


@pytest.mark.parametrize("name", FLAGS)
def test_moments_are_those_of_reads_by_the_core(name: str) -> None:
    from wl_onnx.finetune.device_noise import NoisyRead

    # Levels so fine that their rounding is nothing: training leaves it out.
    storage = Storage(**{"device": PCM, "write_bits": 16, **FLAGS[name]})
    tensor = make_tensor()
    if "sparsity" not in storage.protect:
        tensor = dataclasses.replace(tensor, kept=np.ones(tensor.weights.shape, bool))
    writer = CellWriter(storage)
    expected, spread, spread_error = measure(
        read_stored(writer.store(tensor), tensor.weights.shape)
    )
    noisy = NoisyRead(writer, costs=tensor.costs, seed=7)
    weight = torch.from_numpy(tensor.weights).float()
    found, own_spread, own_error = measure(
        np.stack([noisy(weight).double().numpy() for _ in range(NUM_READS)])
    )

    count = NUM_READS * NUM_EACH
    width = np.abs(tensor.weights).max()
    # What is known of a read on average leaves out what moves all weights of a tensor at once: the
    # reference read, and that small weights drift otherwise than the reference.
    shift = 0.003 * width if storage.device.has_drift else 0.001 * width
    error = np.hypot(spread, own_spread) / np.sqrt(count)
    assert (np.abs(found - expected) <= 4 * error + shift).all()
    # The errors are normal, those of reads are skewed where conductances are small.
    slack = 4 * np.hypot(spread_error, own_error) + 0.06 * spread + 0.001 * width
    assert (np.abs(own_spread - spread) <= slack).all()
    zeros = tensor.weights[..., 0] == 0
    assert ((own_spread[zeros] == 0) == ("sparsity" in storage.protect)).all()
