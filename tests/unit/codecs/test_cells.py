from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from tests.cells import small_tensor
from tests.devices import JOSHI, NANDAKUMAR, RECORDS, pcm_record
from wl_onnx.codecs import cells
from wl_onnx.codecs.cells import CellTensor, Lines, Symbol
from wl_onnx.errors import BlobError, InputError

NOISELESS = pcm_record((25.0, *(0.0,) * 11, 20.0, *(0.0,) * 4, 1.0, 0.0))


def tensor_of(targets: list[int], **changes: object) -> CellTensor:
    fields: dict[str, object] = {
        "num_weights": len(targets),
        "symbols": [Symbol(-1.0, 1.0)],
        "labels": None,
        "levels": np.array(targets),
        "device_record": NOISELESS,
        "write_bits": 2,
    }
    return CellTensor(**(fields | changes))  # type: ignore[arg-type]


def test_targets_by_hand() -> None:
    blob = cells.encode(tensor_of([0, 1, 2, 3], scale=3.0))
    np.testing.assert_allclose(cells.decode(blob), [-3, -1, 1, 3], rtol=1e-6)
    np.testing.assert_allclose(cells.read(blob), [-3, -1, 1, 3], rtol=1e-5)


def test_a_curve_by_hand() -> None:
    # Position 1/2 of a curve of 2 is the target (e - 1) / (e^2 - 1) = 0.269, level 68.6 of 255.
    blob = cells.encode(tensor_of([69], symbols=[Symbol(0.0, 1.0, 2.0)], write_bits=8))
    assert cells.decode(blob)[0] == pytest.approx(0.5, abs=0.003)
    assert cells.read(blob)[0] == pytest.approx(0.5, abs=0.01)


def test_a_pair_and_channels_by_hand() -> None:
    blob = cells.encode(
        tensor_of(
            [3, 0, 1, 0, 0, 2, 1, 3],
            num_weights=4,
            is_pair=True,
            symbols=[Symbol(0.0, 1.0)],
            channel_scales=np.array([1.0, 2.0]),
            channel_inner=2,
        )
    )
    np.testing.assert_allclose(cells.decode(blob), [1, -2 / 3, 0, -2], atol=1e-6)
    np.testing.assert_allclose(cells.read(blob), [1, -2 / 3, 0, -2], atol=1e-5)


def test_exponents_share_out_cells_by_hand() -> None:
    columns = Lines(np.array([8, 10, 6, 0]), 1)
    blob = cells.encode(tensor_of([0] * 8, symbols=[Symbol(0, 1, 0, 3)], column_exponents=columns))
    assert cells.inspect(blob).num_cells == 2 * (3 + 6 + 2 + 1)
    rows = Lines(np.array([15, 8]), 4)
    blob = cells.encode(
        tensor_of([0] * 8, symbols=[Symbol(0, 1, 0, 3)], row_exponents=rows,
                  column_exponents=columns)
    )  # fmt: skip
    assert cells.inspect(blob).num_cells == 34 + 64 + 17 + 2 + 12


def test_more_cells_average_the_noise() -> None:
    errors = []
    for count in (1, 16):
        tensor = tensor_of(
            [128] * 4000, symbols=[Symbol(0, 1, 0, count)], write_bits=8,
            device_record=RECORDS["joshi"],
        )  # fmt: skip
        blob = cells.encode(tensor)
        errors.append(float((cells.read(blob, read_seed=1) - cells.decode(blob)).std()))
    g = 25 * 128 / 255
    sigma = (JOSHI[1] + 0.07585724 * g - 0.00178767 * g * g) / 25
    assert errors[0] == pytest.approx(sigma, rel=0.05)  # 4.5 standard errors
    assert errors[1] == pytest.approx(sigma / 4, rel=0.05)


