"""Damaged and lying records of devices, and cells that cannot be: one clear line each."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest

from tests.devices import LEVELS, NANDAKUMAR, RECORDS, pcm_record, table_record
from wl_onnx.errors import BlobError, InputError
from wl_onnx.kernels import noise

FIELDS = [
    "g_max", "p0", "p1", "p2", "mean slope", "mean intercept", "mean low", "mean high",
    "spread slope", "spread intercept", "spread low", "spread high", "t0", "scale", "exponent",
    "floor", "cap", "t_read", "read deviation",
]  # fmt: skip


def refusal(record: bytes) -> str:
    """The message that both uses of a record refuse it with."""
    with pytest.raises(BlobError) as programmed:
        noise.program_cells(record, 8, np.zeros(3, np.uint16), write_seed=1)
    with pytest.raises(BlobError) as asked:
        noise.mean_response(record, [0.5])
    message = str(programmed.value).removeprefix("cannot program cells: ")
    assert str(asked.value) == f"cannot tell a device's response: {message}"
    assert " must " in message
    assert ", got " in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", RECORDS)
def test_every_prefix_is_refused(name: str) -> None:
    for size in range(len(RECORDS[name])):
        refusal(RECORDS[name][:size])


@pytest.mark.parametrize("name", RECORDS)
def test_bytes_behind_a_record_are_refused(name: str) -> None:
    assert "must end at byte" in refusal(RECORDS[name] + b"\0")


@pytest.mark.parametrize("kind", [0, 3, 255])
def test_other_kinds_are_refused(kind: int) -> None:
    record = bytes([kind]) + RECORDS["nandakumar"][1:]
    assert refusal(record).startswith(
        f"the device record must begin with kind 1 or 2, got {kind} of"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2e12])
@pytest.mark.parametrize("field", FIELDS)
def test_numbers_that_are_none(field: str, value: float) -> None:
    values = list(NANDAKUMAR)
    values[FIELDS.index(field)] = value
    message = refusal(pcm_record(tuple(values)))
    assert message.endswith(f"at byte {1 + 4 * FIELDS.index(field)}")


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("g_max", 0.0, "largest conductance must be from 1e-12"),
        ("g_max", -25.0, "largest conductance must be from 1e-12"),
        ("t0", 0.0, "t0 must be from 1e-12"),
        ("t_read", 0.0, "read time must be from 1e-12"),
        ("t_read", -1.0, "read time must be from 1e-12"),
        ("spread low", -0.001, "drift deviation must be at least 0"),
        ("spread high", -0.001, "drift deviation must be at least 0"),
        ("scale", -0.001, "read noise must be at least 0"),
        ("floor", -0.001, "floor of at least 0"),
        ("cap", -0.001, "cap of at least 0"),
        ("read deviation", -0.001, "read deviation must be at least 0"),
        ("mean low", 0.2, "lower limit that is at most the upper one, got 0.2"),
        ("spread low", 0.05, "lower limit that is at most the upper one, got 0.05"),
    ],
)
def test_lies_of_a_formula(field: str, value: float, rule: str) -> None:
    values = list(NANDAKUMAR)
    values[FIELDS.index(field)] = value
    assert rule in refusal(pcm_record(tuple(values)))


@pytest.mark.parametrize(
    ("row", "column", "value", "rule"),
    [
        (0, 0, 0.1, "levels must rise from 0 to 1, got 0.1 "),
        (0, 4, 0.95, "levels must rise from 0 to 1, got 0.95"),
        (0, 2, 0.25, "levels must rise from 0 to 1, got 0.25 "),
        (0, 2, 0.2, "levels must rise from 0 to 1, got 0.2"),
        (0, 2, math.nan, "levels must rise from 0 to 1, got nan"),
        (0, 4, 1.5, "levels must rise from 0 to 1, got 1.5"),
        (1, 3, -0.5, "means must be at least 0 uS and at most 1e12, got -0.5"),
        (1, 3, math.inf, "means must be at least 0 uS and at most 1e12, got inf"),
        (2, 0, -0.5, "deviations must be at least 0 uS and at most 1e12, got -0.5"),
        (2, 4, math.nan, "deviations must be at least 0 uS and at most 1e12, got nan"),
        (3, 1, -0.5, "read deviations must be at least 0 uS and at most 1e12, got -0.5"),
        (3, 1, 2e12, "read deviations must be at least 0 uS and at most 1e12, got 2e+12"),
    ],
)
def test_lies_of_a_table(row: int, column: int, value: float, rule: str) -> None:
    table = LEVELS.copy()
    table[row, column] = value
    message = refusal(table_record(table))
    assert rule in message
    assert message.endswith(f"at byte {5 + 4 * (5 * row + column)}")


def test_a_table_without_conductance_is_refused() -> None:
    table = LEVELS.copy()
    table[1] = 0
    assert "largest mean must be above 0 uS, got 0" in refusal(table_record(table))


@pytest.mark.parametrize("num_levels", [0, 1, 6, 65537, 2**28, 2**30, 2**32 - 1])
def test_counts_that_lie_allocate_nothing(num_levels: int) -> None:
    record = b"\x02" + struct.pack("<I", num_levels) + RECORDS["table"][5:]
    assert f"got {num_levels} levels and 80 bytes" in refusal(record)


@pytest.mark.usefixtures("_target")
@pytest.mark.parametrize("name", ["nandakumar", "table"])
def test_every_changed_byte_is_refused_or_harmless(name: str) -> None:
    levels = np.arange(96).astype(np.uint16)
    for place in range(len(RECORDS[name])):
        for change in (0x01, 0x80, 0x7F, 0xFF):
            record = bytearray(RECORDS[name])
            record[place] ^= change
            try:
                cells = noise.program_cells(bytes(record), 8, levels, write_seed=1, time_s=1e9)
            except BlobError:
                continue
            reads = noise.read_cells(*cells, read_seed=1)
            assert np.isfinite([*cells, reads]).all(), record.hex()
            assert min(array.min() for array in (*cells, reads)) >= 0, record.hex()


@pytest.mark.parametrize("time_s", [-1.0, math.nan, math.inf, 1.001e12])
def test_times_that_cannot_be(time_s: float) -> None:
    with pytest.raises(InputError, match=r"must be from 0 to 1e12 s, got "):
        noise.mean_response(RECORDS["nandakumar"], 0.5, time_s=time_s)
    with pytest.raises(InputError, match=r"must be from 0 to 1e12 s, got "):
        noise.program_cells(
            RECORDS["table"], 8, np.zeros(1, np.uint16), write_seed=1, time_s=time_s
        )


@pytest.mark.parametrize("target", [-1e-9, 1.001, math.nan])
def test_targets_that_cannot_be(target: float) -> None:
    with pytest.raises(InputError, match="a target must be from 0 to 1, got "):
        noise.mean_response(RECORDS["table"], [0.5, target])


def test_levels_and_cells_that_cannot_be() -> None:
    levels = np.array([0, 15, 16, 3], np.uint16)
    with pytest.raises(InputError, match="a level must be below 16, got 16 at cell 2"):
        noise.program_cells(RECORDS["table"], 4, levels, write_seed=1)
    for write_bits in (0, 17, -1):
        with pytest.raises(InputError, match="write bits must be 1 to 16"):
            noise.program_cells(RECORDS["table"], write_bits, levels, write_seed=1)
    with pytest.raises(InputError, match="must have the same size"):
        noise.read_cells(np.zeros(3, np.float32), np.zeros(4, np.float32), read_seed=1)
    for first in (2**64 - 65, 2**64 - 1):
        with pytest.raises(InputError, match="the last cell must be below"):
            noise.draw_normals(1, 2, 3, first, 2)
