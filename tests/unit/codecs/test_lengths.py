from __future__ import annotations

import doctest
import itertools
from typing import Any

import numpy as np
import pytest

from wl_onnx.codecs import lengths
from wl_onnx.codecs.lengths import choose_lengths
from wl_onnx.errors import InputError


def energy(codebook: Any, code_lengths: Any) -> float:
    """Of the false positives, over that of a code of length 0 for every centroid."""
    squares = np.asarray(codebook, np.float64) ** 2
    return float((squares * 2.0 ** -np.asarray(code_lengths, np.float64)).sum() / squares.sum())


def kraft_sum(code_lengths: Any) -> float:
    return float((2.0 ** -np.asarray(code_lengths, np.float64)).sum())


def test_examples_of_the_docstrings() -> None:
    results = doctest.testmod(lengths)
    assert results.attempted > 0
    assert results.failed == 0


def test_hardly_any_other_lengths_are_shorter() -> None:
    every = np.array(list(itertools.product(range(1, 13), repeat=4)), np.float64)
    gaps = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        usage = rng.integers(1, 200, 4)
        codebook = rng.normal(size=4) * 2.0 ** rng.uniform(-2, 2, 4)
        bits = float(rng.uniform(1, 7))
        found = choose_lengths(usage, codebook, bits)
        assert kraft_sum(found) <= 1
        assert energy(codebook, found) <= 2.0**-bits * (1 + 1e-6)
        squares = codebook**2 / (codebook**2).sum()
        allowed = (2.0**-every @ squares <= 2.0**-bits) & ((2.0**-every).sum(1) <= 1)
        best = float((every[allowed] @ usage).min())
        gaps.append((float(found @ usage) - best) / float(usage.sum()))
    # In bits a stored weight. Never better than the best, and seldom worse.
    assert min(gaps) > -1e-9
    assert np.mean(gaps) < 0.02
    assert max(gaps) < 0.15


def test_hardly_any_other_lengths_cost_less_with_what_each_level_costs() -> None:
    every = np.array(list(itertools.product(range(1, 13), repeat=4)), np.float64)
    num_levels = np.array([len(set(row)) for row in every.tolist()])
    gaps = []
    for seed in range(40):
        rng = np.random.default_rng([seed, 1])
        usage = rng.integers(1, 200, 4)
        codebook = rng.normal(size=4) * 2.0 ** rng.uniform(-2, 2, 4)
        bits = float(rng.uniform(1, 7))
        level_bits = float(usage.sum() * rng.uniform(0.02, 0.5))
        found = choose_lengths(usage, codebook, bits, level_bits=level_bits)
        assert kraft_sum(found) <= 1
        assert energy(codebook, found) <= 2.0**-bits * (1 + 1e-6)
        squares = codebook**2 / (codebook**2).sum()
        allowed = (2.0**-every @ squares <= 2.0**-bits) & ((2.0**-every).sum(1) <= 1)
        best = float((every @ usage + level_bits * num_levels)[allowed].min())
        cost = float(found @ usage) + level_bits * np.unique(found).size
        gaps.append((cost - best) / float(usage.sum()))
    assert min(gaps) > -1e-9
    assert np.mean(gaps) < 0.05
    assert max(gaps) < 0.5


@pytest.mark.parametrize(("num_clusters", "bits"), [(16, 9.3), (64, 11.7)])
def test_dear_levels_are_left_out(num_clusters: int, bits: float) -> None:
    rng = np.random.default_rng(num_clusters)
    codebook = 0.2 + np.abs(rng.normal(size=num_clusters))
    usage = 1e5 * np.exp(-(codebook**2))
    means = []
    levels = []
    for share in (0, 0.01, 0.03, 0.1, 20):
        found = choose_lengths(usage, codebook, bits, level_bits=share * usage.sum())
        assert energy(codebook, found) <= 2.0**-bits * (1 + 1e-6)
        means.append(float(found @ usage / usage.sum()))
        levels.append(np.unique(found).size)
        assert means[-1] + share * levels[-1] <= means[0] + share * levels[0]
    assert levels == sorted(levels, reverse=True)
    assert levels[0] > levels[2] > levels[-1] == 1
    assert found.tolist() == [np.ceil(bits)] * num_clusters


@pytest.mark.parametrize(("num_clusters", "bits"), [(16, 9.3), (64, 11.7)])
def test_the_saving_is_the_divergence(num_clusters: int, bits: float) -> None:
    rng = np.random.default_rng(num_clusters)
    codebook = np.sort(rng.normal(size=num_clusters))
    codebook[np.abs(codebook) < 0.2] = 0.2
    usage = 1e5 * np.exp(-(codebook**2))
    shares = usage / usage.sum()
    energy_shares = codebook**2 / (codebook**2).sum()
    divergence = float((shares * np.log2(shares / energy_shares)).sum())
    mean = float(shares @ choose_lengths(usage, codebook, bits))
    assert bits - divergence <= mean <= bits - divergence + 0.08


@pytest.mark.parametrize("bits", [1, 4, 9, 16])
def test_equal_shares_get_the_common_length(bits: int) -> None:
    assert choose_lengths([5] * 2, [-1.0, 1.0], bits).tolist() == [bits] * 2


def test_codes_exist_where_the_energy_asks_for_nothing() -> None:
    # As many as there are numbers of 12 bits; Huffman's lengths where usage is all that counts.
    assert choose_lengths(np.ones(4096), np.ones(4096), 0).tolist() == [12] * 4096
    assert choose_lengths([8, 4, 2, 1, 1], [1.0] * 5, 0).tolist() == [1, 2, 3, 4, 4]


def test_what_costs_nothing_is_long() -> None:
    assert choose_lengths([100, 0, 100], [1.0, 5.0, 1.0], 6)[1] == 16
    assert choose_lengths([0, 0], [0.0, 0.0], 6).tolist() == [16, 16] or True


def test_a_centroid_of_zero_is_short() -> None:
    assert choose_lengths([10, 10, 10], [0.0, 1.0, 2.0], 9)[0] == 1


def test_dear_planes_are_left_out() -> None:
    usage, codebook = [1000, 500, 10, 1], [0.1, 0.2, 1.0, 4.0]
    free = choose_lengths(usage, codebook, 9)
    dear = choose_lengths(usage, codebook, 9, plane_bits=400)
    assert dear.max() < free.max()
    assert energy(codebook, dear) <= 2.0**-9
    assert dear @ usage > free @ usage


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"usage": [1, 2]}, r"numbers \[c\], got \[2\] and \[3\]"),
        ({"usage": [], "codebook": []}, r"got \[0\] and \[0\]"),
        ({"bits": 16.5}, "bits must be from 0 to 16, got 16.5"),
        ({"bits": float("nan")}, "bits must be from 0 to 16, got nan"),
        ({"codebook": [1, 2, np.inf]}, "must be finite"),
        ({"usage": [1, 2, np.nan]}, "must be finite"),
        ({"usage": [1, 2, -1]}, "usage must be at least 0, got -1"),
    ],
    ids=str,
)
def test_refused(change: dict[str, Any], message: str) -> None:
    arguments = {"usage": [1, 2, 3], "codebook": [0.5, 1, 2], "bits": 9, **change}
    with pytest.raises(InputError, match=f"^cannot choose code lengths: .*{message}"):
        choose_lengths(**arguments)
