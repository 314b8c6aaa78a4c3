from __future__ import annotations

import pytest

from wl_onnx.durations import format_duration, parse_duration, parse_durations
from wl_onnx.errors import InputError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20s", 20),
        ("0s", 0),
        ("1.5m", 90),
        ("1h", 3600),
        (" 2 d ", 172800),
        ("1Y", 31536000),
        ("1e-3s", 0.001),
        ("1e+2s", 100),
    ],
)
def test_a_number_with_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "20", "s", "-1s", "1w", "1 day", "nans", "1.2.3s", "1e999s", ".s", "1ms"]
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(InputError, match="must be a number with s, m, h, d or y"):
        parse_duration(text)


def test_a_list_is_sorted_and_has_each_time_once() -> None:
    assert parse_durations("1d, 20s,24h,1h") == (20, 3600, 86_400)
    with pytest.raises(InputError, match="cannot use time ''"):
        parse_durations("1d,")


@pytest.mark.parametrize("text", ["20s", "1m", "1h", "1d", "30d", "1y", "90s", "0s", "0.5s"])
def test_a_duration_comes_back_as_it_was_written(text: str) -> None:
    assert format_duration(parse_duration(text)) == text
