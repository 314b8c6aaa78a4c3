"""Quantising a layer's weight so that its output, not the weight, changes least for its bits.

All functions take matrices `[num_groups, num_rows, num_columns]` with a row for each output, and
the covariance of the layer's input `[num_groups, num_columns, num_columns]`. The damage of an
error E is tr(E C E^T): the mean squared change of the output, added up over the outputs. With the
covariance in place of the second moments, the change of the mean is left to the bias.

Source: Hassibi and Stork, "Second order derivatives for network pruning: optimal brain surgeon",
1993; Frantar and Alistarh, "SparseGPT", 2023; Frantar, Ashkboos, Hoefler, Alistarh, "GPTQ", 2023.
The rate term is that of entropy-constrained quantisation: Chou, Lookabaugh, Gray, 1989.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError
from wl_onnx.kernels.compensation import codebook_products
from wl_onnx.simplify.contexts import SymbolCosts, measure_symbols
from wl_onnx.simplify.sweeps import Sweeper

__all__ = [
    "Quantization",
    "center_moments",
    "choose_step",
    "correct_bias",
    "damp",
    "make_semidefinite",
    "measure_damage",
    "quantize_layer",
    "refit_codebook",
    "retarget",
    "uniform_codebook",
]

Float64 = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]

# Moments are sums of float32 products: a variance below this share of the energy is none.
_ROUNDING = 1e-6
# Damping of inputs that never change, as a share of the others': little, so that it buys no bits.
_DEAD = 1e-3


@dataclasses.dataclass(frozen=True)
class Quantization:
    """A weight as indices into a codebook.

    Attributes:
        codes: int32 `[num_groups, num_rows, num_columns]`, indices into the codebook.
        codebook: float64 `[num_symbols]`, strictly ascending, with 0 in it.
        damage: tr(E C E^T) added up over groups, each row times its weight.
        size_bits: what the codes cost with an ideal coder, its tables included, the codebook not.
    """

    codes: Codes
    codebook: Float64
    damage: float
    size_bits: float

    @property
    def values(self) -> Float64:
        """The quantised matrices."""
        values: Float64 = self.codebook[self.codes]
        return values


def center_moments(second: Float64, mean: Float64) -> Float64:
    """The covariance of a layer's input.

    Args:
        second: mean of x x^T `[num_groups, k, k]`, or its diagonal `[num_groups, k]`.
        mean: mean of x `[num_groups, k]`.

    Returns:
        float64 `[num_groups, k, k]`; a diagonal gives that of the second moments, not centred,
        for a one-hot input reaches a layer without a bias.
    """
    if second.ndim == 2:
        diagonal: Float64 = np.einsum("gi,ij->gij", second, np.eye(second.shape[1]))
        return diagonal
    covariance: Float64 = second - mean[:, :, None] * mean[:, None, :]
    energy, variance = np.einsum("gii->gi", second), np.einsum("gii->gi", covariance)
    moves = variance > _ROUNDING * energy
    covariance *= moves[:, :, None] & moves[:, None, :]
    return covariance


def make_semidefinite(covariance: Float64) -> Float64:
    """The covariance without its negative eigenvalues, which only rounding can have made.

    Args:
        covariance: `[num_groups, k, k]`, symmetric.
    """
    values, vectors = np.linalg.eigh(covariance)
    kept = np.maximum(values, 0)[:, None, :]
    cleared: Float64 = ((vectors * kept) @ vectors.swapaxes(1, 2)).astype(np.float64)
    # What never changes stays exactly so.
    alive = np.einsum("gii->gi", covariance) > 0
    cleared *= alive[:, :, None] & alive[:, None, :]
    return cleared


def damp(covariance: Float64, share: float) -> Float64:
    """The covariance with a share of its mean diagonal added to the diagonal.

    So what is seldom seen in the calibration data costs a little all the same, and the matrix can
    be inverted. Inputs that never change get a thousandth of that; a group of such inputs ones.
    """
    diagonal = np.einsum("gii->gi", covariance)
    alive = diagonal > 0
    mean = diagonal.sum(axis=1) / np.maximum(1, alive.sum(axis=1))
    added = share * mean[:, None] * np.where(alive, 1.0, _DEAD)
    added = np.where(mean[:, None] > 0, added, 1.0)
    damped: Float64 = covariance + added[:, :, None] * np.eye(covariance.shape[1])
    return damped


def retarget(
    weight: Float64,
    covariance: Float64,
    cross: Float64,
    damping: float,
    skip_cross: Float64 | None = None,
) -> Float64:
    """The weight whose outputs come closest to the original's, with inputs that have changed.

    With `skip_cross` it is the sum of the layer's output and what is added to it, as in a residual
    network, that comes closest: W x + s to the original's W0 r + t, by least squares.

    Args:
        weight: the original W0 `[num_groups, num_rows, k]`.
        covariance: of the inputs x as they are now.
        cross: covariance of the original's inputs r (rows) with those (columns).
        damping: share of the mean diagonal that holds the weight where it is; see `damp`.
        skip_cross: covariance of t - s with x, `[num_groups, num_rows, k]`; 0 by default.
    """
    damped = damp(covariance, damping)
    held = damped - covariance
    wanted = weight @ (cross + held)
    if skip_cross is not None:
        wanted = wanted + skip_cross
    solved = np.linalg.solve(damped, wanted.swapaxes(1, 2))
    target: Float64 = solved.swapaxes(1, 2).astype(np.float64)
    return target


def measure_damage(
    error: Float64, covariance: Float64, row_weights: Float64 | None = None
) -> float:
    """tr(E C E^T), added up over groups.

    Args:
        error: quantised weight minus weight, `[num_groups, num_rows, k]`.
        covariance: of the layer's input `[num_groups, k, k]`.
        row_weights: what the squared error of each output counts `[num_groups, num_rows]`; ones
            by default.
    """
    rows = np.einsum("grk,grk->gr", error @ covariance, error)
    return float((rows if row_weights is None else rows * row_weights).sum())


def uniform_codebook(values: Float64, step: float, max_level: int = 127) -> Float64:
    """Multiples of a step that reach as far as the values do.

    Args:
        values: what is to be quantised, any shape.
        step: distance of the multiples, above 0.
        max_level: most multiples to each side of 0.

    Returns:
        float64, ascending, with 0 among them.
    """
    low = max(-max_level, int(np.floor(values.min() / step)))
    high = min(max_level, int(np.ceil(values.max() / step)))
    return step * np.arange(min(low, 0), max(high, 0) + 1, dtype=np.float64)


def choose_step(
    covariance: Float64,
    lam: float,
    *,
    row_weights: Float64 | None = None,
    ratio: float = 0.2,
    damping: float = 0.01,
) -> float:
    """The step at which a bit more saves about lam of damage.

    At many bits a weight, step**2 / 12 times the curvature falls by a factor of 4 with each bit, so
    that lam is 0.116 of step**2 times the curvature; at few bits a smaller step with more weights
    rounded to 0 does better. The curvature is the median conditional variance of the inputs, the
    rest of which later columns make up for, times the median row weight.

    Args:
        covariance: of the layer's input `[num_groups, k, k]`.
        lam: see `quantize_layer`, above 0.
        row_weights: see `quantize_layer`.
        ratio: lam in units of step**2 times the curvature; 0.1 to 0.4 are all good.
        damping: see `damp`.
    """
    inverse = np.linalg.inv(damp(covariance, damping))
    alive = np.einsum("gii->gi", covariance) > 0
    if not alive.any():
        return 1.0
    curvature = float(np.median((1 / np.einsum("gii->gi", inverse))[alive]))
    positive = np.ones(1) if row_weights is None else row_weights[row_weights > 0]
    curvature *= float(np.median(positive)) if positive.size else 1.0
    return float(np.sqrt(lam / (ratio * curvature)))


def quantize_layer(
    weight: Float64,
    covariance: Float64,
    *,
    lam: float,
    step: float | None = None,
    codebook: Float64 | None = None,
    row_weights: Float64 | None = None,
    damping: float = 0.01,
    sweeps: int = 3,
    max_classes: int = 8,
    refit: bool = True,
    threads: int = 0,
) -> Quantization:
    """Quantises a layer for least damage plus lam times its bits.

    Columns are decided in order, the error of each pushed into those that are not (as GPTQ); then
    each weight is chosen again with all others as they are, several times over, while the bits of
    each symbol follow from how often it is used in its row and column class.

    Args:
        weight: `[num_groups, num_rows, num_columns]`.
        covariance: of the layer's input, see `center_moments`.
        lam: damage that one bit may cost, in units of the damage.
        step: distance of the codebook's values, or None where a codebook is given.
        codebook: strictly ascending, with 0 in it.
        row_weights: what the squared error of each output counts `[num_groups, num_rows]`; ones
            by default.
        damping: see `damp`.
        sweeps: how often weights are chosen again.
        max_classes: most classes of rows and of columns for the bits; 1 for none.
        refit: whether the codebook is fitted to the codes at the end, see `refit_codebook`.
        threads: threads to use; 0 means one for each core. The codes do not depend on it.

    Raises:
        InputError: there is no codebook, or it is not ascending or lacks 0.
    """
    if (step is None) == (codebook is None):
        raise InputError(
            "cannot quantise a layer: step or codebook must be given, got both or none"
        )
    if codebook is None:
        codebook = uniform_codebook(weight, float(step or 0))
    if not (np.diff(codebook) > 0).all() or 0 not in codebook:
        raise InputError(
            "cannot quantise a layer: the codebook must ascend and hold 0, got "
            f"{len(codebook)} values"
        )
    # A weight of an input that never changes is free to be what costs least from the start: 0.
    weight = np.where(np.einsum("gii->gi", covariance)[:, None, :] > 0, weight, 0.0)
    damped = damp(covariance, damping)
    weights = np.ones(weight.shape[:2]) if row_weights is None else row_weights
    if codebook.size == 1:
        sweeps = 0
    sweeper = Sweeper(weight, damped, codebook, weights, lam, threads)
    codes = sweeper.round_nearest()
    costs = _measure(codes, codebook.size, max_classes, threads)
    for _ in range(2):  # once for a guess at the shares that does not come from rounding
        codes = sweeper.sweep_forward(costs)
        costs = _measure(codes, codebook.size, max_classes, threads)
    for _ in range(sweeps):
        codes = sweeper.sweep_again(costs, codes)
        costs = _measure(codes, codebook.size, max_classes, threads)
    codes, codebook = _drop_unused(codes, codebook)
    if refit:
        codebook = refit_codebook(
            weight, damped, codes, codebook, row_weights=weights, threads=threads
        )
    damage = measure_damage(weight - codebook[codes], covariance, weights)
    return Quantization(codes, codebook, damage, costs.total_bits)


def refit_codebook(
    weight: Float64,
    covariance: Float64,
    codes: Codes,
    codebook: Float64,
    *,
    row_weights: Float64 | None = None,
    threads: int = 0,
) -> Float64:
    """The codebook of least damage for given codes, by least squares; 0 stays 0.

    Where the fitted values would not ascend, the codebook stays as it is.

    Args:
        weight: `[num_groups, num_rows, num_columns]`.
        covariance: of the layer's input.
        codes: indices into the codebook, in the shape of the weight.
        codebook: strictly ascending, with 0 in it.
        row_weights: see `quantize_layer`.
        threads: threads to use; 0 means one for each core.
    """
    used = np.zeros(len(codebook), bool)
    used[np.unique(codes)] = True
    free = np.flatnonzero(used & (codebook != 0))
    if not free.size:
        return codebook
    scale = np.ones(weight.shape[:2]) if row_weights is None else row_weights
    unknowns = np.full(len(codebook), -1, np.int32)
    unknowns[free] = np.arange(len(free))
    indices = np.ascontiguousarray(unknowns[codes])
    normal = codebook_products(
        indices,
        np.ascontiguousarray(scale, np.float64).reshape(-1),
        np.ascontiguousarray(covariance, np.float64),
        len(free),
        threads=threads,
    )
    target = (weight @ covariance) * scale[..., None]
    # Weights that stay 0 have index -1 and go first.
    right = np.bincount(indices.reshape(-1) + 1, target.reshape(-1), len(free) + 1)[1:]
    # Held a little to where it is: a value that is used once may stand for nothing that is seen.
    held = 1e-6 * np.trace(normal) / len(free) + 1e-300
    normal += held * np.eye(len(free))
    fitted = codebook.copy()
    fitted[free] = np.linalg.solve(normal, right + held * codebook[free])
    return fitted if (np.diff(fitted) > 0).all() else codebook


def correct_bias(error: Float64, mean: Float64, mean_shift: Float64 | None = None) -> Float64:
    """What is to be added to the bias so that the mean of the output stays.

    Args:
        error: quantised weight minus weight, `[num_groups, num_rows, k]`.
        mean: mean of the layer's input now, `[num_groups, k]`.
        mean_shift: weight times the change of that mean, `[num_groups, num_rows]`, where layers
            before this one have changed it.

    Returns:
        float64 `[num_groups, num_rows]`.
    """
    added: Float64 = -np.einsum("grk,gk->gr", error, mean)
    return added if mean_shift is None else added - mean_shift


def _measure(codes: Codes, num_symbols: int, max_classes: int, threads: int) -> SymbolCosts:
    """Costs of all groups as one matrix, groups below each other."""
    matrix = codes.reshape(-1, codes.shape[-1])
    return measure_symbols(matrix, num_symbols, max_classes=max_classes, threads=threads)


def _drop_unused(codes: Codes, codebook: Float64) -> tuple[Codes, Float64]:
    kept = np.zeros(len(codebook), bool)
    kept[np.unique(codes)] = True
    kept[codebook == 0] = True
    renumbered = (np.cumsum(kept) - 1).astype(np.int32)
    return renumbered[codes], codebook[kept]
