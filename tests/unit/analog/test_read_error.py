"""What is said of reads, against reads of the compiled core."""

from __future__ import annotations

import numpy as np
import pytest

from wl_onnx.analog import Device, TableDevice, find_device
from wl_onnx.analog.curve import apply_curve
from wl_onnx.analog.read_error import ReadPredictor, find_reference_level
from wl_onnx.codecs import cells
from wl_onnx.codecs.cells import CellTensor, Symbol

TABLE = TableDevice(
    "table",
    [0.0, 0.25, 0.5, 0.75, 1.0],
    [0.5, 4.0, 11.0, 15.0, 20.0],
    [0.25, 1.0, 0.5, 0.8, 0.5],
    [0.0, 0.1, 0.3, 0.2, 0.1],
)
DEVICES: dict[str, Device] = {
    name: find_device(name) for name in ("pcm-nandakumar2019", "pcm-joshi2020", "gaussian")
} | {"table": TABLE}
NUM_POSITIONS, NUM_EACH, NUM_WRITES = 9, 2000, 8


def read(
    device: Device, time_s: float, curve: float, inverts: bool, compensates: bool, num_cells: int
) -> np.ndarray:
    """Errors of positions 0, 1/8, ..., 1: [positions, reads]."""
    rng = np.random.default_rng(0)
    order = rng.permutation(NUM_POSITIONS * NUM_EACH)
    positions = np.repeat(np.linspace(0, 1, NUM_POSITIONS), NUM_EACH)[order]
    targets = apply_curve(positions, curve)
    blob = cells.encode(
        CellTensor(
            num_weights=positions.size,
            symbols=[Symbol(0.0, 1.0, curve, num_cells)],
            labels=None,
            levels=np.rint(targets * 65535).astype(np.uint16),
            device_record=device.record(),
            write_bits=16,
            inverts_response=inverts,
            compensates_drift=compensates,
            time_s=time_s,
            reference_level=find_reference_level(device, targets, time_s),
        )
    )
    errors = [
        cells.read(blob, write_seed=seed, read_seed=seed) - positions for seed in range(NUM_WRITES)
    ]
    back = np.argsort(order)
    grouped = [one[back].reshape(NUM_POSITIONS, NUM_EACH) for one in errors]
    return np.concatenate(grouped, axis=1)


CASES = [
    (name, time_s, curve, inverts, compensates)
    for name, device in DEVICES.items()
    for time_s in ((20.0, 86400.0) if device.has_drift else (0.0,))
    for curve in (0.0, 1.5)
    for inverts in (True, False)
    for compensates in ((True, False) if device.has_drift else (False,))
]


@pytest.mark.parametrize(("name", "time_s", "curve", "inverts", "compensates"), CASES)
@pytest.mark.parametrize("num_cells", [1, 4])
def test_bias_and_deviation_are_those_of_the_core(
    name: str, time_s: float, curve: float, inverts: bool, compensates: bool, num_cells: int
) -> None:
    device = DEVICES[name]
    errors = read(device, time_s, curve, inverts, compensates, num_cells)
    told = ReadPredictor(
        device, time_s, inverts_response=inverts, compensates_drift=compensates
    ).predict(curve)
    positions = np.linspace(0, 1, NUM_POSITIONS)
    bias = np.interp(positions, told.positions, told.bias + told.bend / num_cells)
    deviation = np.interp(positions, told.positions, told.deviation) / np.sqrt(num_cells)
    standard_error = deviation / np.sqrt(errors.shape[1])
    # The model: reads are normal but for the cut at 0, levels that drift otherwise than the
    # reference are compensated like it (0.005), and a curve is straight over a deviation of the
    # mean of several cells (0.01 beside a deviation of 0.05 to 0.1).
    model = 0.003 + (0.01 if curve else 0.002) * (num_cells > 1)
    assert (np.abs(errors.mean(axis=1) - bias) < 4 * standard_error + model).all()
    measured = errors.std(axis=1)
    slack = (0.06 if num_cells == 1 else 0.16) * deviation + 0.001
    assert (np.abs(measured - deviation) < 3 * standard_error + slack).all()
    energy = np.square(errors).mean(axis=1)
    np.testing.assert_allclose(told.energy(positions, num_cells), energy, rtol=0.3, atol=2e-5)
    total = told.energy(positions, num_cells).sum()
    assert total == pytest.approx(energy.sum(), rel=0.08)


def test_pairs_take_the_bias_of_zero_away() -> None:
    told = ReadPredictor(find_device("gaussian"), 0.0, inverts_response=False).predict(0.0)
    errors = read(find_device("gaussian"), 0.0, 0.0, False, False, 1)
    minus = np.random.default_rng(3).permutation(errors[0])
    energy = np.square(errors - minus).mean(axis=1)[1:]
    positions = np.linspace(0, 1, NUM_POSITIONS)[1:]
    np.testing.assert_allclose(told.pair_energy(positions), energy, rtol=0.05)
    assert told.pair_energy(np.zeros(1)) == pytest.approx(2 * told.deviation[0] ** 2)


def test_a_device_without_noise_makes_no_error() -> None:
    told = ReadPredictor(find_device("gaussian:0"), 0.0).predict(1.0)
    positions = np.linspace(0, 1, 33)
    np.testing.assert_allclose(told.energy(positions), 0, atol=1e-9)


def test_the_reference_drifts_as_the_sum_of_its_cells() -> None:
    device = find_device("pcm-nandakumar2019")
    rng = np.random.default_rng(1)
    for targets in (rng.uniform(0, 1, 500), rng.uniform(0, 0.05, 500), np.full(9, 0.8)):
        level = np.array([find_reference_level(device, targets, 86400.0)])
        now, before = (device.mean_response(targets, t).sum() for t in (86400.0, 0.0))
        own = device.mean_response(level, 86400.0) / device.mean_response(level, 0.0)
        assert own[0] == pytest.approx(now / before, rel=0.01)
    assert find_reference_level(device, np.zeros(0), 86400.0) == 0.5
    assert find_reference_level(TABLE, targets, 86400.0) == 0.5
