"""Levels in a filter: what is stored decodes right, and false positives are as many as wanted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from wl_onnx.codecs import bloomier
from wl_onnx.recipe import Recipe

pytest.importorskip("torch", reason="torch is not installed")

from wl_onnx.finetune.filter_coding import FilteredWeight, encode_levels, measure_filter

STEP = 0.25


def draw(seed: int = 0, density: float = 0.02, shape: tuple[int, int] = (200, 300)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    levels = rng.choice([-3, -2, -1, 1, 2, 4], size=shape, p=[0.05, 0.15, 0.3, 0.3, 0.15, 0.05])
    return np.where(rng.random(shape) < density, levels, 0)


@pytest.mark.parametrize("layout", ["ribbon", "xor", "prefix"])
def test_stored_weights_decode_to_their_levels(layout: str) -> None:
    levels = draw()
    found = encode_levels("w", levels, STEP, share=0.5, recipe=Recipe(clusters=1, layout=layout))
    values = np.concatenate([[0.0], found.codebook])[found.codes]
    stored = levels != 0
    np.testing.assert_array_equal(values[stored], (levels * STEP)[stored])
    assert found.num_false == np.count_nonzero(values[~stored])
    decoded = bloomier.decode(found.blob, threads=1).reshape(levels.shape)
    np.testing.assert_array_equal(decoded, values.astype(np.float32))


@pytest.mark.parametrize("layout", ["ribbon", "prefix"])
@pytest.mark.parametrize("share", [0.1, 1.0])
def test_false_positives_have_about_the_energy_that_they_may(layout: str, share: float) -> None:
    levels = draw(density=0.05)
    found = encode_levels("w", levels, STEP, share=share, recipe=Recipe(clusters=1, layout=layout))
    values = np.concatenate([[0.0], found.codebook.astype(np.float64)])[found.codes]
    energy = float(np.square(levels * STEP).sum())
    false = float(np.square(values[levels == 0]).sum())
    assert false <= 1.3 * share * energy
    assert false >= 0.2 * share * energy
    assert found.describe()["epsilon"] == pytest.approx(false / energy, rel=1e-6)


@pytest.mark.parametrize("layout", ["ribbon", "prefix"])
def test_bits_that_are_told_are_those_of_the_filter(layout: str) -> None:
    recipe = Recipe(clusters=1, layout=layout)
    found = encode_levels("w", draw(), STEP, share=0.3, recipe=recipe)
    assert measure_filter("w", draw(), STEP, share=0.3, recipe=recipe) == 8 * len(found.blob)


def test_given_bits_are_used() -> None:
    recipe = Recipe(clusters=1, layout="ribbon", bits=7)
    found = encode_levels("w", draw(), STEP, share=1e-9, recipe=recipe)
    assert bloomier.inspect(found.blob).bits == 7


def test_other_centroids_leave_the_codes() -> None:
    found = encode_levels("w", draw(), STEP, share=0.5, recipe=Recipe(clusters=1, layout="prefix"))
    other = found.with_codebook(found.codebook + np.float32(0.125))
    again = FilteredWeight.of_blob(other.blob, found.stored_counts, found.codes.shape)
    np.testing.assert_array_equal(again.codes, found.codes)
    np.testing.assert_array_equal(again.codebook, found.codebook + np.float32(0.125))
    assert again.num_false == found.num_false
    assert dataclasses.replace(again, blob=b"", codes=found.codes).stored_counts.sum() == (
        np.count_nonzero(draw())
    )
