"""How long quantising a layer takes, part by part, against the reference in NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from figures import Figure, ratio_figure, require
from timing import interleave

from wl_onnx.kernels import compensation, reference_compensation
from wl_onnx.kernels.compensation import SymbolRates
from wl_onnx.simplify import quantize_layer
from wl_onnx.simplify.compensate import damp
from wl_onnx.simplify.contexts import measure_symbols
from wl_onnx.simplify.sweeps import Sweeper, factor_inverse

__all__ = ["measure"]

_LAM = 0.02
_LIMITS = {"forward sweep": 0.5, "later sweep": 0.5}  # both multiply the same large matrices
_NUM_SYMBOLS = 31


def measure(quick: bool) -> list[Figure]:
    num_rows, k = (250, 400) if quick else (500, 800)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2 * k, k)) @ (np.eye(k) + rng.standard_normal((k, k)) / np.sqrt(k))
    # By descending energy, so that columns are decided in the order in which they stand.
    x *= np.linspace(2, 0.2, k) / np.sqrt(np.square(x).mean(axis=0))
    covariance = (x.T @ x / len(x))[None]
    damped = damp(covariance, 0.01)
    weight = 0.3 * rng.standard_normal((1, num_rows, k))
    codebook = 0.1 * np.arange(_NUM_SYMBOLS) - 0.1 * (_NUM_SYMBOLS // 2)
    ones = np.ones((1, num_rows))

    sweeper = Sweeper(weight, damped, codebook, ones, _LAM)
    rounded = sweeper.round_nearest()
    costs = measure_symbols(rounded[0], _NUM_SYMBOLS)
    rates = SymbolRates(
        codebook, _LAM * costs.bits, costs.row_classes, costs.column_classes, ones.reshape(-1)
    )
    upper = factor_inverse(damped)
    columns = rng.integers(0, 8, k)
    parts: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "forward sweep": (
            lambda: sweeper.sweep_forward(costs),
            lambda: reference_compensation.sweep_forward(weight, upper, rates),
        ),
        "later sweep": (
            lambda: sweeper.sweep_again(costs, rounded),
            lambda: reference_compensation.sweep_again(weight, damped, rates, rounded),
        ),
        "symbol counts, 8 classes": (
            lambda: compensation.count_symbols(
                rounded[0], columns, 8, _NUM_SYMBOLS, axis=1, threads=0
            ),
            lambda: reference_compensation.count_symbols(
                rounded[0], columns, 8, _NUM_SYMBOLS, axis=1
            ),
        ),
        "normal equations": (
            lambda: compensation.codebook_products(
                rounded, ones.reshape(-1), damped, _NUM_SYMBOLS, threads=0
            ),
            lambda: reference_compensation.codebook_products(
                rounded, ones.reshape(-1), damped, _NUM_SYMBOLS
            ),
        ),
    }
    on = f"{num_rows} x {k}, {_NUM_SYMBOLS} symbols, all cores"
    figures = [_compare(name, on, *calls, quick=quick) for name, calls in parts.items()]
    whole = interleave(
        {"whole": lambda: quantize_layer(weight, covariance, lam=_LAM, codebook=codebook)},
        rounds=1 if quick else 3,
    )["whole"]
    figures.append(Figure("quantize_layer, 3 sweeps", on, whole.median, unit="s"))
    return figures


def _compare(
    name: str, on: str, core: Callable[[], object], numpy: Callable[[], object], *, quick: bool
) -> Figure:
    times = interleave({"core": core, "NumPy": numpy}, rounds=1 if quick else 3)
    require(np.allclose(core(), numpy()), f"{name}: core and NumPy agree", "another result")
    limit = _LIMITS.get(name, 0.25)
    return ratio_figure(f"{name} / NumPy", on, times, "core", "NumPy", limit=limit)
