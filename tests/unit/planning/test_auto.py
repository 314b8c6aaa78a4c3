from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

from wl_onnx.codecs import bounds
from wl_onnx.errors import InputError
from wl_onnx.planning import Choice, choose
from wl_onnx.recipe import Recipe
from wl_onnx.simplify import Clustering, cluster, prune, threshold_for_sparsity

CLUSTERS = 8


@functools.cache
def make_tensor(name: str) -> np.ndarray:
    rng = np.random.default_rng(21)
    if name == "dense":
        return rng.normal(0, 0.02, 20_000).astype(np.float32)
    if name == "laplace":
        return rng.laplace(0, 0.02, (100, 200)).astype(np.float32)
    if name == "heavy":
        return (rng.standard_t(3, 20_000) * 0.1).astype(np.float32)
    values = rng.normal(0, 1, 20_000) * (rng.random(20_000) < 0.1)
    return values.astype(np.float32)


@functools.cache
def prune_and_cluster(name: str, sparsity: float) -> tuple[np.ndarray, Clustering]:
    values = make_tensor(name)
    pruned = prune(values, threshold_for_sparsity(values, sparsity)).reshape(-1)
    return pruned, cluster(pruned[pruned != 0], CLUSTERS)


def simulate(name: str, sparsity: float, bits: int, draws: int = 20) -> tuple[float, float]:
    """Mean and standard error of the share of energy that is really lost, with false positives."""
    rng = np.random.default_rng(22)
    original = make_tensor(name).reshape(-1).astype(np.float64)
    pruned, clusters = prune_and_cluster(name, sparsity)
    keys = np.flatnonzero(pruned)
    num_clusters = len(clusters.codebook)
    shares = []
    for _ in range(draws):
        codes = rng.integers(0, 2**bits, original.size)
        codes[codes >= num_clusters] = num_clusters
        codes[keys] = clusters.assignments
        # Refitting: each centroid becomes the mean of what it stands for.
        usage = np.bincount(codes, minlength=num_clusters + 1)[:num_clusters]
        sums = np.bincount(codes, weights=original, minlength=num_clusters + 1)[:num_clusters]
        refitted = np.concatenate((sums / np.maximum(usage, 1), [0.0]))
        shares.append(float(((refitted[codes] - original) ** 2).sum() / (original**2).sum()))
    return float(np.mean(shares)), float(np.std(shares, ddof=1) / np.sqrt(draws))


def size_bits(values: np.ndarray, sparsity: float, bits: int) -> int:
    num_zeros = max(int((values == 0).sum()), round(sparsity * values.size))
    num_keys = values.size - num_zeros
    return bounds.predicted_size_bits(num_keys, bits, "ribbon", CLUSTERS, 2)


@pytest.mark.parametrize("name", ["dense", "laplace", "heavy", "sparse"])
@pytest.mark.parametrize(("sparsity", "bits"), [(0.3, 6), (0.95, 9), (0.97, 12)])
def test_prediction_agrees_with_simulated_false_positives(
    name: str, sparsity: float, bits: int
) -> None:
    values = make_tensor(name)
    choice = choose(values, Recipe(sparsity=sparsity, bits=bits, clusters=CLUSTERS))
    assert (choice.sparsity, choice.bits) == (sparsity, bits)
    mean, standard_error = simulate(name, sparsity, bits)
    # The mean number of false positives stands for its distribution, which can only lower the
    # error, and the refit here also knows the pruned weights.
    assert mean - 5 * standard_error <= choice.predicted_error_share * 1.002
    assert choice.predicted_error_share <= mean * 1.03 + 5 * standard_error


@pytest.mark.parametrize("name", ["dense", "laplace", "heavy", "sparse"])
@pytest.mark.parametrize("error_share", [0.1, 0.2, 0.5])
def test_no_setting_of_a_grid_is_smaller(name: str, error_share: float) -> None:
    values = make_tensor(name)
    choice = choose(values, Recipe(clusters=CLUSTERS, error_share=error_share))
    assert choice.meets_share
    assert choice.predicted_error_share <= error_share
    mean, standard_error = simulate(name, choice.sparsity, choice.bits)
    assert mean - 5 * standard_error <= error_share * 1.002
    assert choice.predicted_size_bits == size_bits(values, choice.sparsity, choice.bits)
    natural = float((values == 0).mean())
    for sparsity in natural + (1 - natural) * np.linspace(0, 0.999, 50):
        for bits in range(3, 17):
            # A hundredth and the noise of the draws apart, whatever is smaller loses too much.
            if size_bits(values, sparsity, bits) * 1.01 < choice.predicted_size_bits:
                mean, standard_error = simulate(name, sparsity, bits, draws=10)
                assert mean + 3 * standard_error > error_share * 0.98, (sparsity, bits)


@pytest.mark.parametrize("name", ["dense", "laplace", "heavy", "sparse"])
def test_lengths_of_codes_are_smaller_than_one_length(name: str) -> None:
    values = make_tensor(name)
    for share in (0.1, 0.2, 0.5):
        recipe = Recipe(clusters=CLUSTERS, error_share=share)
        common = choose(values, recipe)
        own = choose(values, dataclasses.replace(recipe, layout="prefix"))
        assert own.meets_share
        assert own.predicted_error_share <= share
        assert own.predicted_size_bits <= 1.005 * common.predicted_size_bits