@pytest.mark.parametrize("inverts", [False, True])
def test_compensation_undoes_the_drift(inverts: bool) -> None:
    rng = np.random.default_rng(3)
    targets = rng.integers(64, 256, 8000)
    means = {}
    for compensates in (False, True):
        blob = cells.encode(
            tensor_of(
                targets, symbols=[Symbol(0, 1)], write_bits=8, device_record=RECORDS["nandakumar"],
                compensates_drift=compensates, inverts_response=inverts,
            )
        )  # fmt: skip
        shares = cells.read(blob, read_seed=1, time_s=30 * 86400.0) / cells.decode(blob)
        means[compensates] = float(shares.mean())
    assert means[False] < 0.75  # about 130,000^-0.05
    assert means[True] == pytest.approx(1, abs=0.01)


def test_a_zero_is_exactly_positive_zero() -> None:
    tensor = dataclasses.replace(
        small_tensor(), symbols=[Symbol(-0.0, 0, 0, 0), *small_tensor().symbols[1:]]
    )
    read = cells.read(cells.encode(tensor), read_seed=4)
    zeros = read[np.asarray(tensor.labels) == 0]
    assert zeros.size > 0
    assert (zeros.view(np.uint32) == 0).all()


def test_reads_differ_by_seed_and_by_call() -> None:
    blob = cells.encode(small_tensor())
    read = cells.read(blob, read_seed=1)
    assert (cells.read(blob, read_seed=1) == read).all()
    assert (cells.read(blob, read_seed=2) != read).sum() > 20
    assert (cells.read(blob, read_seed=1, write_seed=3) != read).sum() > 20
    assert (cells.read(blob, read_seed=1, time_s=0) != read).sum() > 20
    assert (cells.read(blob) != cells.read(blob)).sum() > 20


def test_tensors_of_other_numbers_draw_other_noise() -> None:
    reads = [
        cells.read(cells.encode(dataclasses.replace(small_tensor(), tensor=number)), read_seed=1)
        for number in (0, 1, 2**32 - 1)
    ]
    assert (reads[0] != reads[1]).sum() > 20
    assert (reads[0] != reads[2]).sum() > 20


