from __future__ import annotations

import itertools

import numpy as np
import pytest

from wl_onnx.errors import InputError
from wl_onnx.simplify.compensate import (
    center_moments,
    choose_step,
    correct_bias,
    damp,
    make_semidefinite,
    measure_damage,
    quantize_layer,
    refit_codebook,
    retarget,
    uniform_codebook,
)


def make_inputs(rng: np.random.Generator, num_samples: int, k: int) -> np.ndarray:
    """Inputs that hang together, of different sizes, with a mean."""
    mixing = rng.standard_normal((k, k)) / np.sqrt(k) + np.eye(k)
    return (rng.standard_normal((num_samples, k)) @ mixing) * rng.uniform(0.2, 2, k) + 0.5


def covariance_of(x: np.ndarray) -> np.ndarray:
    return center_moments((x.T @ x / len(x))[None], x.mean(axis=0)[None])


def test_damage_is_the_variance_of_the_output_error() -> None:
    rng = np.random.default_rng(0)
    x = make_inputs(rng, 500, 12)
    error = rng.standard_normal((1, 5, 12))
    output = x @ error[0].T
    covariance = covariance_of(x)
    assert measure_damage(error, covariance) == pytest.approx(output.var(axis=0).sum())
    scale = rng.uniform(size=(1, 5))
    expected = (output.var(axis=0) * scale[0]).sum()
    assert measure_damage(error, covariance, scale) == pytest.approx(expected)


def test_corrected_bias_keeps_the_mean_of_the_output() -> None:
    rng = np.random.default_rng(1)
    x, before = make_inputs(rng, 300, 8), make_inputs(rng, 300, 8)
    weight, bias = rng.standard_normal((1, 4, 8)), rng.standard_normal(4)
    quantised = np.round(weight)
    shift = weight @ (x.mean(axis=0) - before.mean(axis=0))
    added = correct_bias(quantised - weight, x.mean(axis=0)[None], shift)[0]
    expected = (before @ weight[0].T + bias).mean(axis=0)
    np.testing.assert_allclose((x @ quantised[0].T + bias + added).mean(axis=0), expected)


def test_retargeted_weight_is_the_regression_on_the_changed_inputs() -> None:
    rng = np.random.default_rng(2)
    before = make_inputs(rng, 400, 6)
    now = before + 0.3 * rng.standard_normal(before.shape)
    weight = rng.standard_normal((1, 3, 6))
    a, b = before - before.mean(axis=0), now - now.mean(axis=0)
    target = retarget(weight, covariance_of(now), (a.T @ b / 400)[None], 0.0)
    expected = np.linalg.lstsq(b, a @ weight[0].T, rcond=None)[0].T
    np.testing.assert_allclose(target[0], expected, rtol=1e-8)
    held = retarget(weight, covariance_of(now), (a.T @ b / 400)[None], 1e9)
    np.testing.assert_allclose(held, weight, rtol=1e-6)


def total(weight: np.ndarray, values: np.ndarray, covariance: np.ndarray) -> float:
    return measure_damage(values - weight, covariance)


def test_compensation_beats_rounding_and_comes_near_the_best_of_all() -> None:
    rng = np.random.default_rng(3)
    ratios = []
    for _ in range(6):
        covariance = covariance_of(make_inputs(rng, 200, 5))
        weight = rng.standard_normal((1, 1, 5))
        codebook = uniform_codebook(weight, 1.0)
        best = min(
            total(weight, np.array([[values]]), covariance)
            for values in itertools.product(codebook, repeat=5)
        )
        result = quantize_layer(
            weight, covariance, lam=0, codebook=codebook, damping=1e-6, refit=False, sweeps=5
        )
        assert total(weight, result.values, covariance) == pytest.approx(result.damage)
        rounded = total(weight, np.round(weight), covariance)
        assert best * (1 - 1e-9) <= result.damage <= rounded * (1 + 1e-9)
        ratios.append(result.damage / best)
    assert np.mean(ratios) < 1.5