def test_lengths_for_given_bits_or_sparsity() -> None:
    values = make_tensor("laplace")
    recipe = Recipe(layout="prefix", clusters=CLUSTERS, error_share=0.3)
    both = choose(values, dataclasses.replace(recipe, sparsity=0.8, bits=7))
    assert (both.sparsity, both.bits) == (0.8, 7)
    by_bits = choose(values, dataclasses.replace(recipe, bits=7))
    assert by_bits.bits == 7
    assert by_bits.meets_share
    by_sparsity = choose(values, dataclasses.replace(recipe, sparsity=0.6))
    assert by_sparsity.sparsity == 0.6
    assert by_sparsity.meets_share
    assert choose(values, recipe).predicted_size_bits <= min(
        by_bits.predicted_size_bits, by_sparsity.predicted_size_bits
    )


def test_shares_add_up_and_match_the_tensor() -> None:
    values = make_tensor("laplace")
    choice = choose(values, Recipe(sparsity=0.8, bits=10, clusters=CLUSTERS))
    energy = float((values.astype(np.float64) ** 2).sum())
    pruned = prune(values, threshold_for_sparsity(values, 0.8)).reshape(-1)
    lost = energy - float((pruned.astype(np.float64) ** 2).sum())
    clusters = cluster(pruned[pruned != 0], CLUSTERS)
    assert choice.prune_share == pytest.approx(lost / energy, rel=1e-4)
    assert choice.cluster_share == pytest.approx(clusters.error_energy / energy, rel=1e-3)
    without_refit = bounds.expected_false_positive_energy(
        values.size, values.size // 5, clusters.codebook, 10
    )
    assert 0.3 * without_refit < choice.false_positive_share * energy < without_refit
    assert choice.predicted_error_share == pytest.approx(
        choice.prune_share + choice.cluster_share + choice.false_positive_share
    )


def test_given_bits_are_kept_and_sparsity_is_chosen() -> None:
    values = make_tensor("dense")
    choice = choose(values, Recipe(bits=9, clusters=CLUSTERS, error_share=0.2))
    assert choice.bits == 9
    assert choice.meets_share
    assert 0 < choice.sparsity < 1
    more = choose(values, Recipe(bits=9, clusters=CLUSTERS, error_share=0.4))
    assert more.sparsity > choice.sparsity


def test_given_sparsity_is_kept_and_the_fewest_bits_are_chosen() -> None:
    values = make_tensor("dense")
    recipe = Recipe(sparsity=0.7, clusters=CLUSTERS, error_share=0.35)
    choice = choose(values, recipe)
    assert choice.sparsity == 0.7
    assert choice.meets_share
    fewer = choose(values, Recipe(sparsity=0.7, bits=choice.bits - 1, clusters=8, error_share=0.35))
    assert not fewer.meets_share


def test_the_least_error_where_none_is_within_the_share() -> None:
    values = make_tensor("dense")
    choice = choose(values, Recipe(clusters=2, error_share=0.01))
    assert not choice.meets_share
    errors = [
        choose(values, Recipe(sparsity=sparsity, bits=16, clusters=2)).predicted_error_share
        for sparsity in np.linspace(0, 0.9, 10)
    ]
    assert choice.predicted_error_share > 0.01
    # Only pruning that the share itself allows is tried.
    assert choice.predicted_error_share <= errors[0]


def test_without_zeros_there_are_no_false_positives_and_the_fewest_bits_do() -> None:
    values = make_tensor("dense")
    choice = choose(values, Recipe(sparsity=0.0, clusters=CLUSTERS, error_share=0.5))
    assert (choice.bits, choice.sparsity, choice.false_positive_share) == (3, 0.0, 0.0)
    assert choice.meets_share


def test_fewer_distinct_values_need_fewer_bits() -> None:
    values = np.random.default_rng(23).choice(np.array([-1, 1], np.float32), 5000)
    choice = choose(values, Recipe(clusters=16, error_share=1e-5))
    assert (choice.bits, choice.sparsity, choice.predicted_error_share) == (1, 0.0, 0.0)


def test_tensors_of_zeros_and_of_one_weight() -> None:
    zeros = choose(np.zeros(100, np.float32), Recipe())
    assert zeros == Choice(0.0, 1, zeros.predicted_size_bits, 0.0, 0.0, 0.0, 0.0, True)
    one = choose(np.array([3.0], np.float32), Recipe())
    assert (one.sparsity, one.bits, one.meets_share) == (0.0, 1, True)


def test_threads_do_not_change_the_choice() -> None:
    values = np.random.default_rng(24).laplace(0, 1, 1_000_000).astype(np.float32)
    recipe = Recipe(error_share=0.1)
    assert choose(values, recipe, threads=1) == choose(values, recipe, threads=3)


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InputError, match="values must be finite"):
        choose(np.array([1, np.nan], np.float32), Recipe())
