"""The penalty for bits: against the formula, and what training under it does."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from wl_onnx.finetune.rate_penalty import RatePenalty, measure_scale  # noqa: E402  needs torch


def test_the_penalty_is_bits_at_their_price() -> None:
    rng = np.random.default_rng(0)
    arrays = {"a": rng.normal(size=(5, 3)), "b": rng.normal(size=7)}
    scales = {"a": 0.1, "b": 2.0}
    bits = sum(np.log2(1 + np.abs(arrays[name]) / scales[name]).sum() for name in arrays)
    weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
    penalty = RatePenalty(weights, scales, rate_weight=3.0, num_samples=1000)
    assert float(penalty(0.0)) == pytest.approx(3.0 * np.log(2) / 1000 * bits, rel=1e-6)


def test_units_cost_by_the_norms_of_rows_and_columns() -> None:
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(5, 3, 2, 2)), rng.normal(size=5)
    arrays = {"w": kernel, "b": bias}
    weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
    scales = {"w": 0.2, "b": 0.5}
    prices = [
        float(RatePenalty(weights, scales, rate_weight=1.0, num_samples=1, unit_weight=unit)(1.0))
        for unit in (0.0, 2.0)
    ]
    matrix = kernel.reshape(5, 12)
    norms = np.concatenate([np.linalg.norm(matrix, axis=axis) for axis in (0, 1)])
    assert prices[1] - prices[0] == pytest.approx(2.0 * np.log1p(norms / 0.2).sum(), rel=1e-6)


def test_units_that_are_dead_have_a_gradient() -> None:
    weight = torch.zeros(4, 3, requires_grad=True)
    penalty = RatePenalty(
        {"w": weight}, {"w": 1.0}, rate_weight=1.0, num_samples=1, unit_weight=1.0
    )
    penalty(1.0).backward()
    assert torch.isfinite(weight.grad).all()


def test_the_penalty_rises_over_its_warmup() -> None:
    weights = {"a": torch.ones(4)}
    penalty = RatePenalty(weights, {"a": 1.0}, rate_weight=1.0, num_samples=1, warmup=0.5)
    whole = float(penalty(1.0))
    assert [float(penalty(at)) / whole for at in (0.0, 0.25, 0.5, 0.75)] == pytest.approx(
        [0.0, 0.5, 1.0, 1.0]
    )


def test_the_gradient_is_that_of_the_formula() -> None:
    weight = torch.tensor([0.5, -2.0], dtype=torch.float64, requires_grad=True)
    RatePenalty({"a": weight}, {"a": 0.25}, rate_weight=1.0, num_samples=10)(1.0).backward()
    wanted = np.sign([0.5, -2.0]) / (np.abs([0.5, -2.0]) + 0.25) / 10
    np.testing.assert_allclose(weight.grad.numpy(), wanted, rtol=1e-6)


def test_what_the_data_need_stays_and_the_rest_goes() -> None:
    """Of 20 features three matter; least squares under the penalty finds them."""
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(400, 20))
    truth = np.zeros(20)
    truth[[2, 7, 11]] = [1.0, -0.5, 2.0]
    x, y = torch.from_numpy(inputs), torch.from_numpy(inputs @ truth + rng.normal(size=400))
    weight = torch.from_numpy(rng.normal(size=20) / 4).requires_grad_()
    penalty = RatePenalty({"w": weight}, {"w": 0.05}, rate_weight=4.0, num_samples=400)
    optimizer = torch.optim.Adam([weight], lr=0.01)
    for _ in range(1500):
        optimizer.zero_grad()
        ((x @ weight - y).square().mean() / 2 + penalty(1.0)).backward()
        optimizer.step()
    kept = np.flatnonzero(np.abs(weight.detach().numpy()) > 0.05)
    assert kept.tolist() == [2, 7, 11]
    np.testing.assert_allclose(weight.detach().numpy()[kept], truth[kept], atol=0.2)


def test_scales_are_root_mean_squares() -> None:
    values = np.random.default_rng(2).normal(size=(30, 4)).astype(np.float32)
    wanted = np.sqrt(np.mean(values.astype(np.float64) ** 2))
    assert measure_scale(torch.from_numpy(values)) == pytest.approx(wanted, rel=1e-12)
