"""Weights that are not stored answer as a coin with 2^t sides would.

Limits are standard errors of independent answers; a chi-square statistic is turned into one by
Wilson and Hilferty's cube root (1931). At 4 of them one test in 16,000 fails by chance, and the
seeds are fixed.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from tests.blobs import SCHEMES, random_keys
from wl_onnx.codecs import bloomier, bounds

NUM_WEIGHTS = 1_000 * 1_024
STANDARD_ERRORS = 4.0


def chi_square_score(counts: npt.NDArray[np.int64], expected: npt.NDArray[np.float64]) -> float:
    """How many standard errors the statistic lies above its mean; counts add up as expected."""
    assert expected.min() > 20
    freedom = counts.size - 1
    statistic = float(((counts - expected) ** 2 / expected).sum())
    cube_root_error = 2 / (9 * freedom)
    return ((statistic / freedom) ** (1 / 3) - (1 - cube_root_error)) / math.sqrt(cube_root_error)


@pytest.fixture(scope="module", params=SCHEMES, ids=":".join)
def answers(request: pytest.FixtureRequest) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint16]]:
    """Which weights are not stored, and the code of every weight: t = 7, c = 16, 5 % keys."""
    layout, hash_ = request.param
    indices, values = random_keys(np.random.default_rng(23), NUM_WEIGHTS, 0.05, 16)
    blob = bloomier.encode(
        indices, values, num_weights=NUM_WEIGHTS, codebook=np.arange(16), bits=7, layout=layout,
        hash=hash_, seed=4,
    )  # fmt: skip
    others = np.ones(NUM_WEIGHTS, bool)
    others[indices] = False
    return others, bloomier.decode_codes(blob, threads=2)


Answers = tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint16]]


@pytest.mark.parametrize(("layout", "hash_"), SCHEMES)
@pytest.mark.parametrize(
    ("num_clusters", "bits"), [(1, 1), (3, 2), (16, 9), (1, 8), (255, 8), (4000, 12), (100, 16)]
)
def test_rate(layout: str, hash_: str, num_clusters: int, bits: int) -> None:
    num_weights = 300_000
    rng = np.random.default_rng([num_clusters, bits])
    found = total = 0
    for seed in range(3):
        indices, values = random_keys(rng, num_weights, 0.05, num_clusters)
        blob = bloomier.encode(
            indices, values, num_weights=num_weights, codebook=np.zeros(num_clusters), bits=bits,
            layout=layout, hash=hash_, seed=seed,
        )  # fmt: skip
        found += np.count_nonzero(bloomier.decode_codes(blob)) - indices.size
        total += num_weights - indices.size
    rate = bounds.false_positive_rate(num_clusters, bits)
    standard_error = math.sqrt(rate * (1 - rate) / total)
    assert found / total == pytest.approx(rate, abs=STANDARD_ERRORS * standard_error)


@pytest.mark.parametrize("hash_", ["tabulation", "murmur3"])
@pytest.mark.parametrize(
    "lengths", [[1, 3, 3, 5], [7, 4, 9, 6, 4, 12], [2, 2, 2, 3, 3], [6] * 8 + [9] * 20 + [11] * 9]
)
def test_each_centroid_has_the_rate_of_its_length(hash_: str, lengths: list[int]) -> None:
    num_weights = 300_000
    num_clusters = len(lengths)
    rng = np.random.default_rng(lengths)
    found = np.zeros(num_clusters)
    total = 0
    for seed in range(3):
        indices, values = random_keys(rng, num_weights, 0.05, num_clusters)
        blob = bloomier.encode(
            indices, values, num_weights=num_weights, codebook=np.zeros(num_clusters),
            bits=lengths, layout="prefix", hash=hash_, seed=seed,
        )  # fmt: skip
        codes = bloomier.decode_codes(blob)
        codes[indices] = 0
        found += np.bincount(codes, minlength=num_clusters + 1)[1:]
        total += num_weights - indices.size
    rates = 2.0 ** -np.array(lengths)
    standard_errors = np.sqrt(rates * (1 - rates) / total)
    assert (np.abs(found / total - rates) < STANDARD_ERRORS * standard_errors).all()
    # All of them together: the sum of squares of independent normals, nearly.
    left = 1 - rates.sum()
    if left > 0:
        found, rates = np.append(found, total - found.sum()), np.append(rates, left)
    assert chi_square_score(found.astype(np.int64), rates * total) < STANDARD_ERRORS


def test_every_centroid_is_as_frequent(answers: Answers) -> None:
    others, codes = answers
    counts = np.bincount(codes[others], minlength=17)[1:]
    assert chi_square_score(counts, np.full(16, counts.mean())) < STANDARD_ERRORS


@pytest.mark.parametrize("columns", [8, 64, 300, 512, 1_000, 1_024, 1_280, 4_096])
def test_rows_and_columns_are_hit_alike(answers: Answers, columns: int) -> None:
    # The tensor as a matrix of this many columns; the columns of 1,024 are the lanes of a group.
    others, codes = (array[: NUM_WEIGHTS // columns * columns] for array in answers)
    hits = (others & (codes > 0)).reshape(-1, columns)
    places = others.reshape(-1, columns)
    for axis in (0, 1):
        counts, trials = hits.sum(axis), places.sum(axis)
        if trials[0] < 400:  # rows so short are taken 64 at a time
            together = np.arange(0, counts.size, 64)
            counts, trials = (np.add.reduceat(x, together) for x in (counts, trials))
        expected = trials * (counts.sum() / trials.sum())
        assert chi_square_score(counts, expected) < STANDARD_ERRORS


@pytest.mark.parametrize("distance", [1, 2, 3, 7, 8, 29, 64, 128, 512, 1_023, 1_024, 2_048])
def test_a_hit_says_nothing_of_its_neighbours(answers: Answers, distance: int) -> None:
    others, codes = answers
    hits = others & (codes > 0)
    pairs = np.count_nonzero(others[:-distance] & others[distance:])
    both = np.count_nonzero(hits[:-distance] & hits[distance:])
    rate = (16 / 2**7) ** 2
    # Pairs (i, i + d) and (i + d, i + 2d) share a weight, which adds to the variance.
    rate_of_three = (16 / 2**7) ** 3
    variance = pairs * (rate * (1 - rate) + 2 * (rate_of_three - rate**2))
    assert both == pytest.approx(pairs * rate, abs=STANDARD_ERRORS * math.sqrt(variance))
