"""The compiled sweeps, counts and normal equations against NumPy, on random layers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from wl_onnx.kernels import compensation, reference_compensation
from wl_onnx.kernels.compensation import SymbolRates
from wl_onnx.simplify.compensate import damp, quantize_layer, refit_codebook
from wl_onnx.simplify.contexts import SymbolCosts, measure_symbols
from wl_onnx.simplify.sweeps import Sweeper, factor_inverse

SHAPES = [(1, 1, 1), (1, 70, 9), (3, 5, 64), (2, 33, 130), (1, 40, 300), (9, 1, 17)]


@dataclasses.dataclass
class Layer:
    weight: np.ndarray
    covariance: np.ndarray
    codebook: np.ndarray
    row_weights: np.ndarray
    costs: SymbolCosts
    lam: float

    def sweeper(self, threads: int) -> Sweeper:
        return Sweeper(
            self.weight, self.covariance, self.codebook, self.row_weights, self.lam, threads
        )

    def rates(self, order: np.ndarray) -> SymbolRates:
        return SymbolRates(
            self.codebook,
            self.lam * self.costs.bits,
            self.costs.row_classes,
            self.costs.column_classes[order],
            self.row_weights.reshape(-1),
        )


def draw_layer(
    rng: np.random.Generator, shape: tuple[int, int, int], num_symbols: int, lam: float
) -> Layer:
    """A layer with inputs that hang together, some of them dead, and rows that count nothing."""
    num_groups, num_rows, k = shape
    x = rng.standard_normal((num_groups, 2 * k + 5, k)) @ rng.standard_normal((k, k))
    x *= rng.uniform(0.1, 2, k) * (rng.random(k) < 0.9)
    covariance = damp(x.swapaxes(1, 2) @ x / x.shape[1], 0.01)
    codebook = np.unique(rng.standard_normal(num_symbols))
    codebook[np.argmin(np.abs(codebook))] = 0
    classes = 3, 4
    costs = SymbolCosts(
        rng.integers(0, classes[0], num_groups * num_rows),
        rng.integers(0, classes[1], k),
        rng.exponential(5, (*classes, codebook.size)),
        0.0,
    )
    row_weights = rng.uniform(0.1, 3, (num_groups, num_rows))
    row_weights[rng.random(row_weights.shape) < 0.2] = 0
    return Layer(rng.standard_normal(shape), covariance, codebook, row_weights, costs, lam)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_symbols", [1, 2, 31, 300])
@pytest.mark.parametrize("lam", [0.0, 0.02, 0.3])
def test_sweeps(shape: tuple[int, int, int], num_symbols: int, lam: float) -> None:
    layer = draw_layer(np.random.default_rng([*shape, num_symbols]), shape, num_symbols, lam)
    order = np.argsort(-np.einsum("gii->i", layer.covariance), kind="stable")
    ordered = layer.covariance[:, order][:, :, order]
    upper = np.linalg.cholesky(np.linalg.inv(ordered)).swapaxes(1, 2)
    expected = np.empty(shape, np.int32)
    expected[:, :, order] = reference_compensation.sweep_forward(
        layer.weight[:, :, order], upper, layer.rates(order)
    )
    for threads in (1, 2, 5):
        found = layer.sweeper(threads).sweep_forward(layer.costs)
        np.testing.assert_array_equal(found, expected)

    again = reference_compensation.sweep_again(
        layer.weight, layer.covariance, layer.rates(np.arange(shape[2])), expected
    )
    assert num_symbols == 1 or shape[2] == 1 or (again != expected).any()
    for threads in (1, 2, 5):
        found = layer.sweeper(threads).sweep_again(layer.costs, expected)
        np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize("num_symbols", [1, 2, 3, 8, 31, 300])
def test_of_symbols_that_cost_the_same_the_first_is_chosen(num_symbols: int) -> None:
    rng = np.random.default_rng(num_symbols)
    shape = (1, 300, 40)
    # Eighths, whose squares are exact: costs are equal often, and equal to the last bit.
    codebook = np.sort(rng.choice(np.arange(-640, 640), num_symbols, replace=False)) / 8.0
    symbols = SymbolRates(
        codebook,
        rng.integers(0, 4, (2, 3, num_symbols)).astype(np.float64),
        rng.integers(0, 2, 300),
        rng.integers(0, 3, 40),
        rng.choice([0.0, 0.25, 1.0], 300),
    )
    targets = rng.integers(-640, 640, shape) / 8.0
    rates = symbols.rates[symbols.row_classes[:, None], symbols.column_classes]
    errors = (targets[..., None] - codebook) ** 2 * symbols.row_weights[:, None, None]
    codes = np.empty(shape, np.int32)
    compensation.decide_block(
        targets.copy(), np.eye(40)[None], 0, symbols, codes, np.empty(shape), threads=2
    )
    np.testing.assert_array_equal(codes, np.argmin(errors + rates, axis=-1))


@pytest.mark.parametrize("k", [1, 5, 256, 257, 700])
def test_factor_of_the_inverse(k: int) -> None:
    rng = np.random.default_rng(k)
    x = rng.standard_normal((2, 2 * k + 1, k))
    matrices = damp(x.swapaxes(1, 2) @ x / (2 * k + 1), 0.1)
    upper = factor_inverse(matrices)
    assert not np.tril(upper, -1).any()
    np.testing.assert_allclose(upper.swapaxes(1, 2) @ upper, np.linalg.inv(matrices), atol=1e-10)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (130, 77)])
def test_counts(shape: tuple[int, int], axis: int) -> None:
    rng = np.random.default_rng(shape[0])
    codes = rng.integers(0, 7, shape).astype(np.int32)
    classes = rng.integers(0, 3, shape[axis])
    expected = reference_compensation.count_symbols(codes, classes, 3, 7, axis=axis)
    for threads in (1, 3):
        found = compensation.count_symbols(codes, classes, 3, 7, axis=axis, threads=threads)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("num_classes", [1, 2, 8, 11])
def test_classes_of_lines(num_classes: int) -> None:
    rng = np.random.default_rng(num_classes)
    shares = rng.dirichlet(np.full(6, 0.3), (5, 3))
    counts = np.array([[rng.multinomial(20, p) for p in rng.choice(shares)] for _ in range(150)])
    counts = counts.astype(np.float64)
    start = rng.integers(0, num_classes, 150)
    expected = reference_compensation.classify_lines(counts, start, num_classes, rounds=3)
    for threads in (1, 2, 4):
        found = compensation.classify_lines(counts, start, num_classes, rounds=3, threads=threads)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_symbols", [1, 6, 300])
def test_codebook_products(shape: tuple[int, int, int], num_symbols: int) -> None:
    rng = np.random.default_rng(shape)
    layer = draw_layer(rng, shape, 2, 0.0)
    codes = rng.integers(-1, num_symbols, shape).astype(np.int32)
    scale = layer.row_weights.reshape(-1)
    expected = reference_compensation.codebook_products(codes, scale, layer.covariance, num_symbols)
    found = [
        compensation.codebook_products(codes, scale, layer.covariance, num_symbols, threads=threads)
        for threads in (1, 2, 5)
    ]
    np.testing.assert_allclose(found[0], expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


def test_refit_is_the_least_squares_of_the_design_matrix() -> None:
    rng = np.random.default_rng(21)
    layer = draw_layer(rng, (2, 30, 40), 9, 0.0)
    nearest = layer.sweeper(1).round_nearest()
    fitted = refit_codebook(
        layer.weight, layer.covariance, nearest, layer.codebook, row_weights=layer.row_weights
    )
    # tr(E C E^T) is the squared length of E L where L L^T is C.
    root = np.linalg.cholesky(layer.covariance)
    scale = np.sqrt(layer.row_weights)[..., None]
    free = np.flatnonzero(layer.codebook)
    design = [((nearest == symbol) @ root * scale).reshape(-1) for symbol in free]
    wanted = (layer.weight @ root * scale).reshape(-1)
    expected = np.linalg.lstsq(np.stack(design, axis=1), wanted, rcond=None)[0]
    np.testing.assert_allclose(fitted[free], expected, rtol=1e-4)
    assert not np.allclose(fitted[free], layer.codebook[free], rtol=1e-2)


def test_whole_quantisation_does_not_depend_on_threads() -> None:
    rng = np.random.default_rng(22)
    layer = draw_layer(rng, (2, 100, 150), 15, 0.0)
    results = [
        quantize_layer(
            np.asfortranarray(layer.weight),
            layer.covariance,
            lam=0.05,
            codebook=layer.codebook,
            row_weights=layer.row_weights,
            threads=threads,
        )
        for threads in (1, 2, 7)
    ]
    for other in results[1:]:
        np.testing.assert_array_equal(other.codes, results[0].codes)
        np.testing.assert_array_equal(other.codebook, results[0].codebook)
        assert other.size_bits == results[0].size_bits


def test_measured_bits_are_those_of_the_classes() -> None:
    rng = np.random.default_rng(23)
    density = rng.choice([0.05, 0.6], (120, 1)) * rng.choice([0.0, 1.0], 90)
    codes = np.where(rng.random(density.shape) < density, rng.integers(0, 5, density.shape), 2)
    costs = measure_symbols(codes, 5)
    assert costs.bits.shape[0] > 1 < costs.bits.shape[1]
    for row in range(costs.bits.shape[0]):
        for column in range(costs.bits.shape[1]):
            inside = codes[costs.row_classes == row][:, costs.column_classes == column]
            smooth = np.bincount(inside.reshape(-1), minlength=5) + 0.1
            np.testing.assert_allclose(costs.bits[row, column], -np.log2(smooth / smooth.sum()))
