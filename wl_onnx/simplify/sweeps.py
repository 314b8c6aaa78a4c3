"""Sweeps over a layer's columns that choose symbols for least damage plus lam times bits.

Between blocks of columns errors are handed on by matrix products; within a block the compiled core
decides column by column.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wl_onnx.kernels.compensation import SymbolRates, decide_block, decide_block_again

if TYPE_CHECKING:
    from wl_onnx.simplify.contexts import SymbolCosts

__all__ = ["Sweeper", "factor_inverse"]

Float64 = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

_BLOCK = 128
_SMALL = 256


@dataclasses.dataclass(frozen=True)
class Sweeper:
    """A layer that is quantised in several sweeps.

    Attributes:
        weight: float64 `[num_groups, num_rows, k]`.
        covariance: of the layer's input, damped so that it can be inverted; `[num_groups, k, k]`.
        codebook: float64, strictly ascending.
        row_weights: what the squared error of each output counts `[num_groups, num_rows]`.
        lam: damage that one bit may cost.
        threads: threads to use; 0 means one for each core.
    """

    weight: Float64
    covariance: Float64
    codebook: Float64
    row_weights: Float64
    lam: float
    threads: int = 0

    def round_nearest(self) -> Codes:
        """The nearest symbol of each weight, the lower one where two are as near."""
        middles = (self.codebook[1:] + self.codebook[:-1]) / 2
        return np.searchsorted(middles, self.weight).astype(np.int32)

    def sweep_forward(self, costs: SymbolCosts) -> Codes:
        """Decides columns in order, the error of each pushed into those after it."""
        order = self._order
        symbols = self._symbols(costs, costs.column_classes[order])
        weight = self.weight[:, :, order]
        codes = np.empty(weight.shape, np.int32)
        errors = np.empty(weight.shape)
        for start, stop in self._blocks():
            left = (
                weight[:, :, start:stop] - errors[:, :, :start] @ self._upper[:, :start, start:stop]
            )
            square = np.ascontiguousarray(self._upper[:, start:stop, start:stop])
            left = np.ascontiguousarray(left)
            decide_block(left, square, start, symbols, codes, errors, threads=self.threads)
        decided = np.empty_like(codes)
        decided[:, :, order] = codes
        return decided

    def sweep_again(self, costs: SymbolCosts, codes: Codes) -> Codes:
        """Chooses each column again with all others as they are; never makes the sum larger."""
        symbols = self._symbols(costs, costs.column_classes)
        codes = codes.copy()
        errors = np.ascontiguousarray(self.codebook[codes] - self.weight)
        for start, stop in self._blocks():
            gradient = np.ascontiguousarray(errors @ self.covariance[:, :, start:stop])
            square = np.ascontiguousarray(self.covariance[:, start:stop, start:stop])
            decide_block_again(
                gradient, square, start, symbols, codes, errors, threads=self.threads
            )
        return codes

    @cached_property
    def _order(self) -> Int64:
        # The most important inputs first, while there is much that can make up for them.
        return np.argsort(-np.einsum("gii->i", self.covariance), kind="stable")

    @cached_property
    def _upper(self) -> Float64:
        return factor_inverse(self.covariance[:, self._order][:, :, self._order])

    def _blocks(self) -> list[tuple[int, int]]:
        k = self.weight.shape[2]
        return [(start, min(start + _BLOCK, k)) for start in range(0, k, _BLOCK)]

    def _symbols(self, costs: SymbolCosts, column_classes: Int64) -> SymbolRates:
        return SymbolRates(
            np.ascontiguousarray(self.codebook, np.float64),
            self.lam * costs.bits,
            costs.row_classes,
            np.ascontiguousarray(column_classes),
            np.ascontiguousarray(self.row_weights, np.float64).reshape(-1),
        )


def factor_inverse(matrices: Float64) -> Float64:
    """The upper triangular U with U^T U the inverse, without the inverse.

    Args:
        matrices: float64 `[num_groups, k, k]`, symmetric.

    Raises:
        numpy.linalg.LinAlgError: a matrix is not positive definite.
    """
    lower = np.linalg.cholesky(matrices[:, ::-1, ::-1]).astype(np.float64, copy=False)
    return _invert_upper(lower[:, ::-1, ::-1])


def _invert_upper(upper: Float64) -> Float64:
    """Inverses by halves: mostly matrix products, and a quarter of a general inverse's."""
    k = upper.shape[-1]
    if k <= _SMALL:
        small: Float64 = np.triu(np.linalg.inv(upper))
        return small
    half = k // 2
    inverse = np.zeros(upper.shape)
    inverse[:, :half, :half] = _invert_upper(upper[:, :half, :half])
    inverse[:, half:, half:] = _invert_upper(upper[:, half:, half:])
    right = upper[:, :half, half:] @ inverse[:, half:, half:]
    inverse[:, :half, half:] = -(inverse[:, :half, :half] @ right)
    return inverse
