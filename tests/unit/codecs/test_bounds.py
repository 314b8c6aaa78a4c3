from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from wl_onnx.codecs import bounds
from wl_onnx.errors import InputError


def log2_of(number: int) -> float:
    """log2 of a whole number of any size."""
    shift = max(0, number.bit_length() - 60)
    return math.log2(number >> shift) + shift


@pytest.mark.parametrize(
    ("num_weights", "num_keys"),
    [(1, 0), (1, 1), (10, 3), (200, 64), (200, 65), (5000, 2500), (5000, 4999), (40_000, 700)],
)
def test_lossless_bound_of_one_value_is_the_binomial(num_weights: int, num_keys: int) -> None:
    exact = log2_of(math.comb(num_weights, num_keys))
    assert bounds.lossless_bound_bits(num_weights, [num_keys]) == pytest.approx(exact, rel=1e-10)


def test_lossless_bound_adds_the_entropy_of_the_values() -> None:
    exact = log2_of(math.comb(1000, 80)) + 80 * 1.75
    got = bounds.lossless_bound_bits(1000, [40, 20, 10, 0, 10])
    assert got == pytest.approx(exact, rel=1e-12)


def test_lossless_bound_of_huge_tensors() -> None:
    assert bounds.lossless_bound_bits(10**15, [1]) == pytest.approx(math.log2(10**15), rel=1e-12)
    pairs = log2_of(10**15 * (10**15 - 1) // 2)
    assert bounds.lossless_bound_bits(10**15, [2]) == pytest.approx(pairs, rel=1e-12)
    # At 1 % density the places cost H(0.01) bits a weight, up to a few bits over the tensor.
    entropy = -(0.01 * math.log2(0.01) + 0.99 * math.log2(0.99)) * 10**9
    assert bounds.lossless_bound_bits(10**9, [10**7]) == pytest.approx(entropy, abs=20)


def test_counts_must_fit() -> None:
    with pytest.raises(InputError, match="counts must add up to at most 3, got 4"):
        bounds.lossless_bound_bits(3, [4])


def test_design_figures() -> None:
    # At 1 % density and 4-bit values lossless needs 12.1 bits a non-zero.
    num_keys = 160_000
    bits = bounds.lossless_bound_bits(100 * num_keys, [num_keys // 16] * 16)
    assert bits / num_keys == pytest.approx(12.1, abs=0.05)
    assert bounds.false_positive_rate(16, 8) == 1 / 16
    assert bounds.information_bound_bits(num_keys, 9) == 1_440_000


def test_false_positive_energy_equals_the_sum_over_all_answers() -> None:
    codebook = [-2.0, 0.5, 3.0]
    answers = [codebook[q] ** 2 if q < 3 else 0.0 for q in range(2**5)]
    expected = (1000 - 40) * float(sum(Fraction(a) for a in answers) / 2**5)
    assert bounds.expected_false_positive_energy(1000, 40, codebook, 5) == pytest.approx(expected)
    assert bounds.expected_false_positive_energy(40, 40, codebook, 5) == 0


def test_epsilon() -> None:
    assert bounds.epsilon(1.0, 4.0) == 0.25
    assert bounds.epsilon(0.0, 0.0) == 0
    assert bounds.epsilon(1.0, 0.0) == math.inf


@pytest.mark.parametrize("layout", ["ribbon", "xor"])
@pytest.mark.parametrize(("num_weights", "density"), [(3000, 0.05), (400_000, 0.05), (90_000, 0.4)])
def test_predicted_size_is_within_two_percent_of_a_blob(
    layout: str, num_weights: int, density: float
) -> None:
    from wl_onnx.codecs import bloomier

    rng = np.random.default_rng(2)
    indices = np.flatnonzero(rng.random(num_weights) < density)
    blob = bloomier.encode(
        indices,
        rng.integers(0, 16, len(indices)),
        num_weights=num_weights,
        codebook=np.arange(16.0),
        bits=9,
        layout=layout,
    )
    predicted = bounds.predicted_size_bits(len(indices), 9, layout, 16, 2)
    assert predicted == pytest.approx(8 * len(blob), rel=0.02)


@pytest.mark.parametrize(("num_weights", "density"), [(3000, 0.05), (400_000, 0.05), (90_000, 0.4)])
def test_predicted_size_of_codes_of_different_length(num_weights: int, density: float) -> None:
    from wl_onnx.codecs import bloomier

    rng = np.random.default_rng(2)
    indices = np.flatnonzero(rng.random(num_weights) < density)
    lengths = [5, 6, 7, 7, 8, 9, 9, 10, 12]
    values = rng.choice(9, len(indices), p=[0.3, 0.2, 0.2, 0.1, 0.08, 0.05, 0.04, 0.02, 0.01])
    blob = bloomier.encode(
        indices, values, num_weights=num_weights, codebook=np.arange(9.0), bits=lengths,
        layout="prefix",
    )  # fmt: skip
    counts = np.bincount(values, minlength=9)
    predicted = bounds.predicted_prefix_size_bits(counts, lengths, 2)
    assert predicted == pytest.approx(8 * len(blob), rel=0.02)
    assert bounds.information_bound_bits(counts, lengths) == sum(np.array(lengths)[values])


def test_bounds_of_codes_of_different_length() -> None:
    assert bounds.false_positive_rate(3, [1, 3, 3]) == 0.75
    energy = bounds.expected_false_positive_energy(110, 10, [2.0, -4.0], [3, 5])
    assert energy == pytest.approx(100 * (4 / 8 + 16 / 32))


def test_unknown_layout() -> None:
    with pytest.raises(InputError, match="layout must be ribbon or xor, got cuckoo"):
        bounds.predicted_size_bits(1, 1, "cuckoo", 1, 2)
