"""Histograms of weights, and which mapping is chosen by them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from wl_onnx.analog import find_device
from wl_onnx.analog.choice import choose_adaptive, choose_mapping, choose_priced
from wl_onnx.analog.curve import CURVES
from wl_onnx.analog.mapping import Mapping, map_weights
from wl_onnx.analog.profile import Profile, make_profile
from wl_onnx.analog.read_error import ReadError, ReadPredictor
from wl_onnx.analog.storage import MappingKind

KINDS: tuple[MappingKind, ...] = ("magnitude", "pair", "offset")
ERRORS = {
    name: {curve: ReadPredictor(find_device(name), 86400.0).predict(curve) for curve in CURVES}
    for name in ("pcm-nandakumar2019", "gaussian")
}
ODD = ReadError(
    np.linspace(0, 1, 3), np.array([0.3, 0.0, 0.1]), np.zeros(3), np.array([0.5, 0.01, 0.01])
)


def draw(seed: int = 0, share: float = 0.6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    weights = rng.laplace(size=3000)
    kept = np.abs(weights) > np.quantile(np.abs(weights), 1 - share)
    weights[~kept] = 0
    return weights, kept, rng.lognormal(size=3000)


def entropy_bits(labels: np.ndarray) -> float:
    counts = np.unique(labels, return_counts=True)[1]
    return float(sum(count * np.log2(labels.size / count) for count in counts))


class TestProfile:
    def test_counts_by_brute_force(self) -> None:
        weights, kept, costs = draw()
        profile = make_profile(weights, kept, costs)
        stored = np.abs(weights[kept])
        assert profile.largest == stored.max()
        assert (profile.num_zeros, profile.num_stored) == ((~kept).sum(), kept.sum())
        assert profile.counts.sum() == kept.sum()
        assert profile.costs.sum() == pytest.approx(costs[kept].sum())
        width = profile.largest / profile.counts.size
        assert profile.smallest <= stored.min() <= profile.smallest + width
        for index in (0, 17, 700, 4095):
            low, high = index * width, (index + 1) * width
            inside = (stored >= low) & ((stored < high) | (index == 4095))
            assert profile.counts[index] == inside.sum()
            assert profile.costs[index] == pytest.approx(costs[kept][inside].sum())
            assert low < profile.centers[index] < high

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.95, 0.999, 1.0])
    def test_quantiles_by_brute_force(self, share: float) -> None:
        weights, kept, _ = draw()
        profile = make_profile(weights, kept)
        stored = np.sort(np.abs(weights[kept]))
        exact = stored[int(np.ceil(share * stored.size)) - 1]
        width = profile.largest / profile.counts.size
        assert exact <= profile.quantile(share) + 1e-12
        assert profile.quantile(share) <= exact + width + 1e-12

    def test_no_weights(self) -> None:
        profile = make_profile(np.zeros(5), np.zeros(5, bool))
        assert (profile.smallest, profile.num_stored, profile.num_zeros) == (0.0, 0, 5)
        assert profile.largest > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.4, 1.0])
@pytest.mark.parametrize("num_ranges", [1, 2, 5])
def test_label_bits_are_the_entropy_of_the_labels(
    kind: MappingKind, share: float, num_ranges: int
) -> None:
    weights, kept, _ = draw(share=share)
    if kind == "magnitude":  # as many of either sign
        weights, kept = (
            np.concatenate([one, sign * one]) for one, sign in ((weights, -1), (kept, 1))
        )
        kept = kept.astype(bool)
    profile = make_profile(weights, kept)
    choice = choose_adaptive(profile, kind, num_ranges, ERRORS["gaussian"].__getitem__)
    # At the edges of bins, which are not those of the mapping, a weight may count to a neighbour.
    mapped = map_weights(weights, kept, choice.mapping)
    table = 56 * len(mapped.low)
    assert choice.label_bits - table == pytest.approx(entropy_bits(mapped.labels), rel=5e-3, abs=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("device", ERRORS)
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_the_loss_is_that_of_the_weights(kind: MappingKind, device: str, share: float) -> None:
    """From the histogram as from each weight."""
    weights, kept, costs = draw(share=share)
    error = ERRORS[device][0.0]
    choice = choose_mapping(make_profile(weights, kept, costs), kind, lambda _curve: error)
    top = np.abs(weights).max()
    assert choice.mapping == Mapping(kind, (0.0, top))
    magnitudes = np.abs(weights[kept]) / top
    if kind == "magnitude":
        energy = error.energy(magnitudes)
    elif kind == "pair":
        energy = error.energy(magnitudes) + error.energy(np.zeros(1))
    else:
        energy = 4 * error.energy((1 + weights[kept] / top) / 2)
    expected = float((costs[kept] * energy).sum() * top**2)
    assert choice.loss == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("device", [*ERRORS, "odd"])
@pytest.mark.parametrize("num_ranges", [1, 2, 3, 8])
def test_adaptive_mapping_never_loses_more_than_the_plain_one(
    kind: MappingKind, device: str, num_ranges: int
) -> None:
    errors = {} if device == "odd" else ERRORS[device]
    for seed, share in itertools.product(range(3), (0.2, 1.0)):
        weights, kept, costs = draw(seed, share)
        profile = make_profile(weights, kept, costs)
        plain = choose_mapping(profile, kind, lambda curve: errors.get(curve, ODD))
        chosen = choose_adaptive(profile, kind, num_ranges, lambda curve: errors.get(curve, ODD))
        assert chosen.loss <= plain.loss
        assert chosen.mapping.num_ranges <= num_ranges
        if device != "odd" and num_ranges > 1:
            assert chosen.loss < 0.75 * plain.loss


@pytest.mark.parametrize("kind", KINDS)
def test_the_dearer_a_bit_the_fewer_are_spent(kind: MappingKind) -> None:
    weights, kept, costs = draw(share=0.4)
    profile = make_profile(weights, kept, costs)
    error_of = ERRORS["pcm-nandakumar2019"].__getitem__
    choices = [
        choose_priced(profile, kind, error_of, price_of_bit=10.0**power)
        for power in range(-8, 6, 2)
    ]
    bits = [choice.label_bits for choice in choices]
    losses = [choice.loss for choice in choices]
    assert bits == sorted(bits, reverse=True)
    assert losses == sorted(losses)
    assert choices[0].mapping.num_ranges > choices[-1].mapping.num_ranges == 1
    # What is cheapest at one price is not beaten there by what is cheapest at another.
    for power, choice in zip(range(-8, 6, 2), choices, strict=True):
        cost = choice.loss + 10.0**power * choice.label_bits
        assert all(cost <= other.loss + 10.0**power * other.label_bits for other in choices)


def test_a_profile_of_one_magnitude() -> None:
    profile = make_profile(np.full(7, -0.5), np.ones(7, bool))
    assert isinstance(profile, Profile)
    for kind in KINDS:
        for num_ranges in (1, 2, 3):
            choice = choose_adaptive(profile, kind, num_ranges, ERRORS["gaussian"].__getitem__)
            assert choice.mapping.edges[-1] == 0.5
        priced = choose_priced(profile, kind, ERRORS["gaussian"].__getitem__, price_of_bit=1e-9)
        assert np.isfinite(priced.loss)
