from __future__ import annotations

import json
import math
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from wl_onnx.analog import Device, TableDevice, cell_capacity, gaussian, load_table
from wl_onnx.errors import InputError

CSV = """# measured in the dark
level,mean [uS],deviation [uS],read_deviation [uS]
0,0.4,0.3,0.1
0.25,6,0.5,0.2

1,20,1.5,0.4
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cell.csv"


def load(path: Path, text: str) -> TableDevice:
    path.write_text(text, encoding="utf-8")
    return load_table(path)


def test_a_csv_is_read(path: Path) -> None:
    device = load(path, CSV)
    assert isinstance(device, Device)
    assert (device.name, device.source) == ("cell.csv", str(path))
    np.testing.assert_array_equal(device.levels, [0, 0.25, 1])
    np.testing.assert_array_equal(device.means_usiemens, [0.4, 6, 20])
    np.testing.assert_array_equal(device.deviations_usiemens, [0.3, 0.5, 1.5])
    np.testing.assert_array_equal(device.read_deviations_usiemens, [0.1, 0.2, 0.4])
    assert device.g_max_usiemens == 20


@pytest.mark.parametrize(
    "text",
    [
        CSV.replace(",", ";"),
        CSV.replace(",", "\t"),
        "\ufeff" + CSV,
        CSV.replace("[uS]", "(µS)"),
        CSV.replace("level,", " level , ").replace("\n", "\r\n"),
    ],
)
def test_other_ways_to_write_a_csv(path: Path, text: str) -> None:
    assert load(path, text).record() == load(path, CSV).record()


def test_units_are_converted_and_read_noise_may_be_left_out(path: Path) -> None:
    device = load(path, "level,mean [nS],deviation [mS]\n0,0,0.001\n1,2000,0.002\n")
    np.testing.assert_allclose(device.means_usiemens, [0, 2])
    np.testing.assert_allclose(device.deviations_usiemens, [1, 2])
    np.testing.assert_array_equal(device.read_deviations_usiemens, 0)


def test_json_has_the_same_columns(path: Path) -> None:
    columns = {
        "level": [0, 0.25, 1],
        "mean [uS]": [0.4, 6, 20],
        "deviation [uS]": [0.3, 0.5, 1.5],
        "read_deviation [uS]": [0.1, 0.2, 0.4],
    }
    device = load(path.with_suffix(".json"), json.dumps(columns))
    assert device.record() == load(path, CSV).record()


def test_the_record_holds_the_columns_one_after_another(path: Path) -> None:
    record = load(path, CSV).record()
    assert struct.unpack_from("<BI", record) == (2, 3)
    np.testing.assert_array_equal(
        np.frombuffer(record, "<f4", offset=5),
        np.float32([0, 0.25, 1, 0.4, 6, 20, 0.3, 0.5, 1.5, 0.1, 0.2, 0.4]),
    )


def test_moments_and_distribution_are_those_of_many_draws(path: Path) -> None:
    device = load(path, CSV)
    x = np.array([0.0, 0.1, 0.25, 0.8, 1.0])
    count = 200_000
    rng = np.random.default_rng(2)
    cells = device.program(np.repeat(x[:, None], count, axis=1), rng=rng)
    reads = device.read(cells, 0.0, rng=rng)
    mean, deviation = device.moments(x, 0.0)
    assert (np.abs(reads.mean(axis=1) - mean) < 4.5 * deviation / math.sqrt(count)).all()
    assert (np.abs(reads.std(axis=1) / deviation - 1) < 4.5 / math.sqrt(2 * count)).all()
    written = cells.conductances_usiemens.mean(axis=1)
    limit = 4.5 * deviation / math.sqrt(count)
    assert (np.abs(device.mean_response(x, 0.0) - written) < limit).all()
    limits = np.linspace(0, 25, 200)
    shares = np.stack([np.searchsorted(np.sort(row), limits, side="right") for row in reads])
    found = device.read_cdf(x, 0.0, limits)
    assert np.abs(found - shares / count).max() < 2.23 / math.sqrt(count) + 1e-3


def test_a_table_of_a_preset_has_its_capacity() -> None:
    table = TableDevice("t", [0, 1], [0, 25], [1.25, 1.25], [0, 0])
    assert cell_capacity(table).bits == pytest.approx(cell_capacity(gaussian(0.05)).bits, abs=1e-3)
    noisy = TableDevice("t", [0, 1], [0, 25], [1.25, 1.25], [1.0, 1.0])
    assert cell_capacity(noisy).bits < cell_capacity(table).bits - 0.2
    assert cell_capacity(noisy.without_read_noise()).bits == cell_capacity(table).bits
    assert noisy.without_drift() is noisy


BAD_LINES = {
    "0,0.4,0.3,0.1": [
        ("0.1,0.4,0.3,0.1", "the first level must be 0, got 0.1 in line 3"),
        ("0,,0.3,0.1", "each mean must be a finite number, got a gap in line 3"),
    ],
    "0.25,6,0.5,0.2": [
        ("0.25,6,0.5", "line 4 must have 4 values, got 3"),
        ("0.25,nan,0.5,0.2", "each mean must be a finite number, got nan in line 4"),
        ("0.25,six,0.5,0.2", "each mean must be a finite number, got six in line 4"),
        ("0.25,6,-0.5,0.2", "each deviation must be finite and not negative, got -0.5 in line 4"),
        ("0.25,6,0.5,inf", "each read_deviation must be a finite number, got inf in line 4"),
        ("0,6,0.5,0.2", "levels must rise, got 0 after 0 in line 4"),
        ("1.5,6,0.5,0.2", "levels must rise, got 1 after 1.5 in line 6"),
        ("0.25,0.2,0.5,0.2", "means must not fall from level to level, got 0.2 after 0.4 in line"),
    ],
    "1,20,1.5,0.4": [("0.9,20,1.5,0.4", "the last level must be 1, got 0.9 in line 6")],
    "level,mean [uS]": [
        ("level,mean", "the unit of mean must be S, mS, uS or nS, as in mean [uS], got none"),
        ("level,mean [A]", "the unit of mean must be S, mS, uS or nS, as in mean [uS], got A"),
        ("level [uS],mean [uS]", "levels must be shares of the range, without a unit, got uS"),
        ("level,volume [uS]", "columns must be level, mean, deviation, read_deviation, got 'vol"),
        ("level,deviation [mS]", "there must be one column deviation, got two"),
    ],
}


@pytest.mark.parametrize(
    ("line", "changed", "message"),
    [(line, changed, message) for line, cases in BAD_LINES.items() for changed, message in cases],
)
def test_a_bad_row_is_named(path: Path, line: str, changed: str, message: str) -> None:
    assert line in CSV
    with pytest.raises(
        InputError, match=re.escape(f"cannot use table {path}: {message}")
    ) as raised:
        load(path, CSV.replace(line, changed))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there must be a header"),
        ("# nothing\n", "there must be a header"),
        ("level,mean [uS]\n0,1\n1,2\n", "there must be a column deviation"),
        ("level,mean [uS],deviation [uS]\n0,1,1\n", "there must be 2 to 65536 levels, got 1"),
        ('level,mean [uS],deviation [uS]\n0,"1,1\n', "rows must be separated values"),
    ],
)
def test_a_csv_that_is_no_table(path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the file must be JSON"),
        ("[1, 2]", "an object of lists"),
        ('{"level": [0, 1], "mean [uS]": [1]}', "lists must have the same length, got level 2"),
        (
            '{"level": [0, 1], "mean [uS]": [null, 1], "deviation [uS]": [0, 0]}',
            "each mean must be a finite number, got a gap in entry 1",
        ),
        (
            '{"level": [0, 1], "mean [uS]": [0, 1], "deviation [uS]": [0, NaN]}',
            "each deviation must be a finite number, got nan in entry 2",
        ),
        ('{"level": [0, 1], "mean [uS]": [0, true], "deviation [uS]": [0, 0]}', "got True in en"),
    ],
)
def test_json_that_is_no_table(path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(path.with_suffix(".json"), text)


def test_a_file_that_is_not_there(path: Path) -> None:
    with pytest.raises(InputError, match=r"the file must be readable, got No such file"):
        load_table(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="the file must be text"):
        load_table(path)


def test_columns_of_different_length() -> None:
    with pytest.raises(InputError, match="all columns must have the same length"):
        TableDevice("t", [0, 1], [0, 1, 2], [0, 0], [0, 0])
