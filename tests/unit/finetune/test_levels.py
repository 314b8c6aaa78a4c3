"""Weights as levels: against NumPy, with gradients that pass through."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from wl_onnx.finetune.levels import MAX_LEVEL, Levels, choose_level_step  # noqa: E402  needs torch


def draw(count: int = 4000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=count).astype(np.float32)


@pytest.mark.parametrize("dead_zone", [0.0, 0.3, 1.0])
def test_weights_are_rounded_as_numpy_does(dead_zone: float) -> None:
    weight, step = draw(), 0.25
    scaled = weight / np.float32(step)
    wanted = np.where(np.abs(scaled) < 0.5 + dead_zone, 0, np.rint(scaled)).astype(np.int64)
    levels = Levels(step, dead_zone)
    tensor = torch.from_numpy(weight)
    np.testing.assert_array_equal(levels.read_levels(tensor), wanted)
    np.testing.assert_array_equal(levels(tensor).numpy(), (wanted * step).astype(np.float32))


def test_gradients_pass_as_if_nothing_were_rounded() -> None:
    weight = torch.from_numpy(draw()).requires_grad_()
    factors = torch.from_numpy(draw(seed=1))
    (Levels(0.5, 0.3)(weight) * factors).sum().backward()
    np.testing.assert_array_equal(weight.grad.numpy(), factors.numpy())


def test_levels_have_an_end() -> None:
    levels = Levels(1e-3, 0.0).read_levels(torch.tensor([-100.0, 100.0]))
    assert levels.tolist() == [-MAX_LEVEL, MAX_LEVEL]


def test_a_step_is_a_share_of_what_is_not_near_zero() -> None:
    weight = np.array([0.0, 0.01, -0.5, 1.0, -1.5], np.float32)
    assert choose_level_step(torch.from_numpy(weight), 0.7, 0.1) == pytest.approx(0.7, rel=2**-10)


def test_a_step_leaves_room_for_the_largest_weight() -> None:
    weight = torch.cat((torch.full((9999,), 1e-3), torch.tensor([1000.0])))
    step = choose_level_step(weight, 0.001, 1e-4)
    assert 1000.0 / step == pytest.approx(MAX_LEVEL, rel=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.05])
def test_a_tensor_that_is_all_but_zero_has_a_step(value: float) -> None:
    step = choose_level_step(torch.full((5,), value), 0.7, 0.1)
    assert step > 0


def test_multiples_of_a_step_are_exact_in_float32() -> None:
    step = choose_level_step(torch.from_numpy(draw()), 0.7, 0.1)
    exact = np.arange(-MAX_LEVEL, MAX_LEVEL + 1) * step
    assert (exact.astype(np.float32).astype(np.float64) == exact).all()
