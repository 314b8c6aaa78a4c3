from __future__ import annotations

import pytest

from tests.pages import read_page
from wl_onnx.report.svg import chart, element, percent, round_ticks, text, titled

HOSTILE = "<script>alert(1)</script> \"]]> & ' onload=x"


def test_whatever_stands_in_a_picture_is_text() -> None:
    drawn = chart(HOSTILE, 10, titled(HOSTILE, element("rect", id=HOSTILE)), text(HOSTILE, x="0%"))
    root = read_page(drawn)
    assert not root.all("script")
    (svg,) = root.all("svg")
    assert svg.attributes["aria-label"] == HOSTILE
    assert svg.all("rect")[0].attributes["id"] == HOSTILE
    assert svg.all("title")[0].children == [HOSTILE]
    assert svg.all("text")[0].children == [HOSTILE]


def test_numbers_are_short_and_none_leaves_an_attribute_out() -> None:
    assert element("line", x1=1.0, y1=2 / 3, class_=None) == '<line x1="1" y1="0.667"/>'


@pytest.mark.parametrize(
    ("share", "shown"), [(0.0, "0%"), (1.0, "100%"), (1 / 3, "33.3333%"), (1e-9, "0%")]
)
def test_shares(share: float, shown: str) -> None:
    assert percent(share) == shown


@pytest.mark.parametrize(
    ("low", "high", "count", "ticks"),
    [
        (0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-0.31, 0.29, 4, [-0.2, 0, 0.2]),
        (3, 8, 2, [5]),
        (0, 1e-6, 2, [0, 5e-7, 1e-6]),
        (-2000, 9000, 4, [0, 5000]),
    ],
)
def test_ticks_are_round_and_inside(
    low: float, high: float, count: int, ticks: list[float]
) -> None:
    assert round_ticks(low, high, count) == pytest.approx(ticks)
