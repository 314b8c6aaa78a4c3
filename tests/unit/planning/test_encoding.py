"""One tensor into one blob, against NumPy."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from wl_onnx.codecs import bloomier, bounds
from wl_onnx.errors import EncodeError
from wl_onnx.planning import encoding
from wl_onnx.planning.encoding import encode_weight
from wl_onnx.recipe import Recipe
from wl_onnx.simplify import Threshold, threshold_for_sparsity

GIVEN = Recipe(sparsity=0.8, clusters=8, bits=6)


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return np.random.default_rng(2).laplace(size=30_000).astype(np.float32)


def error_share(values: np.ndarray, decoded: np.ndarray) -> float:
    values = values.astype(np.float64)
    return float(((values - decoded) ** 2).sum() / (values**2).sum())


def test_what_is_given_is_used(values: np.ndarray) -> None:
    encoded = encode_weight("w", values, GIVEN)
    info = bloomier.inspect(encoded.blob)
    assert (info.num_keys, info.num_clusters, info.bits) == (6000, 8, 6)
    assert (info.layout, info.hash, info.codebook_type) == ("ribbon", "tabulation", "float16")
    assert encoded.fields["meets_share"] is None
    assert encoded.fields["error_share"] == pytest.approx(
        error_share(values, bloomier.decode(encoded.blob)), rel=1e-9
    )


@pytest.mark.parametrize(
    "option", [("layout", "xor"), ("layout", "prefix"), ("hash", "murmur3"), ("seed", 9)]
)
def test_options_reach_the_blob(values: np.ndarray, option: tuple[str, Any]) -> None:
    recipe = dataclasses.replace(GIVEN, **dict([option]))
    info = bloomier.inspect(encode_weight("w", values, recipe).blob)
    assert getattr(info, option[0]) == option[1]
    recipe = dataclasses.replace(GIVEN, codebook="float32")
    assert bloomier.inspect(encode_weight("w", values, recipe).blob).codebook_type == "float32"


def test_refitting_makes_the_error_smaller(
    values: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = bloomier.decode(encode_weight("w", values, GIVEN).blob)
    monkeypatch.setattr(bloomier, "with_codebook", lambda blob, codebook: blob)
    plain = bloomier.decode(encode_weight("w", values, GIVEN).blob)
    np.testing.assert_array_equal(fitted != 0, plain != 0)
    assert error_share(values, fitted) < 0.9 * error_share(values, plain)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("layout", ["ribbon", "xor", "prefix"])
def test_automatic_choices_keep_within_the_share_as_measured(
    values: np.ndarray, share: float, layout: str
) -> None:
    encoded = encode_weight("w", values, Recipe(error_share=share, layout=layout))
    measured = error_share(values, bloomier.decode(encoded.blob))
    assert encoded.fields["meets_share"] is True
    assert measured <= share
    # A share that is hardly used would be a size that is too large.
    assert measured > 0.7 * share


@pytest.mark.parametrize("bits", [7, 9])
def test_lengths_have_the_error_energy_of_the_given_bits(
    values: np.ndarray, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bloomier, "with_codebook", lambda blob, codebook: blob)
    recipe = Recipe(sparsity=0.9, clusters=16, bits=bits)
    common = encode_weight("w", values, recipe)
    own = encode_weight("w", values, dataclasses.replace(recipe, layout="prefix"))
    infos = [bloomier.inspect(encoded.blob) for encoded in (common, own)]
    expected = [
        bounds.expected_false_positive_energy(30_000, 3000, info.codebook, info.lengths)
        for info in infos
    ]
    assert 0.95 * expected[0] < expected[1] <= expected[0] * (1 + 1e-6)
    assert len(own.blob) < 0.9 * len(common.blob)
    assert own.fields["information_bound_bits"] < 0.88 * common.fields["information_bound_bits"]
    assert own.fields["bits"] == infos[1].lengths.max() == infos[1].bits
    rate = float((2.0 ** -infos[1].lengths.astype(np.float64)).sum())
    assert own.fields["false_positive_rate"] == pytest.approx(rate)


def test_lengths_make_a_smaller_blob_within_the_same_share(values: np.ndarray) -> None:
    for share in (0.02, 0.1, 0.5):
        recipe = Recipe(error_share=share)
        own = encode_weight("w", values, dataclasses.replace(recipe, layout="prefix"))
        assert own.fields["meets_share"] is True
        assert len(own.blob) < 0.95 * len(encode_weight("w", values, recipe).blob)


def test_a_choice_that_costs_more_than_predicted_is_made_again(
    values: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets: list[float] = []
    choose = encoding.choose

    def optimistic(values: np.ndarray, recipe: Recipe, *, threads: int) -> Any:
        budgets.append(recipe.error_share)
        return choose(
            values,
            dataclasses.replace(recipe, error_share=1.3 * recipe.error_share),
            threads=threads,
        )

    monkeypatch.setattr(encoding, "choose", optimistic)
    encoded = encode_weight("w", values, Recipe(error_share=0.1))
    assert len(budgets) > 1
    assert budgets == sorted(budgets, reverse=True)
    assert encoded.fields["meets_share"] is True
    assert error_share(values, bloomier.decode(encoded.blob)) <= 0.1


def test_no_more_choices_where_none_is_within_the_share(values: np.ndarray) -> None:
    encoded = encode_weight("w", values, Recipe(error_share=1e-5))
    assert encoded.fields["meets_share"] is False
    assert encoded.fields["error_share"] > 1e-5


def test_a_threshold_wins_over_the_sparsity(values: np.ndarray) -> None:
    threshold = Threshold(float(np.quantile(np.abs(values), 0.9)))
    kept = int((np.abs(values) >= threshold.magnitude).sum())
    assert encode_weight("w", values, GIVEN, threshold=threshold).fields["num_nonzero"] == kept
    # Bits are chosen for the zeros that the threshold leaves, not for the recipe's share of them.
    recipe = Recipe(sparsity=0.1, clusters=8, error_share=0.6)
    encoded = encode_weight("w", values, recipe, threshold=threshold)
    assert encoded.fields["num_nonzero"] == kept
    assert encoded.fields["bits"] > encode_weight("w", values, recipe).fields["bits"]
    same = dataclasses.replace(recipe, sparsity=1 - kept / values.size)
    assert encoded.fields["bits"] == encode_weight("w", values, same).fields["bits"]


def test_a_threshold_above_all_weights(values: np.ndarray) -> None:
    for bits in (6, "auto"):
        recipe = dataclasses.replace(GIVEN, bits=bits)
        encoded = encode_weight("w", values, recipe, threshold=Threshold(np.inf))
        assert encoded.fields["num_nonzero"] == 0
        assert not bloomier.decode(encoded.blob).any()
        assert encoded.fields["error_share"] == 1


@pytest.mark.parametrize(
    "values",
    [np.zeros(5000), np.ones(5000), np.full(1, -3.0), np.repeat([0.0, 1e-30], 3000)],
    ids=["zeros", "ones", "one", "tiny"],
)
def test_tensors_of_hardly_any_values(values: np.ndarray) -> None:
    values = values.astype(np.float32)
    encoded = encode_weight("w", values, Recipe())
    decoded = bloomier.decode(encoded.blob)
    assert encoded.fields["meets_share"] is True
    assert ((values - decoded) ** 2).sum() <= 0.02 * (values**2).sum()


@pytest.mark.parametrize("scale", [1e-40, 1e-7, 1e4, 3e38])
def test_weights_that_float16_does_not_hold(scale: float) -> None:
    rng = np.random.default_rng(0)
    values = np.clip(rng.uniform(-1, 1, 5000) * scale, -3e38, 3e38).astype(np.float32)
    encoded = encode_weight("w", values, Recipe(codebook="float16"))
    decoded = bloomier.decode(encoded.blob)
    assert np.isfinite(decoded).all()
    assert error_share(values, decoded) <= 0.0201


def test_threads_do_not_change_the_blob(values: np.ndarray) -> None:
    for recipe in (GIVEN, Recipe(), Recipe(layout="xor", hash="murmur3"), Recipe(layout="prefix")):
        blobs = {encode_weight("w", values, recipe, threads=n).blob for n in (1, 2, 3, 0)}
        assert len(blobs) == 1


def test_a_failure_names_the_weight(values: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> bytes:
        raise EncodeError("cannot encode weights: no table exists")

    monkeypatch.setattr(bloomier, "encode", fail)
    with pytest.raises(EncodeError, match=r"weight layer\.w"):
        encode_weight("layer.w", values, dataclasses.replace(GIVEN, hash="tabulation"))
    with pytest.raises(EncodeError, match="no table exists"):
        encode_weight("layer.w", values, GIVEN)


def test_the_threshold_of_a_sparsity_is_the_default(values: np.ndarray) -> None:
    threshold = threshold_for_sparsity(values, 0.8)
    assert encode_weight("w", values, GIVEN, threshold=threshold) == encode_weight(
        "w", values, GIVEN
    )
