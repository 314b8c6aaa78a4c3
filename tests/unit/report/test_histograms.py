from __future__ import annotations

import numpy as np
import pytest

from tests.pages import read_page, width_of
from wl_onnx.report.histogram_chart import draw_histogram
from wl_onnx.report.histograms import MAX_LEVELS, count_values


def test_every_weight_is_counted_once() -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(size=(50, 40)).astype(np.float32)
    after = np.rint(before * 2).astype(np.float32) / 2
    counted = count_values("w", "palette", before, after)
    assert counted.before is not None
    assert counted.before.sum() == counted.after.sum() == 2000
    assert counted.levels is not None
    assert counted.level_counts is not None
    for level, count in zip(counted.levels, counted.level_counts, strict=True):
        assert count == (after == level).sum()
    assert counted.edges[0] == min(before.min(), after.min())


def test_many_values_are_binned() -> None:
    after = np.arange(MAX_LEVELS + 1, dtype=np.float32)
    counted = count_values("w", "analog", None, after)
    assert counted.before is None
    assert counted.levels is None
    assert counted.after.sum() == after.size


@pytest.mark.parametrize("value", [0.0, -3e38, 1e20, 1e-45])
def test_one_value_of_any_size(value: float) -> None:
    same = np.full(100, value, np.float32)
    counted = count_values("w", "palette", same, same)
    assert counted.before is not None
    assert counted.before.sum() == counted.after.sum() == 100
    circle = read_page(draw_histogram(counted)).all("circle")[0]
    assert circle.attributes["cx"] == "50%"


def test_odd_values() -> None:
    odd = np.array([np.nan, np.inf, 2.0, 2.0], np.float32)
    counted = count_values("w", "palette", odd, odd)
    assert counted.levels is not None
    assert counted.levels.tolist() == [2.0]
    assert counted.after.sum() == 2
    assert "<svg" in draw_histogram(counted)


def test_nothing_finite() -> None:
    counted = count_values("w", "palette", None, np.full(3, np.nan, np.float32))
    assert counted.after.sum() == 0
    assert "<svg" in draw_histogram(counted)


def test_centroids_stand_where_their_values_are_and_as_high_as_they_are_many() -> None:
    after = np.repeat(np.float32([-1.0, 0.0, 1.0]), [10, 1000, 100])
    drawn = read_page(draw_histogram(count_values("w", "palette", after, after)))
    levels = drawn.all("g", "level")
    places = [float(one.all("circle")[0].attributes["cx"].rstrip("%")) for one in levels]
    assert places[1] - places[0] == places[2] - places[1] > 40
    tops = [float(one.all("circle")[0].attributes["cy"]) for one in levels]
    assert tops[1] < tops[2] < tops[0]
    np.testing.assert_allclose(tops[0] - tops[2], tops[2] - tops[1], rtol=1e-3)  # decades
    assert [one.all("title")[0].text.split(":")[0] for one in levels] == ["-1", "0", "1"]
    assert "zero" in levels[1].classes
    bins = drawn.all("g", "before")[0].all("rect")
    assert len(bins) == 3
    assert all(width_of(one) < 0.02 for one in bins)
