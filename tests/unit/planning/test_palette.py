"""Palettes of weight tensors: within the share, and exactly what NumPy makes of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest

from tests.compressions import arrays_of
from wl_onnx import Recipe, compress, decompress
from wl_onnx.codecs import palette
from wl_onnx.planning.candidates import encode_smallest
from wl_onnx.planning.palette import encode_palette

SHAPE = (200, 150)


def draw(kind: str, size: int = 30_000) -> np.ndarray:
    rng = np.random.default_rng(5)
    draws = {
        "normal": lambda: rng.normal(size=size),
        "laplace": lambda: rng.laplace(size=size) * 1e-3,
        "heavy": lambda: rng.standard_t(2.5, size=size) * 50,
        "sparse": lambda: rng.normal(size=size) * (rng.random(size) < 0.05),
        "positive": lambda: rng.random(size) + 3,
    }
    return draws[kind]().astype(np.float32)


@pytest.mark.parametrize("share", [0.1, 0.02, 0.001])
@pytest.mark.parametrize("kind", ["normal", "laplace", "heavy", "sparse", "positive"])
def test_automatic_palettes_use_the_share(kind: str, share: float) -> None:
    values = draw(kind)
    encoded = encode_palette(values, SHAPE, Recipe(codec="palette", error_share=share))
    decoded = palette.decode(encoded.blob).astype(np.float64)
    error = ((values - decoded) ** 2).sum() / (values.astype(np.float64) ** 2).sum()
    assert encoded.fields["error_share"] == pytest.approx(error, rel=1e-9)
    assert encoded.fields["meets_share"]
    assert error <= share
    # A narrower step than need be would waste bits; where few levels do, the error jumps.
    assert error >= 0.7 * share or encoded.fields["clusters"] < 8


def test_equal_steps_reach_the_rate_of_their_theory() -> None:
    # Gish and Pierce 1968: at most 1/2 log2(pi e / 6) = 0.255 bits above the rate-distortion bound.
    values = draw("normal", 1 << 19)
    encoded = encode_palette(values, (512, 1024), Recipe(codec="palette", error_share=0.02))
    bits = encoded.fields["size_bits"] / values.size
    assert bits <= 0.5 * np.log2(1 / 0.02) + 0.255 + 0.02


def test_a_given_sparsity_is_used_as_given() -> None:
    values = draw("normal")
    encoded = encode_palette(values, SHAPE, Recipe(codec="palette", sparsity=0.9, clusters=8))
    decoded = palette.decode(encoded.blob)
    assert np.count_nonzero(decoded) == 3_000
    smallest_kept = np.abs(values[decoded != 0]).min()
    assert np.abs(values[decoded == 0]).max() <= smallest_kept
    assert encoded.fields["clusters"] == 9
    assert encoded.fields["meets_share"] is None


@pytest.mark.parametrize("values", [np.zeros(5), np.full(7, -2.5), np.array([0, 1e30, -1e-30])])
def test_tensors_of_hardly_any_values(values: np.ndarray) -> None:
    values = values.astype(np.float32)
    encoded = encode_palette(values, values.shape, Recipe(codec="palette"))
    np.testing.assert_allclose(palette.decode(encoded.blob), values, rtol=1e-6, atol=1e22)


def test_auto_takes_the_smaller_one() -> None:
    values = draw("normal")
    recipe = Recipe(codec="auto")
    sizes = {
        codec: len(
            encode_smallest("w", values, SHAPE, dataclasses.replace(recipe, codec=codec)).blob
        )
        for codec in ("bloomier", "palette", "auto")
    }
    assert sizes["auto"] == min(sizes["bloomier"], sizes["palette"])


def test_a_model_of_palettes_runs_and_comes_back(make_mlp) -> None:
    model: onnx.ModelProto = make_mlp(draw("normal").reshape(SHAPE))
    result = compress(model, recipe=Recipe(codec="palette"))
    (node,) = [node for node in result.model.graph.node if node.domain == "com.wl_onnx"]
    assert node.op_type == "PaletteDecode"
    (tensor,) = result.report["tensors"]
    assert tensor["codec"] == "palette"
    assert tensor["epsilon"] == 0
    before, after = arrays_of(model), arrays_of(decompress(result.model))
    weight = tensor["name"]
    difference = (before[weight] - after[weight]).astype(np.float64)
    share = (difference**2).sum() / (before[weight].astype(np.float64) ** 2).sum()
    assert tensor["error_share"] == pytest.approx(share, rel=1e-6)
