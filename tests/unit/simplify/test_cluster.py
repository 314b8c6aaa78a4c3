from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from wl_onnx.errors import InputError
from wl_onnx.kernels.clustering import assign_clusters
from wl_onnx.simplify import cluster, round_codebook

DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "gaussian": lambda rng, n: rng.normal(0, 0.02, n),
    "laplace": lambda rng, n: rng.laplace(0, 0.02, n),
    "student": lambda rng, n: rng.standard_t(3, n) * 0.02,
    "cauchy": lambda rng, n: rng.standard_cauchy(n),
    "pruned": lambda rng, n: np.sign(rng.normal(size=n)) * (0.05 + rng.exponential(0.02, n)),
    "positive": lambda rng, n: rng.lognormal(0, 1, n),
    "offset": lambda rng, n: 1 + rng.normal(0, 1e-3, n),
    "uniform": lambda rng, n: rng.uniform(-1, 1, n),
}


def optimal_error(values: np.ndarray, num_clusters: int) -> float:
    """Least k-means error by the plain dynamic program, a cluster at a time.

    The best begin of the last cluster grows with its end, so that the ends are treated level by
    level of a binary tree, each between the begins of its neighbours.
    """
    x = np.sort(values.astype(np.float64))
    x -= x.mean()
    n = len(x)
    first = np.concatenate(([0.0], np.cumsum(x)))
    second = np.concatenate(([0.0], np.cumsum(x * x)))
    best = second - first**2 / np.maximum(np.arange(n + 1), 1)
    for _ in range(1, num_clusters):
        following = np.zeros(n + 1)
        begin_of = np.zeros(n + 2, np.int64)
        begin_of[n + 1] = n - 1
        step = 1 << n.bit_length()
        while step > 0:
            ends = np.arange(step, n + 1, 2 * step)
            lowest = begin_of[ends - step]
            highest = np.minimum(begin_of[np.minimum(ends + step, n + 1)], ends - 1)
            counts = highest - lowest + 1
            offsets = np.cumsum(counts) - counts
            begins = np.arange(counts.sum()) - np.repeat(offsets - lowest, counts)
            tails = np.repeat(ends, counts)
            errors = second[tails] - second[begins]
            errors -= (first[tails] - first[begins]) ** 2 / (tails - begins)
            totals = best[begins] + errors
            if len(ends) > 0:
                least = np.minimum.reduceat(totals, offsets)
                hits = np.flatnonzero(totals == np.repeat(least, counts))
                places = hits[np.searchsorted(hits, offsets)]
                following[ends] = least
                begin_of[ends] = begins[places]
            step //= 2
        best = following
    return float(best[n])


def error_of(values: np.ndarray, codebook: np.ndarray, assignments: np.ndarray) -> float:
    differences = values.astype(np.float64) - codebook.astype(np.float64)[assignments]
    return float((differences**2).sum())


@pytest.mark.parametrize("name", sorted(DISTRIBUTIONS))
@pytest.mark.parametrize("num_clusters", [1, 2, 16, 100])
def test_few_values_are_clustered_optimally(name: str, num_clusters: int) -> None:
    values = DISTRIBUTIONS[name](np.random.default_rng(7), 10_000).astype(np.float32)
    result = cluster(values, num_clusters)
    assert len(result.codebook) == num_clusters
    assert np.all(np.diff(result.codebook) > 0)
    assert result.error_energy == pytest.approx(
        error_of(values, result.codebook, result.assignments), rel=1e-9
    )
    assert result.error_energy == pytest.approx(optimal_error(values, num_clusters), rel=1e-5)


@pytest.mark.parametrize("name", ["gaussian", "laplace", "student", "cauchy", "pruned", "offset"])
@pytest.mark.parametrize(("num_clusters", "num_values"), [(4, 50_000), (64, 50_000), (200, 80_000)])
def test_many_values_are_clustered_within_a_thousandth(
    name: str, num_clusters: int, num_values: int
) -> None:
    # More magnitudes than bins, so that the histogram's grid is used.
    values = DISTRIBUTIONS[name](np.random.default_rng(8), num_values).astype(np.float32)
    result = cluster(values, num_clusters)
    optimum = optimal_error(values, num_clusters)
    assert optimum * (1 - 1e-5) <= result.error_energy <= optimum * 1.001


def test_each_value_goes_to_the_nearest_centroid_and_ties_to_the_lower() -> None:
    rng = np.random.default_rng(9)
    values = np.concatenate((rng.integers(-40, 40, 5000) / 8, rng.normal(0, 3, 5000)))
    values = values.astype(np.float32)
    result = cluster(values, 9)
    distances = np.abs(values[:, None].astype(np.float64) - result.codebook[None])
    np.testing.assert_array_equal(result.assignments, np.argmin(distances, axis=1))
    codebook = np.array([-6, -2, 0, 4], np.float32)
    halfway = np.array([-4, -1, 2, np.nextafter(np.float32(2), np.float32(3))], np.float32)
    assert assign_clusters(halfway, codebook)[0].tolist() == [0, 1, 2, 3]


