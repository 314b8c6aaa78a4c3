"""One layer, coded: what is stored is what is told, in the smaller container."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import onnx
import pytest

from tests.unit.planning.problems import (
    check,
    damage_of,
    draw_covariance,
    make_conv,
    make_linear,
    pose,
)
from wl_onnx import Recipe
from wl_onnx.codecs import bundle
from wl_onnx.planning.layer_coding import code_layer
from wl_onnx.planning.layer_problem import (
    LayerProblem,
    LayerSettings,
    choose_codebook_type,
    round_step,
)

LOSSLESS = LayerSettings(codec="palette", lam=1e-3)


def models() -> dict[str, onnx.ModelProto]:
    rng = np.random.default_rng(3)
    return {
        "matmul": make_linear(rng.laplace(size=(12, 7))),
        "gemm": make_linear(rng.laplace(size=(9, 10)), is_transposed=True),
        "conv": make_conv(rng.laplace(size=(6, 4, 3, 3)), 1),
        "grouped": make_conv(rng.laplace(size=(6, 2, 3, 3)), 3),
        "depthwise": make_conv(rng.laplace(size=(5, 1, 3, 3)), 5),
        "large": make_linear(rng.laplace(size=(300, 260))),
    }


@pytest.mark.parametrize("name", models())
@pytest.mark.parametrize("lam", [1e-6, 1e-2])
def test_what_is_stored_is_what_is_told(name: str, lam: float) -> None:
    rng = np.random.default_rng(5)
    problem = pose(models()[name], rng)
    coded = code_layer(problem, dataclasses.replace(LOSSLESS, lam=lam), Recipe())
    check(problem, coded)
    assert (coded.codec == "palette") == (name == "large")  # too many weights for a bundle
    assert coded.tried == {"palette": (coded.size_bits, coded.damage)}


def test_a_bundle_is_taken_where_it_is_smaller_by_itself() -> None:
    rng = np.random.default_rng(6)
    problem = pose(make_linear(rng.laplace(size=(20, 20))), rng)
    coded = code_layer(problem, LOSSLESS, Recipe())
    assert coded.codec == "bundle"
    assert coded.tensor is not None
    frame = len(bundle.encode([coded.tensor, coded.tensor])) - len(bundle.encode([coded.tensor]))
    # The second of two equal tensors is cheaper than the first, for all is learned by then.
    assert 8 * frame <= coded.size_bits <= 8 * len(bundle.encode([coded.tensor]))


def test_damage_falls_and_bits_rise_as_lambda_falls() -> None:
    rng = np.random.default_rng(7)
    problem = pose(make_linear(rng.laplace(size=(24, 16))), rng)
    coded = [
        code_layer(problem, dataclasses.replace(LOSSLESS, lam=10.0**power), Recipe())
        for power in (-7, -5, -3, -1)
    ]
    for one, other in itertools.pairwise(coded):
        assert one.damage < other.damage
        assert one.size_bits > other.size_bits


def test_no_choice_of_levels_does_much_better() -> None:
    """Every choice of the levels -1, 0 and 1 of a tiny layer, with the best step for each."""
    rng = np.random.default_rng(8)
    problem = pose(make_linear(rng.standard_normal((5, 1))), rng, row_weights=np.ones((1, 1)))
    covariance, target = problem.covariance[0], problem.target[0, 0]
    coded = code_layer(problem, LayerSettings(codec="palette", lam=1e-9), Recipe())
    best = np.inf
    for levels in itertools.product((-1, 0, 1), repeat=5):
        if any(levels):
            moved = np.array(levels) @ covariance
            step = float(moved @ target) / float(moved @ levels)
            best = min(best, damage_of(problem, step * np.array(levels).reshape(1, 1, 5)))
    assert coded.damage < 0.05 * best  # hundreds of levels against three
    check(problem, coded)


def test_codes_do_not_depend_on_threads() -> None:
    rng = np.random.default_rng(9)
    problem = pose(make_linear(rng.laplace(size=(300, 260))), rng)
    one, two = (code_layer(problem, LOSSLESS, Recipe(), threads=n) for n in (1, 2))
    assert one.blob == two.blob


def solve(problem: LayerProblem, codec: str, lam: float = 1e-3) -> np.ndarray:
    coded = code_layer(problem, LayerSettings(codec=codec, lam=lam), Recipe())
    return check(problem, coded)


@pytest.mark.parametrize("codec", ["palette", "bloomier", "auto"])
class TestCorners:
    def test_all_weights_are_zero(self, codec: str) -> None:
        problem = pose(make_linear(np.zeros((8, 6))), np.random.default_rng(0))
        assert not solve(problem, codec).any()

    def test_all_weights_are_rounded_to_zero(self, codec: str) -> None:
        problem = pose(make_linear(np.full((8, 6), 1e-3)), np.random.default_rng(0))
        assert not solve(problem, codec, lam=1e3).any()

    def test_one_weight(self, codec: str) -> None:
        problem = pose(make_linear(np.array([[0.7]])), np.random.default_rng(0))
        assert solve(problem, codec, lam=1e-9).item() == pytest.approx(0.7, rel=1e-3)

    def test_an_input_that_never_changes(self, codec: str) -> None:
        rng = np.random.default_rng(1)
        covariance = draw_covariance(rng, 1, 10)
        covariance[:, 3] = covariance[:, :, 3] = 0
        problem = pose(make_linear(rng.laplace(size=(10, 6))), rng, covariance=covariance)
        stored = solve(problem, codec, lam=1e-6)
        assert not stored[:, :, 3].any() or codec == "bloomier"  # false positives harm nobody

    def test_inputs_that_never_change(self, codec: str) -> None:
        rng = np.random.default_rng(2)
        problem = pose(make_linear(rng.laplace(size=(9, 6))), rng, covariance=np.zeros((1, 9, 9)))
        solve(problem, codec)

    def test_inputs_that_follow_from_each_other(self, codec: str) -> None:
        rng = np.random.default_rng(3)
        x = rng.standard_normal((50, 3)) @ rng.standard_normal((3, 12))
        problem = pose(make_linear(rng.laplace(size=(12, 6))), rng, covariance=(x.T @ x / 50)[None])
        stored = solve(problem, codec, lam=1e-7)
        before, now = (x @ one[0].T for one in (problem.target, stored))
        assert np.square(now - before).sum() < 1e-2 * np.square(before).sum()

    @pytest.mark.parametrize("counted", [0, 3])
    def test_outputs_that_count_nothing(self, codec: str, counted: int) -> None:
        rng = np.random.default_rng(4)
        row_weights = np.zeros((1, 6))
        row_weights[0, :counted] = 1
        problem = pose(make_linear(rng.laplace(size=(9, 6))), rng, row_weights=row_weights)
        stored = solve(problem, codec, lam=1e-6)
        error = np.square(stored - problem.target)[0, :counted].sum()
        assert error <= 1e-2 * np.square(problem.target).sum()

    @pytest.mark.parametrize("scale", [1e-30, 1e-9, 1e-6, 1e4, 1e6, 1e20])
    def test_the_scale_does_not_matter(self, codec: str, scale: float) -> None:
        """Beyond what float16 holds, and below where it is precise."""
        rng = np.random.default_rng(5)
        weight, row_weights = rng.laplace(size=(30, 8)), np.ones((1, 8))
        covariance = draw_covariance(rng, 1, 30)
        shares = []
        for factor in (1.0, scale):
            model = make_linear(weight * factor)
            problem = pose(model, rng, covariance=covariance, row_weights=row_weights)
            stored = solve(problem, codec, lam=1e-3 * factor**2)
            shares.append(damage_of(problem, stored) / damage_of(problem, np.zeros_like(stored)))
        # Where false positives fall is chance.
        assert shares[1] == pytest.approx(shares[0], rel=0.1 if codec == "palette" else 1)


def test_steps_have_eleven_bits_at_any_scale() -> None:
    for step in np.random.default_rng(0).uniform(0.001, 100, 50):
        assert round_step(step) == float(np.float16(step))
    for step in (1.2345e-9, 1.2345e-300, 1.2345e9):
        assert round_step(step) == pytest.approx(step, rel=2**-11)
    assert round_step(0.0) == 0.0


def test_float16_holds_a_codebook_only_where_it_keeps_distances() -> None:
    evenly = np.arange(-5, 6) * 0.01
    assert choose_codebook_type(evenly) == "float16"
    assert choose_codebook_type(np.zeros(1)) == "float16"
    assert choose_codebook_type(np.array([0.0, 0.1])) == "float16"
    for factor in (1e-6, 1e7, 1e30):
        assert choose_codebook_type(evenly * factor) == "float32"
    assert choose_codebook_type(np.array([0, 1000.0, 1000.25])) == "float32"
