from __future__ import annotations

import math

import numpy as np
import pytest

from wl_onnx.evaluation import Accumulator, top1


def pooled(pairs: list[tuple[np.ndarray, np.ndarray]]) -> Accumulator:
    accumulator = Accumulator()
    for reference, value in pairs:
        accumulator.add(reference, value)
    return accumulator


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, np.uint8])
@pytest.mark.parametrize("num_pieces", [1, 7])
def test_figures_equal_numpys_over_all_elements(dtype: type, num_pieces: int) -> None:
    rng = np.random.default_rng(1)
    reference = (rng.standard_normal((21, 5, 4)) * 20 + 60).astype(dtype)
    value = (reference.astype(np.float64) + rng.standard_normal((21, 5, 4)) * 3).astype(dtype)
    sums = pooled(
        list(zip(np.split(reference, num_pieces), np.split(value, num_pieces), strict=True))
    )

    r, v = reference.astype(np.float64).ravel(), value.astype(np.float64).ravel()
    assert sums.num_elements == r.size
    assert sums.cosine == pytest.approx(
        np.dot(r, v) / (np.linalg.norm(r) * np.linalg.norm(v)), rel=1e-12
    )
    assert sums.relative_l2 == pytest.approx(np.linalg.norm(v - r) / np.linalg.norm(r), rel=1e-12)
    assert sums.snr_db == pytest.approx(
        10 * np.log10(np.sum(r**2) / np.sum((v - r) ** 2)), rel=1e-12
    )
    assert sums.max_difference == np.abs(v - r).max()


def test_pieces_are_pooled_not_averaged() -> None:
    sums = pooled([(np.array([100.0]), np.array([100.0])), (np.array([1.0]), np.array([2.0]))])
    assert sums.relative_l2 == pytest.approx(1 / math.sqrt(10001))


def test_large_arrays_are_summed_in_float64() -> None:
    reference = np.full(3_000_001, 1.0, np.float32)
    value = reference.copy()
    value[-1] = 1.5
    assert pooled([(reference, value)]).relative_l2 == pytest.approx(
        0.5 / math.sqrt(3_000_001), rel=1e-12
    )


def test_identical_outputs_have_no_noise() -> None:
    array = np.random.default_rng(2).standard_normal(100).astype(np.float32)
    sums = pooled([(array, array.copy())])
    assert (sums.cosine, sums.relative_l2, sums.snr_db) == (1.0, 0.0, math.inf)


def test_zero_reference() -> None:
    zeros, ones = np.zeros(4), np.ones(4)
    same = pooled([(zeros, zeros)])
    assert (same.cosine, same.relative_l2, same.snr_db) == (1.0, 0.0, math.inf)
    other = pooled([(zeros, ones)])
    assert (other.cosine, other.relative_l2, other.snr_db) == (0.0, math.inf, -math.inf)
    lost = pooled([(ones, zeros)])
    assert (lost.cosine, lost.relative_l2, lost.snr_db) == (0.0, 1.0, 0.0)


def test_equal_infinities_and_nans_count_as_equal() -> None:
    reference = np.array([np.inf, -np.inf, np.nan, 3.0])
    assert pooled([(reference, reference)]).relative_l2 == 0.0
    value = np.array([np.inf, -np.inf, np.nan, 4.0])
    assert pooled([(reference, value)]).relative_l2 == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("first", "second"), [(np.inf, -np.inf), (np.nan, 1.0), (1.0, np.nan), (np.inf, np.nan)]
)
def test_a_value_that_becomes_infinite_is_no_small_error(first: float, second: float) -> None:
    sums = pooled([(np.array([1.0, first]), np.array([1.0, second]))])
    assert sums.num_nonfinite_mismatches == 1
    assert math.isnan(sums.cosine)
    assert (sums.relative_l2, sums.snr_db, sums.max_difference) == (math.inf, -math.inf, math.inf)


def test_shapes_must_be_equal() -> None:
    with pytest.raises(ValueError, match=r"shapes must be equal, got \(2,\) and \(1, 2\)"):
        Accumulator().add(np.zeros(2), np.zeros((1, 2)))


def test_top1_counts_rows_whose_largest_is_at_the_label() -> None:
    logits = np.array([[0.0, 2.0, 1.0], [5.0, 5.0, 0.0], [0.0, 1.0, 2.0]])
    assert top1(logits, np.array([1, 0, 0])) == 2
    assert top1(logits[:, :, None, None], np.array([1, 1, 2])) == 2


@pytest.mark.parametrize(
    ("shape", "num_labels"), [((3,), 3), ((3, 4), 2), ((3, 4, 2), 3), ((), 1), ((3, 0), 2)]
)
def test_top1_refuses_what_is_not_logits(shape: tuple[int, ...], num_labels: int) -> None:
    with pytest.raises(ValueError, match=r"logits must be \[n, classes\] and labels \[n\], got"):
        top1(np.zeros(shape), np.zeros(num_labels, np.int64))
