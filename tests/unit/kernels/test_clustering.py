from __future__ import annotations

import numpy as np
import pytest

from wl_onnx.errors import InputError
from wl_onnx.kernels import clustering


def test_all_finite_sees_every_place_of_a_bad_value() -> None:
    values = np.random.default_rng(1).standard_normal(600_000, dtype=np.float32)
    assert clustering.all_finite(values)
    assert clustering.all_finite(np.zeros(0, np.float32))
    assert clustering.all_finite(np.array([np.finfo(np.float32).max, 1e-45, -0.0], np.float32))
    for place in (0, 262_143, 262_144, 599_999):
        for bad in (np.nan, np.inf, -np.inf):
            changed = values.copy()
            changed[place] = bad
            assert not clustering.all_finite(changed)
            assert not clustering.all_finite(changed, threads=2)


def test_exact_histogram_equals_numpy() -> None:
    values = np.random.default_rng(2).integers(-30, 31, 5000).astype(np.float32) / 7
    histogram = clustering.magnitude_histogram(values, 100)
    magnitudes, counts = np.unique(np.abs(values[values != 0]), return_counts=True)
    assert histogram.exact
    assert histogram.num_zeros == np.count_nonzero(values == 0)
    assert histogram.num_weights == 5000
    np.testing.assert_array_equal(histogram.means.max(axis=0), magnitudes)
    np.testing.assert_array_equal(histogram.counts.sum(axis=0), counts)
    np.testing.assert_array_equal(histogram.counts[0], [(values == -m).sum() for m in magnitudes])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_grid_keeps_counts_and_sums(threads: int) -> None:
    values = np.random.default_rng(3).standard_t(2, 900_000).astype(np.float32)
    values[::10] = 0
    histogram = clustering.magnitude_histogram(values, 1000, threads=threads)
    assert not histogram.exact
    assert histogram.means.shape[1] < 1000 + 32640
    assert histogram.num_zeros == 90_000
    assert histogram.num_weights == values.size
    # Sums are over whole numbers inside: they are right to rounding, not to a bin's width.
    for sign, side in enumerate((-values[values < 0], values[values > 0])):
        total = float((histogram.counts[sign] * histogram.means[sign]).sum())
        assert total == pytest.approx(float(side.sum(dtype=np.float64)), rel=1e-12)
    means = histogram.points()[0]
    assert np.all(np.diff(means) > 0)
    reference = clustering.magnitude_histogram(values, 1000)
    np.testing.assert_array_equal(histogram.means, reference.means)


def test_points_leave_out_the_least_magnitudes() -> None:
    values = np.array([0, 0, 1, -1, -1, -1, 2, -3], np.float32)
    histogram = clustering.magnitude_histogram(values, 100)

    def points(num_skipped: int) -> list[tuple[float, float]]:
        return list(zip(*(a.tolist() for a in histogram.points(num_skipped)), strict=True))

    assert points(0) == [(-3, 1), (-1, 3), (0, 2), (1, 1), (2, 1)]
    assert points(1) == [(-3, 1), (-1, 3), (0, 1), (1, 1), (2, 1)]
    assert points(2) == [(-3, 1), (-1, 3), (1, 1), (2, 1)]
    assert points(4) == [(-3, 1), (-1, 1.5), (1, 0.5), (2, 1)]
    assert points(6) == [(-3, 1), (2, 1)]
    assert points(7) == [(-3, 1)]
    assert points(8) == []


def test_cluster_points_refuses_points_out_of_order() -> None:
    with pytest.raises(InputError, match="points must be finite and ascending, got 1 as point 1"):
        clustering.cluster_points(np.array([2.0, 1.0]), np.ones(2), 1)
    with pytest.raises(InputError, match="masses must be above 0, got 0 as mass 1"):
        clustering.cluster_points(np.array([1.0, 2.0]), np.array([1.0, 0.0]), 1)
    with pytest.raises(InputError, match="points and clusters must be 1 or more, got 0 and 1"):
        clustering.cluster_points(np.zeros(0), np.zeros(0), 1)


def test_assign_clusters_refuses_a_codebook_out_of_order() -> None:
    values = np.ones(3, np.float32)
    with pytest.raises(InputError, match="centroids must be finite and ascending, got 1"):
        clustering.assign_clusters(values, np.array([1, 1], np.float32))
    with pytest.raises(InputError, match="clusters must be from 1 to 65536, got 0"):
        clustering.assign_clusters(values, np.zeros(0, np.float32))