def test_a_diagonal_covariance_and_no_rate_give_plain_rounding() -> None:
    rng = np.random.default_rng(4)
    weight = rng.standard_normal((2, 7, 9))
    diagonal = np.stack([np.diag(rng.uniform(0.5, 2, 9)) for _ in range(2)])
    result = quantize_layer(weight, diagonal, lam=0, step=0.25, refit=False)
    np.testing.assert_allclose(result.values, np.round(weight / 0.25) * 0.25)


def test_more_lambda_gives_fewer_bits_and_more_damage() -> None:
    rng = np.random.default_rng(5)
    covariance = covariance_of(make_inputs(rng, 500, 40))
    weight = rng.standard_normal((1, 60, 40))
    results = [
        quantize_layer(weight, covariance, lam=lam, step=0.5) for lam in (0, 0.01, 0.05, 0.2, 1)
    ]
    sizes = [result.size_bits for result in results]
    damages = [result.damage for result in results]
    assert sizes == sorted(sizes, reverse=True)
    assert damages == sorted(damages)
    assert sizes[0] > 2 * sizes[-1]


def test_a_sweep_never_makes_the_sum_of_damage_and_bits_larger() -> None:
    rng = np.random.default_rng(6)
    covariance = covariance_of(make_inputs(rng, 500, 30))
    weight = rng.standard_normal((1, 50, 30))
    sums = []
    for sweeps in (0, 1, 4):
        result = quantize_layer(
            weight, covariance, lam=0.05, step=0.7, sweeps=sweeps, damping=0, max_classes=1
        )
        sums.append(result.damage + 0.05 * result.size_bits)
    assert sums[0] > sums[1] >= sums[2]


def test_dead_inputs_are_no_error_and_cost_nothing() -> None:
    rng = np.random.default_rng(7)
    x = make_inputs(rng, 300, 20)
    x[:, [3, 8]] = 0
    x[:, 11] = 7  # constant: the bias makes up for it
    weight = rng.standard_normal((1, 30, 20))
    result = quantize_layer(weight, covariance_of(x), lam=1e-3, step=0.2)
    assert not result.values[:, :, [3, 8, 11]].any()
    assert np.isfinite(result.damage)
    nothing = quantize_layer(weight, np.zeros((1, 20, 20)), lam=1e-9, step=0.5)
    assert nothing.damage == 0


def test_groups_are_quantised_on_their_own_inputs() -> None:
    rng = np.random.default_rng(8)
    covariances = np.concatenate([covariance_of(make_inputs(rng, 200, 9)) for _ in range(3)])
    weight = rng.standard_normal((3, 2, 9))
    settings = {"lam": 0.0, "codebook": np.arange(-8, 9) / 2.0, "refit": False, "sweeps": 2}
    together = quantize_layer(weight, covariances, **settings)
    for group in range(3):
        error = together.values[group] - weight[group]
        rounded = np.round(2 * weight[group]) / 2 - weight[group]
        own = covariances[group : group + 1]
        assert measure_damage(error[None], own) <= measure_damage(rounded[None], own) * (1 + 1e-9)
    assert together.damage < 0.8 * measure_damage(np.round(2 * weight) / 2 - weight, covariances)


def test_rows_that_count_more_are_kept_better() -> None:
    rng = np.random.default_rng(9)
    covariance = covariance_of(make_inputs(rng, 300, 24))
    weight = rng.standard_normal((1, 40, 24))
    scale = np.where(np.arange(40) < 20, 10.0, 0.1)[None]
    result = quantize_layer(weight, covariance, lam=0.05, step=0.5, row_weights=scale)
    error = result.values - weight
    assert measure_damage(error[:, :20], covariance) < measure_damage(error[:, 20:], covariance) / 3


