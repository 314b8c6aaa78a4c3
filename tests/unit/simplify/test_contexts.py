from __future__ import annotations

import numpy as np
import pytest

from wl_onnx.simplify.contexts import measure_symbols


def entropy_bits(codes: np.ndarray) -> float:
    _, counts = np.unique(codes, return_counts=True)
    return float(-(counts * np.log2(counts / counts.sum())).sum())


def test_one_class_costs_the_entropy() -> None:
    codes = np.random.default_rng(0).choice(4, p=[0.1, 0.7, 0.15, 0.05], size=(200, 300))
    costs = measure_symbols(codes, 4, max_classes=1)
    assert costs.total_bits == pytest.approx(entropy_bits(codes), rel=1e-3)
    assert costs.bits.shape == (1, 1, 4)


def test_classes_are_found_where_rows_and_columns_differ() -> None:
    rng = np.random.default_rng(1)
    rows, columns = rng.choice([0.02, 0.4], 200), rng.choice([0.0, 0.5, 1.0], 300)
    density = rows[:, None] * columns
    codes = (rng.random(density.shape) < density).astype(np.int32)
    costs = measure_symbols(codes, 2)
    inside = np.clip(density, 1e-12, 1)
    ideal = -(inside * np.log2(inside) + (1 - inside) * np.log2(1 - inside)).sum()
    side = 200 + 300 * np.log2(3)
    assert ideal * 0.97 < costs.total_bits < (ideal + side) * 1.1
    assert costs.total_bits < 0.8 * entropy_bits(codes)


def test_no_classes_where_nothing_differs() -> None:
    codes = (np.random.default_rng(2).random((100, 100)) < 0.1).astype(np.int32)
    assert measure_symbols(codes, 2).bits.shape[:2] == (1, 1)


def test_symbols_that_do_not_occur_have_finite_costs() -> None:
    costs = measure_symbols(np.zeros((5, 6), np.int32), 3)
    assert np.isfinite(costs.bits).all()
    assert costs.of_column(2).shape == (5, 3)
    assert (costs.of_column(2)[:, 1:] > 4).all()
