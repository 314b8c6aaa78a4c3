from __future__ import annotations

import itertools

import numpy as np
import pytest

from wl_onnx.errors import InputError
from wl_onnx.simplify.compensate import measure_damage
from wl_onnx.simplify.surgeon import fit_kept, prune_layer


def make_covariance(rng: np.random.Generator, k: int) -> np.ndarray:
    x = rng.standard_normal((300, k)) @ (rng.standard_normal((k, k)) / np.sqrt(k) + np.eye(k))
    return (x.T @ x / 300)[None]


def test_fitted_values_are_the_least_squares_ones() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 9)) @ rng.standard_normal((9, 9))
    weight = rng.standard_normal((1, 5, 9))
    kept = rng.random(weight.shape) < 0.5
    fitted = fit_kept(weight, (x.T @ x)[None], kept)
    assert not fitted[~kept].any()
    for row in range(5):
        support = kept[0, row]
        expected = np.linalg.lstsq(x[:, support], x @ weight[0, row], rcond=None)[0]
        np.testing.assert_allclose(fitted[0, row, support], expected, rtol=1e-6)


@pytest.mark.parametrize("method", ["exact", "blocks"])
def test_far_better_than_magnitude_pruning(method: str) -> None:
    rng = np.random.default_rng(1)
    covariance = make_covariance(rng, 150)
    weight = rng.standard_normal((1, 20, 150))
    pruned = prune_layer(weight, covariance, 0.7, method=method)
    assert np.count_nonzero(pruned) == weight.size - round(0.7 * weight.size)
    smallest = np.abs(weight) < np.quantile(np.abs(weight), 0.7)
    by_magnitude = measure_damage(np.where(smallest, 0, weight) - weight, covariance)
    fitted = measure_damage(fit_kept(weight, covariance, ~smallest) - weight, covariance)
    damage = measure_damage(pruned - weight, covariance)
    assert damage < (0.9 if method == "exact" else 0.95) * fitted
    assert fitted < by_magnitude


def test_exact_pruning_comes_near_the_best_choice() -> None:
    rng = np.random.default_rng(2)
    ratios = []
    for _ in range(6):
        covariance = make_covariance(rng, 8)
        weight = rng.standard_normal((1, 1, 8))
        best = np.inf
        for support in itertools.combinations(range(8), 3):
            kept = np.isin(np.arange(8), support)[None, None]
            fitted = fit_kept(weight, covariance, kept)
            best = min(best, measure_damage(fitted - weight, covariance))
        pruned = prune_layer(weight, covariance, 5 / 8, damping=0)
        assert np.count_nonzero(pruned) == 3
        ratios.append(measure_damage(pruned - weight, covariance) / best)
    assert min(ratios) > 1 - 1e-9
    assert np.mean(ratios) < 1.3


def test_zeros_stay_and_dead_inputs_go_first() -> None:
    rng = np.random.default_rng(3)
    covariance = make_covariance(rng, 20)
    covariance[:, :4] = 0
    covariance[:, :, :4] = 0
    weight = rng.standard_normal((1, 10, 20))
    weight[0, :, 7] = 0
    pruned = prune_layer(weight, covariance, 0.3, damping=1e-6)
    assert not pruned[:, :, [0, 1, 2, 3, 7]].any()
    assert np.count_nonzero(pruned) == 140
    np.testing.assert_array_equal(prune_layer(weight, covariance, 0.0), weight)


def test_rows_that_count_more_keep_more() -> None:
    rng = np.random.default_rng(4)
    weight = rng.standard_normal((1, 10, 30))
    scale = np.where(np.arange(10) < 5, 10.0, 0.1)[None]
    pruned = prune_layer(weight, make_covariance(rng, 30), 0.6, row_weights=scale)
    assert np.count_nonzero(pruned[0, :5]) > 2 * np.count_nonzero(pruned[0, 5:])


def test_sparsity_out_of_range() -> None:
    with pytest.raises(InputError, match=r"sparsity must be in \[0, 1\), got 1"):
        prune_layer(np.ones((1, 2, 2)), np.eye(2)[None], 1)