def test_refitted_codebook_is_the_least_squares_one() -> None:
    rng = np.random.default_rng(10)
    x = make_inputs(rng, 400, 10)
    covariance = covariance_of(x)
    weight = rng.standard_normal((1, 12, 10))
    codebook = np.array([-1.0, 0.0, 0.8, 1.6])
    codes = np.argmin(np.abs(weight[..., None] - codebook), axis=-1).astype(np.int32)
    scale = rng.uniform(0.5, 2, (1, 12))
    fitted = refit_codebook(weight, covariance, codes, codebook, row_weights=scale)
    centred = (x - x.mean(axis=0)) / np.sqrt(len(x))
    parts = [
        ((centred @ (codes[0] == s).T.astype(float)) * np.sqrt(scale[0])).reshape(-1)
        for s in (0, 2, 3)
    ]
    wanted = ((centred @ weight[0].T) * np.sqrt(scale[0])).reshape(-1)
    expected = np.linalg.lstsq(np.stack(parts, axis=1), wanted, rcond=None)[0]
    np.testing.assert_allclose(fitted[[0, 2, 3]], expected, rtol=1e-4)
    assert fitted[1] == 0


def test_gather_counts_are_a_diagonal() -> None:
    counts = np.array([[0.5, 0.0, 0.25]])
    np.testing.assert_array_equal(center_moments(counts, counts)[0], np.diag(counts[0]))
    assert damp(np.diag([2.0, 0.0])[None], 0.1).tolist() == [[[2.2, 0.0], [0.0, 2e-4]]]
    assert damp(np.zeros((1, 2, 2)), 0.1).tolist() == [[[1.0, 0.0], [0.0, 1.0]]]


def test_codebooks_that_cannot_be_used() -> None:
    weight, covariance = np.ones((1, 2, 2)), np.eye(2)[None]
    with pytest.raises(InputError, match="step or codebook must be given"):
        quantize_layer(weight, covariance, lam=0)
    with pytest.raises(InputError, match="the codebook must ascend and hold 0, got 2 values"):
        quantize_layer(weight, covariance, lam=0, codebook=np.array([1.0, 2.0]))


def test_chosen_step_follows_lambda_curvature_and_row_weights() -> None:
    diagonal = np.diag([2.0, 2.0, 2.0, 0.0])[None]
    step = choose_step(diagonal, 0.1, ratio=0.2, damping=1e-9)
    assert step == pytest.approx(np.sqrt(0.1 / (0.2 * 2)))
    halved = choose_step(
        diagonal, 0.1, ratio=0.2, damping=1e-9, row_weights=np.array([[4.0, 4, 0]])
    )
    assert halved == pytest.approx(step / 2)
    assert choose_step(np.zeros((1, 3, 3)), 0.1) == 1.0


def test_the_chosen_step_is_near_the_best_at_many_bits() -> None:
    rng = np.random.default_rng(11)
    covariance = covariance_of(make_inputs(rng, 600, 20))
    weight, lam = rng.standard_normal((1, 100, 20)), 1e-4
    chosen = choose_step(covariance, lam, ratio=0.116)
    sums = {
        factor: (q := quantize_layer(weight, covariance, lam=lam, step=factor * chosen)).damage
        + lam * q.size_bits
        for factor in (0.25, 1, 4)
    }
    assert sums[1] == min(sums.values())


def test_what_rounding_made_negative_is_cleared() -> None:
    rng = np.random.default_rng(30)
    noise = rng.standard_normal((2, 6, 6))
    covariance = noise + noise.swapaxes(1, 2)
    covariance[:, 2] = covariance[:, :, 2] = 0
    np.einsum("gii->gi", covariance)[...] = [0.1, 0.1, 0, 0.1, 0.1, 0.1]
    assert np.linalg.eigvalsh(covariance).min() < -1
    cleared = make_semidefinite(covariance)
    assert np.linalg.eigvalsh(cleared).min() > -1e-12
    assert not cleared[:, 2].any()
    # The nearest one: what was definite stays.
    np.testing.assert_allclose(make_semidefinite(cleared), cleared, atol=1e-12)
    assert (np.linalg.norm(cleared - covariance, axis=(1, 2)) > 0).all()
