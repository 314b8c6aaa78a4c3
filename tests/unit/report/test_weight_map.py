from __future__ import annotations

import re

import numpy as np
import pytest

from tests.unit.report.test_png import read_png
from wl_onnx.codecs import bloomier
from wl_onnx.report import weight_map
from wl_onnx.report.map_marks import draw_spots
from wl_onnx.report.weight_map import draw_error, draw_filter, find_stored_weights


def encode_largest(
    weights: np.ndarray, num_stored: int, bits: int
) -> tuple[np.ndarray, np.ndarray]:
    """The indices of the stored weights, and whether each weight decodes to a centroid."""
    stored = np.sort(np.argsort(np.abs(weights.ravel()), kind="stable")[-num_stored:])
    blob = bloomier.encode(
        stored, np.zeros(num_stored, int), num_weights=weights.size, codebook=[1.0], bits=bits
    )
    return stored, bloomier.decode(blob) != 0


def test_false_positives_are_what_is_no_key() -> None:
    weights = np.random.default_rng(0).normal(size=20_000).astype(np.float32)
    stored, is_centroid = encode_largest(weights, 2000, bits=5)
    is_stored, agreement = find_stored_weights(weights, is_centroid, 2000)
    assert agreement == 1
    np.testing.assert_array_equal(np.flatnonzero(is_stored), stored)
    assert is_centroid.sum() - 2000 > 400


def test_of_equal_weights_the_last_are_stored() -> None:
    weights = np.array([1, -1, 0.5, 1], np.float32)
    is_stored, _ = find_stored_weights(weights, np.array([True, True, True, True]), 2)
    assert is_stored.tolist() == [False, True, False, True]


def test_nothing_stored() -> None:
    is_stored, agreement = find_stored_weights(np.ones(3), np.array([True, False, False]), 0)
    assert not is_stored.any()
    assert agreement == 1


def test_a_picture_of_a_filter_has_a_pixel_for_each_weight() -> None:
    weights = np.random.default_rng(1).normal(size=(40, 60)).astype(np.float32)
    stored, is_centroid = encode_largest(weights, 300, bits=4)
    found = draw_filter("w", (40, 60), is_centroid, 300, weights.ravel())
    assert (found.is_known, found.is_certain, found.block) == (True, True, 1)
    expected = is_centroid.astype(int) * 2
    expected[stored] = 1
    pixels, _ = read_png(found.png)
    np.testing.assert_array_equal(pixels.ravel(), expected)
    counts = np.bincount(expected, minlength=3).tolist()
    assert [found.counts[k] for k in ("zero", "stored", "false_positive")] == counts
    places = {(round(60 * x - 0.5), round(40 * y - 0.5)) for x, y in found.spots}
    rows, columns = np.nonzero(expected.reshape(40, 60) == 2)
    assert places == set(zip(columns.tolist(), rows.tolist(), strict=True))
    assert len(re.findall("<circle", draw_spots(found))) == rows.size > 0


def test_weights_that_were_trained_further_do_not_tell() -> None:
    rng = np.random.default_rng(2)
    _, is_centroid = encode_largest(rng.normal(size=5000).astype(np.float32), 500, bits=5)
    for original in (rng.normal(size=5000).astype(np.float32), None):
        found = draw_filter("w", (50, 100), is_centroid, 500, original)
        assert not found.is_known
        assert found.counts["false_positive"] == is_centroid.sum() - 500
        pixels, _ = read_png(found.png)
        np.testing.assert_array_equal(pixels.ravel(), is_centroid)
        assert not found.spots


def test_a_few_weights_that_moved_leave_a_likely_answer() -> None:
    weights = np.random.default_rng(3).normal(size=5000).astype(np.float32)
    stored, is_centroid = encode_largest(weights, 500, bits=8)
    weights[stored[:20]] = 0.0
    found = draw_filter("w", (5000,), is_centroid, 500, weights)
    assert found.is_known
    assert not found.is_certain
    assert found.counts["stored"] == 500


def test_a_large_matrix_is_sampled_without_a_bias() -> None:
    rng = np.random.default_rng(4)
    weights = rng.normal(size=(900, 1700)).astype(np.float32)
    _, is_centroid = encode_largest(weights, 150_000, bits=4)
    found = draw_filter("w", weights.shape, is_centroid, 150_000, weights.ravel())
    pixels, _ = read_png(found.png)
    assert found.block == 3
    assert pixels.shape == (300, 567)
    total = sum(found.counts.values())
    assert total == weights.size
    for index, kind in enumerate(("zero", "stored", "false_positive")):
        share = found.counts[kind] / total
        deviation = np.sqrt(share * (1 - share) / pixels.size)
        assert abs((pixels == index).mean() - share) < 5 * deviation, kind
    assert not found.spots


@pytest.mark.parametrize(
    "shape", [(7,), (1, 1), (10, 784), (784, 10), (64, 64, 3, 3), (30_000, 4), (500, 800)]
)
def test_pictures_of_any_shape_fit(shape: tuple[int, ...]) -> None:
    weights = np.random.default_rng(5).normal(size=shape).astype(np.float32)
    found = draw_filter("w", shape, weights.ravel() > 0, int((weights > 0).sum()), None)
    assert found.rows * found.columns == weights.size
    assert found.rows == (shape[0] if len(shape) > 1 else 1)
    assert found.is_transposed == (found.rows > found.columns)
    assert 1 <= found.width <= weight_map.MAX_WIDTH
    assert 1 <= found.height <= weight_map.MAX_HEIGHT


def test_errors_are_means_of_blocks() -> None:
    rng = np.random.default_rng(6)
    before = rng.normal(size=(70, 650)).astype(np.float32)
    after = before + rng.normal(size=before.shape).astype(np.float32) * np.linspace(0, 1, 650)
    found = draw_error("w", "palette", before, after.astype(np.float32))
    block = found.block
    assert block == 3
    error = np.abs(after.astype(np.float32).astype(float) - before)
    error /= np.sqrt((before.astype(float) ** 2).mean())
    means = np.array(
        [
            [error[i : i + block, j : j + block].mean() for j in range(0, 650, block)]
            for i in range(0, 70, block)
        ]
    )
    pixels, _ = read_png(found.png)
    assert found.peak == pytest.approx(np.quantile(means, 0.99))
    expected = np.minimum(means / found.peak, 1) * 15
    assert np.abs(pixels - expected).max() <= 0.5 + 1e-6


def test_weights_without_any_error() -> None:
    before = np.ones((4, 4), np.float32)
    pixels, _ = read_png(draw_error("w", "palette", before, before).png)
    assert not pixels.any()
