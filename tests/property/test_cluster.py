from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wl_onnx.simplify import cluster, prune, threshold_for_sparsity

WEIGHTS = hnp.arrays(
    np.float32,
    st.integers(1, 60),
    elements=st.one_of(
        st.floats(-(2.0**40), 2.0**40, width=32),
        st.integers(-4, 4).map(float),
    ),
)


def optimal_error(values: np.ndarray, num_clusters: int) -> float:
    """Least k-means error by trying every last cluster, with two-pass errors."""
    x = np.sort(values.astype(np.float64))
    n = len(x)
    error = np.zeros((n + 1, n + 1))
    for begin in range(n):
        for end in range(begin + 1, n + 1):
            part = x[begin:end]
            error[begin, end] = ((part - part.mean()) ** 2).sum()
    best = np.concatenate(([0.0], np.full(n, np.inf)))
    for _ in range(num_clusters):
        best = np.array([0.0] + [(best[:end] + error[:end, end]).min() for end in range(1, n + 1)])
    return float(best[n])


@given(WEIGHTS, st.integers(1, 12))
def test_error_is_the_least_possible(values: np.ndarray, num_clusters: int) -> None:
    result = cluster(values, num_clusters)
    # Float32 centroids and sums of doubles leave their rounding, relative to the largest weight.
    slack = values.size * float(np.max(np.abs(values.astype(np.float64)))) ** 2 * 1e-12
    optimum = optimal_error(values, num_clusters)
    assert result.error_energy <= optimum * (1 + 1e-4) + slack
    assert len(result.codebook) <= num_clusters


@given(WEIGHTS, st.integers(1, 12))
def test_clustering_what_was_clustered_changes_nothing(
    values: np.ndarray, num_clusters: int
) -> None:
    first = cluster(values, num_clusters)
    decoded = first.codebook[first.assignments]
    second = cluster(decoded, num_clusters)
    assert second.error_energy == 0
    np.testing.assert_array_equal(second.codebook[second.assignments], decoded)


@given(WEIGHTS, st.floats(0, 0.999))
def test_pruning_leaves_an_exact_number_of_zeros_and_is_idempotent(
    values: np.ndarray, sparsity: float
) -> None:
    pruned = prune(values, threshold_for_sparsity(values, sparsity))
    zeros = max(np.count_nonzero(values == 0), round(sparsity * values.size))
    assert np.count_nonzero(pruned == 0) == zeros
    kept = pruned != 0
    np.testing.assert_array_equal(pruned[kept], values[kept])
    if kept.any() and not kept.all():
        assert np.abs(values[~kept]).max() <= np.abs(values[kept]).min()
    np.testing.assert_array_equal(prune(pruned, threshold_for_sparsity(pruned, sparsity)), pruned)