def test_symmetric_values_whose_optimum_jumps_two_clusters_at_a_time() -> None:
    half = np.abs(np.random.default_rng(10).normal(size=300)).astype(np.float32)
    values = np.concatenate((half, -half))
    for num_clusters in range(1, 40):
        error = cluster(values, num_clusters).error_energy
        assert error == pytest.approx(optimal_error(values, num_clusters), rel=1e-5)


def test_no_more_clusters_than_distinct_values() -> None:
    values = np.tile(np.array([-1.5, 0.25, 7], np.float32), 1000)
    result = cluster(values, 16)
    np.testing.assert_array_equal(result.codebook, np.array([-1.5, 0.25, 7], np.float32))
    assert result.error_energy == 0
    np.testing.assert_array_equal(result.codebook[result.assignments], values)


def test_float16_weights_in_large_numbers_are_exact() -> None:
    values = np.random.default_rng(11).normal(0, 0.02, 300_000).astype(np.float16)
    few = np.unique(values)[::40].astype(np.float32)
    assert cluster(np.tile(few, 100), 4096).error_energy == 0


def test_threads_do_not_change_the_result() -> None:
    values = np.random.default_rng(12).standard_t(3, 1_500_000).astype(np.float32)
    one = cluster(values, 16, threads=1)
    three = cluster(values, 16, threads=3)
    np.testing.assert_array_equal(one.codebook, three.codebook)
    np.testing.assert_array_equal(one.assignments, three.assignments)
    assert one.error_energy == three.error_energy


def test_shape_is_kept_and_no_value_gives_a_codebook_of_zero() -> None:
    assert cluster(np.ones((2, 3, 4), np.float32), 2).assignments.shape == (2, 3, 4)
    empty = cluster(np.zeros(0, np.float32), 16)
    assert empty.codebook.tolist() == [0.0]
    assert empty.assignments.size == 0
    assert empty.error_energy == 0


@pytest.mark.parametrize("scale", [1e-40, 1e-20, 1e18, 1e38])
def test_extreme_scales(scale: float) -> None:
    values = (np.random.default_rng(13).uniform(-1, 1, 3000) * scale).astype(np.float32)
    result = cluster(values, 8)
    optimum = optimal_error(values / scale, 8) * scale**2
    assert result.error_energy == pytest.approx(optimum, rel=1e-3)


def test_error_is_measured_with_the_rounded_codebook() -> None:
    values = (1 + np.random.default_rng(14).normal(0, 1e-3, 5000)).astype(np.float32)
    exact = cluster(values, 64)
    rounded = cluster(values, 64, codebook_type="float16")
    assert rounded.codebook_type == "float16"
    np.testing.assert_array_equal(rounded.codebook, rounded.codebook.astype(np.float16))
    assert len(rounded.codebook) < 64  # float16 has steps of 2**-10 there, so some fall together
    assert rounded.error_energy > 2 * exact.error_energy
    assert rounded.error_energy == pytest.approx(
        error_of(values, rounded.codebook, rounded.assignments), rel=1e-9
    )


@pytest.mark.parametrize(
    ("centroids", "expected"),
    [
        ([0.1, 0.5], "float16"),
        ([-65504.0, 3.0], "float16"),
        ([-65505.0, 3.0], "float32"),
        ([2.0**-14, 1e-9], "float16"),
        ([2.0**-15, 1e-9], "float32"),
        ([0.0], "float16"),
    ],
)
def test_codebook_type_gives_way_where_float16_cannot_hold_it(
    centroids: list[float], expected: str
) -> None:
    codebook, codebook_type = round_codebook(np.array(centroids), "float16")
    assert codebook_type == expected
    np.testing.assert_array_equal(
        codebook, np.unique(np.array(centroids).astype(expected)).astype(np.float32)
    )


def test_rounding_merges_equals_and_negative_zero() -> None:
    codebook, _ = round_codebook(np.array([-1e-30, 0.0, 1.0, 1.0 + 1e-9]), "float16")
    assert codebook.tolist() == [0.0, 1.0]
    assert not np.signbit(codebook).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [10, 100_000])
def test_values_that_are_not_finite_are_refused(bad: float, size: int) -> None:
    values = np.random.default_rng(15).standard_normal(size, dtype=np.float32)
    values[size // 2] = bad
    with pytest.raises(InputError, match="values must be finite, got NaN or infinity"):
        cluster(values, 4)


def test_arguments_out_of_range() -> None:
    with pytest.raises(InputError, match="clusters must be from 1 to 4096, got 0"):
        cluster(np.ones(3, np.float32), 0)
    with pytest.raises(InputError, match="codebook must be float16 or float32, got int8"):
        round_codebook(np.ones(3), "int8")
