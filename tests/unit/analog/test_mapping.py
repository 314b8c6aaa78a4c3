"""Weights as symbols and positions: what is laid out comes back."""

from __future__ import annotations

import numpy as np
import pytest

from wl_onnx.analog.curve import CURVES, apply_curve, invert_curve
from wl_onnx.analog.mapping import MappedWeights, Mapping, map_weights, unmap_weights
from wl_onnx.analog.storage import MappingKind

KINDS: tuple[MappingKind, ...] = ("magnitude", "pair", "offset")
EDGES = {"one": (0.0, 2.5), "two": (0.0, 0.7, 2.5), "four": (0.0, 0.1, 0.37, 1.0, 2.5)}


def by_hand(mapped: MappedWeights) -> np.ndarray:
    """scale (low + (high - low) u), weight by weight."""
    left = iter(mapped.positions)
    values = []
    for label in mapped.labels:
        low, high = float(mapped.low[label]), float(mapped.high[label])
        u = next(left) if mapped.is_stored[label] else 0.0
        values.append(mapped.scale * (low + (high - low) * u))
    assert next(left, None) is None
    return np.array(values)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("has_zeros", [False, True])
def test_weights_come_back(kind: MappingKind, edges: str, has_zeros: bool) -> None:
    rng = np.random.default_rng(1)
    weights = rng.uniform(-2.5, 2.5, 500)
    weights[:3] = 2.5, -2.5, 0.0
    kept = rng.random(500) < 0.6 if has_zeros else np.ones(500, bool)
    weights[~kept] = 0
    mapped = map_weights(weights, kept, Mapping(kind, EDGES[edges]))
    lowest = -1 if kind == "pair" else 0
    assert lowest <= mapped.positions.min() <= mapped.positions.max() <= 1
    assert mapped.positions.size == kept.sum()
    assert mapped.low.dtype == mapped.high.dtype == np.float16
    restored = by_hand(mapped)
    np.testing.assert_array_equal(restored[~kept], 0.0)
    # Edges in float16 leave no gaps: only what lies above the last one or is rounded is moved.
    np.testing.assert_allclose(restored, weights, atol=2.5 * 2**-24)
    np.testing.assert_allclose(unmap_weights(mapped, mapped.positions), restored, rtol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_beyond_the_edges_is_cut(kind: MappingKind) -> None:
    weights = np.array([-9.0, -1.5, 0.25, 1.0, 9.0])
    mapped = map_weights(weights, np.ones(5, bool), Mapping(kind, (0.0, 0.5, 1.0)))
    np.testing.assert_allclose(by_hand(mapped), [-1, -1, 0.25, 1, 1])


def test_magnitudes_below_the_first_edge_rise_to_it() -> None:
    kept = np.array([True, True, False, True])
    weights = np.array([0.1, -0.1, 0.0, 0.75])
    mapped = map_weights(weights, kept, Mapping("magnitude", (0.25, 1.0)))
    np.testing.assert_allclose(by_hand(mapped), [0.25, -0.25, 0.0, 0.75])
    assert mapped.is_stored.tolist() == [False, True, True]
    assert mapped.labels.tolist() == [1, 2, 0, 1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "edges", [(0.0, 1.0, 1.0), (0.0, 0.99999, 1.0), (0.5, 0.5, 1.0), (1.0, 1.0)]
)
def test_edges_that_float16_cannot_tell_apart(kind: MappingKind, edges: tuple[float, ...]) -> None:
    weights = np.array([1.0, -1.0, 0.99999])
    mapped = map_weights(weights, np.ones(3, bool), Mapping(kind, edges))
    assert np.isfinite(mapped.positions).all()
    np.testing.assert_allclose(by_hand(mapped), weights, atol=2**-11)


@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1e6, 1e30])
def test_the_scale_does_not_matter(scale: float) -> None:
    weights = np.random.default_rng(2).standard_normal(100)
    edges = (0.0, 1.0, float(np.abs(weights).max()))
    plain, scaled = (
        map_weights(weights * s, np.ones(100, bool), Mapping("pair", tuple(s * e for e in edges)))
        for s in (1.0, scale)
    )
    np.testing.assert_array_equal(plain.labels, scaled.labels)
    np.testing.assert_allclose(plain.positions, scaled.positions, rtol=1e-6)


def test_nothing_but_zeros() -> None:
    mapped = map_weights(np.zeros(4), np.zeros(4, bool), Mapping("magnitude", (0.0, 1.0)))
    assert mapped.positions.size == 0
    np.testing.assert_array_equal(by_hand(mapped), 0.0)
    stored = map_weights(np.zeros(4), np.ones(4, bool), Mapping("magnitude", (0.0, 0.0)))
    np.testing.assert_array_equal(by_hand(stored), 0.0)


@pytest.mark.parametrize("curve", [*CURVES, -8.0, 8.0, 1e-5])
def test_a_curve_and_its_inverse(curve: float) -> None:
    u = np.linspace(0, 1, 101)
    x = apply_curve(u, curve)
    assert x[0] == 0
    assert x[-1] == pytest.approx(1)
    assert (np.diff(x) > 0).all()
    expected = u if abs(curve) < 1e-4 else (np.exp(curve * u) - 1) / (np.exp(curve) - 1)
    np.testing.assert_allclose(x, expected, atol=1e-12)
    np.testing.assert_allclose(invert_curve(x, curve), u, atol=1e-12)


@pytest.mark.parametrize("curve", [-2.0, 0.0, 1.5])
def test_beyond_its_ends_a_curve_goes_straight_on(curve: float) -> None:
    step = 1e-6
    for end, beyond in ((0.0, -0.3), (1.0, 1.4)):
        inside = end + np.copysign(step, 0.5 - end)
        slope = (invert_curve(end, curve) - invert_curve(inside, curve)) / (end - inside)
        expected = end + slope * (beyond - end)
        assert invert_curve(beyond, curve) == pytest.approx(expected, abs=1e-5)