def test_what_a_blob_says_of_itself() -> None:
    info = cells.inspect(cells.encode(small_tensor()))
    counts = np.bincount(np.asarray(small_tensor().labels), minlength=3)
    assert (info.num_weights, info.symbol_counts) == (60, tuple(counts))
    assert info.num_stored == counts[1] + counts[2]
    assert (info.num_symbols, info.num_channels, info.write_bits) == (3, 3, 5)
    assert (info.is_pair, info.inverts_response, info.compensates_drift) == (False, True, True)
    assert (info.tensor, info.write_seed, info.time_s) == (3, 2**63 + 5, 3600.0)
    assert (info.g_max, info.has_drift) == (NANDAKUMAR[0], True)
    fixed = 32 + 32 + 3 * 16 + 3 * 56 + 4 * (3 + 1)
    assert info.digital_bits == fixed + info.label_bits


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_weights": 0}, "num_weights must be from 1 to 4294967295, got 0"),
        ({"write_bits": 0}, "write_bits must be from 1 to 16, got 0"),
        ({"write_bits": 17}, "write_bits must be from 1 to 16, got 17"),
        ({"write_bits": 1}, "levels must be from 0 to 1, got 0 to 3"),
        ({"tensor": -1}, "tensor must be from 0 to 4294967295, got -1"),
        ({"write_seed": 2**64}, "write_seed must be from 0 to .*, got 18446744073709551616"),
        ({"time_s": -1.0}, "time_s must be from 0 to .*, got -1.0"),
        ({"time_s": math.nan}, "time_s must be from 0 to .*, got nan"),
        ({"reference_level": 2.0}, "reference_level must be from 0 to 1, got 2.0"),
        ({"scale": 0.0}, "scale must be above 0 and finite as float32, got 0.0"),
        ({"scale": math.inf}, "scale must be above 0 and finite as float32, got inf"),
        ({"symbols": []}, "the number of symbols must be from 1 to 255, got 0"),
        ({"symbols": [Symbol(0, 1)] * 256}, "the number of symbols must be .*, got 256"),
        ({"symbols": [Symbol(0, 1)] * 2}, "labels must be given with several symbols, got None"),
        ({"symbols": [Symbol(0, 7e4)]}, "high of symbol 0 must be finite as float16, got 70000"),
        ({"symbols": [Symbol(math.nan, 1)]}, "low of symbol 0 must be finite as float16, got nan"),
        ({"symbols": [Symbol(0, 1, 9)]}, "curve of symbol 0 must be from -8.0 to 8.0, got 9"),
        ({"symbols": [Symbol(0, 1, 0, 65)]}, "cells of symbol 0 must be from 0 to 64, got 65"),
        ({"labels": np.zeros(3, int)}, r"labels must be integers \[4\], got int64 \[3\]"),
        ({"labels": np.ones(4, int)}, "labels must be from 0 to 0, got 1 to 1"),
        ({"labels": np.zeros(4)}, r"labels must be integers \[4\], got float64 \[4\]"),
        ({"levels": np.zeros(3, int)}, r"levels must be integers \[4\], got int64 \[3\]"),
        ({"levels": np.full(4, -1)}, "levels must be from 0 to 3, got -1 to -1"),
        ({"is_pair": True}, r"levels must be integers \[8\], got int64 \[4\]"),
        ({"channel_scales": np.array([1, -1])}, "channel_scales must be above 0 and finite"),
        ({"channel_scales": np.array([1, 1e9])}, "channel_scales must be above 0 and finite"),
        ({"channel_scales": np.ones((2, 2))}, r"channel_scales must be floats \[c\]"),
        ({"channel_scales": np.ones(2), "channel_inner": 0}, "channel_inner must be from 1 to"),
        ({"row_exponents": Lines(np.array([16]), 1)}, "row_exponents must be from 0 to 15"),
        ({"row_exponents": Lines(np.array([], int), 1)}, "row_exponents must be integers"),
        ({"column_exponents": Lines(np.array([1]), 0)}, "inner of column_exponents must be from"),
        ({"device_record": b""}, "the device record"),
        ({"device_record": pcm_record(NANDAKUMAR)[:-1]}, "the device record"),
        ({"device_record": pcm_record(NANDAKUMAR) + b"0"}, "no bytes left over, got 1"),
    ],
)
def test_what_cannot_be_encoded(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=f"^cannot encode cells: .*{message}"):
        cells.encode(tensor_of([0, 1, 2, 3], **changes))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"read_seed": -1}, "read_seed must be from 0 to 9223372036854775807, got -1"),
        ({"write_seed": 2**64}, "write_seed must be from 0 to .*, got 18446744073709551616"),
        ({"time_s": -1.0}, "time_s must be from 0 to 1000000000000.0, got -1.0"),
        ({"time_s": math.nan}, "time_s must be from 0 to 1000000000000.0, got nan"),
    ],
)
def test_what_cannot_be_read(arguments: dict[str, float], message: str) -> None:
    blob = cells.encode(small_tensor())
    with pytest.raises(InputError, match=f"^cannot read cells: {message}"):
        cells.read(blob, **arguments)  # type: ignore[arg-type]


def test_outputs_that_do_not_fit() -> None:
    blob = cells.encode(small_tensor())
    with pytest.raises(InputError, match="the output must have 60 elements of 4 bytes, got 236"):
        cells.decode_into(blob, np.empty(59, np.float32), onnx_type=1)
    with pytest.raises(InputError, match="the element type must be 1, 10, 11 or 16, got 2"):
        cells.decode_into(blob, np.empty(60, np.float32), onnx_type=2)
    with pytest.raises(BlobError, match="cannot read blob: "):
        cells.parse(b"WLOX")
