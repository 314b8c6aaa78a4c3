"""Cells by reverse water-filling, against optima found otherwise."""

from __future__ import annotations

import heapq
import itertools

import numpy as np
import pytest

from wl_onnx.analog import find_device
from wl_onnx.analog.allocation import MAX_CELLS, LineExponents, allocate_lines, spread_lines
from wl_onnx.codecs import cells
from wl_onnx.codecs.cells import CellTensor, Lines, Symbol
from wl_onnx.errors import InputError


def draw(
    kind: str, shape: tuple[int, int], rng: np.random.Generator, spread: float = 1.5
) -> np.ndarray:
    if kind == "equal":
        return np.full(shape, 3.0)
    return np.outer(rng.lognormal(0, spread, shape[0]), rng.lognormal(0, spread, shape[1]))


def greedy_loss(costs: np.ndarray, budget: float) -> float:
    """The least loss with whole cells: each next one goes where it saves most, the gain falling."""
    counts = np.ones(costs.size, int)
    gains = [(-cost / 2, index) for index, cost in enumerate(costs)]
    heapq.heapify(gains)
    for _ in range(int(budget) - costs.size):
        if not gains:
            break
        _, index = heapq.heappop(gains)
        counts[index] += 1
        n = counts[index]
        if n < MAX_CELLS:
            heapq.heappush(gains, (-costs[index] / (n * (n + 1)), index))
    return float((costs / counts).sum())


def test_the_greedy_loss_is_the_least() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        costs = rng.lognormal(0, 1.5, 4)
        least = min(
            (costs / np.array(counts)).sum()
            for counts in itertools.product(range(1, 7), repeat=4)
            if sum(counts) <= 10
        )
        assert greedy_loss(costs, 10) == pytest.approx(least)


@pytest.mark.parametrize("kind", ["equal", "product"])
@pytest.mark.parametrize("shape", [(8, 12), (40, 40), (3, 200), (200, 3), (1, 300)])
@pytest.mark.parametrize("per_weight", [1.0, 1.3, 2.0, 4.0, 16.0, 40.0])
def test_near_the_least_loss_within_the_budget(
    kind: str, shape: tuple[int, int], per_weight: float
) -> None:
    rng = np.random.default_rng(5)
    costs = draw(kind, shape, rng)
    kept = rng.random(shape) < 0.7
    budget = per_weight * kept.sum()
    counts = spread_lines(allocate_lines(costs, kept, budget))[kept]
    assert counts.sum() <= budget
    loss = float((costs[kept] / counts).sum())
    # Steps of sqrt(2), at most 19 % off in n, cost a few percent; the rest are wholes of few lines.
    assert loss <= 1.2 * greedy_loss(costs[kept], budget)


def test_numbers_of_cells_follow_the_roots_of_the_costs() -> None:
    """The Lagrangian condition, c / n^2 equal for all, but for rounding and for the two ends."""
    rng = np.random.default_rng(6)
    costs = draw("product", (60, 80), rng, 0.8)
    kept = np.ones(costs.shape, bool)
    counts = spread_lines(allocate_lines(costs, kept, 6 * costs.size))
    inner = (counts > 3) & (counts < MAX_CELLS)
    assert inner.mean() > 0.3
    slopes = costs[inner] / counts[inner] ** 2
    # Two exponents, each rounded by up to 1/2, move the slope by up to a factor of 2 either way.
    assert slopes.max() / slopes.min() < 2**2 * 1.3
    middle = np.median(slopes)
    assert (costs[counts == 1] < 2.3 * 2.25 * middle).all()
    assert (costs[counts == MAX_CELLS] > 64**2 * middle / 2.6).all()


def test_weights_without_cost_have_one_cell() -> None:
    costs = np.ones((6, 8))
    costs[2], costs[:, 3] = 0, 0
    kept = np.ones(costs.shape, bool)
    counts = spread_lines(allocate_lines(costs, kept, 4 * costs.size))
    assert (counts[2] == 1).all()
    assert (counts[:, 3] == 1).all()
    assert counts.mean() > 3.5
    nothing = spread_lines(allocate_lines(0 * costs, kept, 2 * costs.size))
    assert (nothing == 2).all()


def test_any_budget_from_one_cell_to_the_most() -> None:
    costs = draw("product", (9, 7), np.random.default_rng(7))
    kept = np.ones(costs.shape, bool)
    assert (spread_lines(allocate_lines(costs, kept, costs.size)) == 1).all()
    assert (spread_lines(allocate_lines(costs, kept, 1e9)) == MAX_CELLS).all()
    empty = allocate_lines(costs, ~kept, 0)
    assert (empty.rows.shape, empty.columns.shape) == ((9,), (7,))


def test_a_budget_below_a_cell_a_weight_is_refused() -> None:
    kept = np.ones((3, 4), bool)
    kept[0, 0] = False
    with pytest.raises(InputError, match=r"the budget must be at least 11, .* got 10.5"):
        allocate_lines(np.ones((3, 4)), kept, 10.5)


def test_readers_spread_lines_in_the_same_way() -> None:
    lines = LineExponents(np.arange(16, dtype=np.uint8), np.arange(16, dtype=np.uint8))
    expected = [
        [
            min(64, max(1, int(np.floor(2 ** ((row + column - 16) / 2) + 0.5))))
            for column in range(16)
        ]
        for row in range(16)
    ]
    counts = spread_lines(lines)
    np.testing.assert_array_equal(counts, expected)
    for row in range(16):
        blob = cells.encode(
            CellTensor(
                num_weights=16,
                symbols=[Symbol(0.0, 1.0)],
                labels=None,
                levels=np.zeros(16, np.uint16),
                device_record=find_device("gaussian").record(),
                row_exponents=Lines(lines.rows[row : row + 1], 16),
                column_exponents=Lines(lines.columns, 1),
            )
        )
        assert cells.inspect(blob).num_cells == counts[row].sum()
