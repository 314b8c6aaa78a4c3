"""A layer in a filter: nothing that is stored is lost, and what is not is made up for."""

from __future__ import annotations

import dataclasses

import numpy as np
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
from wl_onnx.codecs import bloomier
from wl_onnx.planning.layer_coding import code_layer
from wl_onnx.planning.layer_filter import code_filter, predict_filter
from wl_onnx.planning.layer_problem import LayerProblem, LayerSettings

LAYOUTS = ("ribbon", "xor", "prefix")
CODEBOOK = np.array([-2.0, -1.0, 0.0, 1.0, 1.5])
ZERO = 2


def make_problem(kind: str, rng: np.random.Generator) -> tuple[LayerProblem, np.ndarray]:
    """A problem, and codes of it with nine zeros in ten."""
    shape = {"linear": (60, 40), "grouped": (12, 4, 3, 3)}[kind]
    codes = rng.choice(5, size=shape, p=[0.02, 0.03, 0.9, 0.03, 0.02]).astype(np.int32)
    weight = CODEBOOK[codes] + 0.05 * rng.standard_normal(shape)
    problem = pose(make_linear(weight) if kind == "linear" else make_conv(weight, 3), rng)
    return problem, np.ascontiguousarray(problem.view.to_matrices(codes))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["linear", "grouped"])
def test_stored_weights_are_found_and_damage_is_told(kind: str, layout: str) -> None:
    problem, codes = make_problem(kind, np.random.default_rng(3))
    settings = LayerSettings(codec="bloomier", lam=1e-3)
    coded = code_filter(problem, settings, codes, CODEBOOK, Recipe(layout=layout))
    stored = check(problem, coded)
    info = bloomier.inspect(coded.blob)
    assert info.layout == layout
    centroids = np.insert(np.asarray(info.codebook, np.float64), ZERO, 0.0)
    kept = codes != ZERO
    np.testing.assert_array_equal(stored[kept], centroids[codes[kept]])
    assert coded.fields["num_nonzero"] == kept.sum()
    false = stored[~kept]
    assert np.isin(false, centroids).all()
    energy = np.square(false).sum() / np.square(problem.weight).sum()
    assert coded.fields["epsilon"] == pytest.approx(energy, rel=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_refitted_centroids_are_the_best_for_what_is_decoded(layout: str) -> None:
    problem, codes = make_problem("linear", np.random.default_rng(4))
    recipe = Recipe(layout=layout, codebook="float32")
    settings = LayerSettings(codec="bloomier", lam=1e-2, damping=1e-9)
    coded = code_filter(problem, settings, codes, CODEBOOK, recipe)
    stored = check(problem, coded)
    for centroid in np.unique(stored[stored != 0]):
        for factor in (0.98, 1.02):
            moved = np.where(stored == centroid, factor * centroid, stored)
            assert damage_of(problem, moved) > coded.damage


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_prediction_is_near(layout: str) -> None:
    rng = np.random.default_rng(5)
    weight = rng.standard_normal((300, 200)) * (rng.random((300, 200)) < 0.1)
    problem = pose(make_linear(weight), rng, covariance=np.eye(300)[None])
    codes = np.digitize(problem.target, [-1.5, -0.5, 0.5, 1.25]).astype(np.int32)
    recipe = Recipe(layout=layout)
    settings = LayerSettings(codec="bloomier", lam=1e-2)
    predicted = predict_filter(problem, settings.lam, codes, CODEBOOK, recipe)
    coded = code_filter(problem, settings, codes, CODEBOOK, recipe)
    check(problem, coded)
    assert coded.size_bits == pytest.approx(predicted.size_bits, rel=0.05)
    # The refit makes up for part of what is predicted.
    assert 0.5 * predicted.damage < coded.damage < 1.05 * predicted.damage


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_smaller_lambda_gives_fewer_false_positives(layout: str) -> None:
    problem, codes = make_problem("linear", np.random.default_rng(6))
    rates = []
    for lam in (3.0, 3e-1, 3e-2):
        settings = LayerSettings(codec="bloomier", lam=lam)
        coded = code_filter(problem, settings, codes, CODEBOOK, Recipe(layout=layout))
        rates.append(coded.fields["false_positive_rate"])
    assert rates[0] > rates[1] > rates[2]


@pytest.mark.parametrize("layout", ["ribbon", "prefix"])
def test_a_filter_wins_where_false_positives_cost_nothing(layout: str) -> None:
    """Half of the outputs count nothing; which ones, a palette has to say and a filter has not."""
    rng = np.random.default_rng(7)
    counts = rng.random(4000) < 0.5
    weight = np.where(counts, rng.choice([-1.0, 1.0], (16, 4000)), 0.0)
    row_weights = np.where(counts, 1.0, 1e-12)[None]
    covariance = draw_covariance(rng, 1, 16)
    problem = pose(make_linear(weight), rng, covariance=covariance, row_weights=row_weights)
    settings = LayerSettings(codec="auto", lam=1e-3)
    coded = code_layer(problem, settings, Recipe(layout=layout))
    assert coded.codec == "bloomier"
    check(problem, coded)
    assert set(coded.tried) == {"palette", "bloomier"}
    assert coded.tried["bloomier"] == (coded.size_bits, coded.damage)
    bits, damage = coded.tried["palette"]
    assert bits > 1.05 * coded.size_bits
    assert damage + settings.lam * bits > coded.cost(settings.lam)


def test_with_auto_the_better_codec_is_taken() -> None:
    problem, _ = make_problem("linear", np.random.default_rng(8))
    settings = LayerSettings(codec="auto", lam=1e-4)
    auto = code_layer(problem, settings, Recipe())
    alone = {
        codec: code_layer(problem, dataclasses.replace(settings, codec=codec), Recipe())
        for codec in ("palette", "bloomier")
    }
    assert auto.cost(1e-4) == min(one.cost(1e-4) for one in alone.values())
    assert set(auto.tried) == {"palette", "bloomier"}
    assert auto.tried["palette"] == (alone["palette"].size_bits, alone["palette"].damage)
    assert {name: set(one.tried) for name, one in alone.items()} == {
        "palette": {"palette"},
        "bloomier": {"bloomier"},
    }


def test_codes_do_not_depend_on_threads() -> None:
    problem, codes = make_problem("linear", np.random.default_rng(9))
    settings = LayerSettings(codec="bloomier", lam=1e-3)
    blobs = {
        code_filter(problem, settings, codes, CODEBOOK, Recipe(), threads=threads).blob
        for threads in (1, 2)
    }
    assert len(blobs) == 1
