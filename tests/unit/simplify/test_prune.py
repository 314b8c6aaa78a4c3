from __future__ import annotations

import numpy as np
import pytest

from wl_onnx.errors import InputError
from wl_onnx.simplify import Threshold, global_thresholds, prune, threshold_for_sparsity


def reference_prune(arrays: list[np.ndarray], sparsity: float) -> list[np.ndarray]:
    """The smallest magnitudes become 0, earlier ones first among equals."""
    joined = np.concatenate([array.reshape(-1) for array in arrays])
    joined[np.argsort(np.abs(joined), kind="stable")[: round(sparsity * joined.size)]] = 0
    parts = np.split(joined, np.cumsum([array.size for array in arrays])[:-1])
    return [part.reshape(array.shape) for part, array in zip(parts, arrays, strict=True)]


def make_values(kind: str, rng: np.random.Generator) -> np.ndarray:
    if kind == "gaussian":
        return rng.standard_normal((100, 37), dtype=np.float32)
    if kind == "ties":
        return rng.integers(-5, 6, size=(41, 10)).astype(np.float32) / 8
    if kind == "tiny":
        return (rng.standard_normal(500) * 1e-42).astype(np.float32)
    return rng.standard_cauchy(4000).astype(np.float32) * np.float32(1e30)


@pytest.mark.parametrize("kind", ["gaussian", "ties", "tiny", "huge"])
@pytest.mark.parametrize("sparsity", [0.0, 0.001, 0.31, 0.5, 0.9, 0.99])
def test_prune_equals_a_stable_sort(kind: str, sparsity: float) -> None:
    values = make_values(kind, np.random.default_rng(3))
    (expected,) = reference_prune([values], sparsity)
    pruned = prune(values, threshold_for_sparsity(values, sparsity))
    np.testing.assert_array_equal(pruned, expected)
    assert pruned.dtype == np.float32


@pytest.mark.parametrize("kind", ["gaussian", "ties"])
@pytest.mark.parametrize("sparsity", [0.1, 0.62, 0.95])
def test_one_global_threshold_equals_a_stable_sort_of_all(kind: str, sparsity: float) -> None:
    rng = np.random.default_rng(4)
    arrays = [make_values(kind, rng) * np.float32(scale) for scale in (1, 0.25, 2)]
    thresholds = global_thresholds(arrays, sparsity)
    pruned = [prune(array, threshold) for array, threshold in zip(arrays, thresholds, strict=True)]
    for got, expected in zip(pruned, reference_prune(arrays, sparsity), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_zeros_that_are_there_count_and_nothing_more_is_pruned() -> None:
    values = np.array([0, -0.0, 0, 0, 1, 2, -3, 4, 5, 6], np.float32)
    assert threshold_for_sparsity(values, 0.4) == Threshold(0.0)
    np.testing.assert_array_equal(prune(values, threshold_for_sparsity(values, 0.2)), values)
    assert np.count_nonzero(prune(values, threshold_for_sparsity(values, 0.5))) == 5


def test_ties_go_in_order_to_an_exact_number() -> None:
    values = np.array([1, -1, 1, 2, -1, 1], np.float32)
    assert threshold_for_sparsity(values, 0.5) == Threshold(1.0, 3)
    np.testing.assert_array_equal(
        prune(values, Threshold(1.0, 3)), np.array([0, 0, 0, 2, -1, 1], np.float32)
    )


def test_all_equal_weights_all_pruned() -> None:
    values = np.full(3, np.finfo(np.float32).max)
    pruned = prune(values, threshold_for_sparsity(values, 0.99))
    assert not pruned.any()


def test_threads_do_not_change_the_threshold() -> None:
    values = np.random.default_rng(5).standard_normal(1_100_000, dtype=np.float32)
    one = threshold_for_sparsity(values, 0.8, threads=1)
    assert threshold_for_sparsity(values, 0.8, threads=3) == one
    assert np.count_nonzero(prune(values, one)) == 220_000


def test_values_that_are_not_contiguous_or_cannot_be_written_are_read() -> None:
    values = np.random.default_rng(6).standard_normal((30, 40), dtype=np.float32)
    values.setflags(write=False)
    (expected,) = reference_prune([values.T.copy()], 0.5)
    np.testing.assert_array_equal(prune(values.T, threshold_for_sparsity(values.T, 0.5)), expected)


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, float("nan")])
def test_sparsity_out_of_range(sparsity: float) -> None:
    with pytest.raises(
        InputError, match=r"cannot prune weights: sparsity must be in \[0, 1\), got"
    ):
        threshold_for_sparsity(np.ones(3, np.float32), sparsity)


def test_another_dtype_is_refused() -> None:
    with pytest.raises(InputError, match="they must be float32, got float64"):
        threshold_for_sparsity(np.ones(3), 0.5)  # type: ignore[arg-type]
