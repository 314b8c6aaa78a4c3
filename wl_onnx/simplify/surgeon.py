"""Optimal-brain-surgeon pruning: weights go whose loss the others can make up for best.

Matrices, covariances and damage as in `wl_onnx.simplify.compensate`.

Source: Hassibi and Stork, "Second order derivatives for network pruning: optimal brain surgeon",
1993, equations 5 and 6, also for several weights at once; Frantar and Alistarh, "SparseGPT", 2023,
for the column blocks.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError
from wl_onnx.simplify.compensate import damp

__all__ = ["fit_kept", "prune_layer"]

Float64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# Exact pruning inverts a matrix for each row in each step, of some ten: seconds for so many columns
# and, all rows together, about so many multiplications a step.
_MAX_EXACT_COLUMNS = 1024
_MAX_EXACT_WORK = 5e10
# Weights left after each step of exact pruning, as a share of those before: up to so many columns.
_STEPS = ((64, 0.9), (256, 0.8), (_MAX_EXACT_COLUMNS, 0.6))
# Exact pruning begins where this many times the weights wanted are left; blocks find those.
_HEAD_START = 3
_BLOCK = 128


def prune_layer(
    weight: Float64,
    covariance: Float64,
    sparsity: float,
    *,
    row_weights: Float64 | None = None,
    damping: float = 0.01,
    method: Literal["auto", "exact", "blocks"] = "auto",
) -> Float64:
    """Prunes a layer and fits what is left to the original's output.

    Args:
        weight: `[num_groups, num_rows, num_columns]`.
        covariance: of the layer's input `[num_groups, num_columns, num_columns]`.
        sparsity: share of zeros over the whole layer, in [0, 1).
        row_weights: what the squared error of each output counts `[num_groups, num_rows]`.
        damping: see `damp`.
        method: "exact" prunes in steps, each with the losses of what is left by then; "blocks"
            decides 128 columns at a time, once, and pushes the errors into the later ones;
            "auto" is exact where that takes seconds.

    Returns:
        float64 in the weight's shape with round(sparsity * size) zeros or more.

    Raises:
        InputError: the sparsity is out of range.
    """
    if not 0 <= sparsity < 1:
        raise InputError(f"cannot prune a layer: sparsity must be in [0, 1), got {sparsity}")
    damped = damp(covariance, damping)
    scale = np.ones(weight.shape[:2]) if row_weights is None else row_weights
    num_kept = weight.size - round(sparsity * weight.size)
    if method == "auto":
        num_columns = weight.shape[2]
        work = float(weight.shape[0] * weight.shape[1]) * num_columns**3
        is_quick = num_columns <= _MAX_EXACT_COLUMNS and work <= _MAX_EXACT_WORK
        method = "exact" if is_quick else "blocks"
    if method == "blocks":
        kept = _prune_blocks(weight, damped, num_kept / weight.size, scale)
        return fit_kept(weight, damped, kept)
    kept = weight != 0
    fitted = weight
    if _HEAD_START * num_kept < kept.sum():
        kept = _prune_blocks(weight, damped, _HEAD_START * num_kept / weight.size, scale)
        fitted = fit_kept(weight, damped, kept)
    share = next((s for k, s in _STEPS if weight.shape[2] <= k), _STEPS[-1][1])
    while (count := int(kept.sum())) > num_kept:
        left = max(num_kept, int(share * count))
        losses = _losses(fitted, damped, kept) * scale[:, :, None]
        losses[~kept] = -1  # before all others, so that ties keep the count
        order = np.argsort(losses, axis=None, kind="stable")
        kept = kept.copy()
        kept.reshape(-1)[order[: weight.size - left]] = False
        fitted = fit_kept(weight, damped, kept)
    return np.where(kept, fitted, 0.0)


def fit_kept(weight: Float64, covariance: Float64, kept: Mask) -> Float64:
    """The values of kept weights for which the layer's output changes least; the rest are 0.

    Args:
        weight: `[num_groups, num_rows, num_columns]`.
        covariance: positive definite, see `damp`.
        kept: which weights may differ from 0, in the shape of the weight.
    """
    fitted = np.zeros_like(weight)
    for group, matrix in enumerate(covariance):
        targets = weight[group] @ matrix
        counts = kept[group].sum(axis=1)
        # The smaller of two systems: for what is kept, or for what the others make up for.
        is_mostly_kept = 2 * counts > weight.shape[2]
        inverse = np.linalg.inv(matrix) if is_mostly_kept.any() else matrix
        for row in range(weight.shape[1]):
            (support,) = np.nonzero(kept[group, row])
            if is_mostly_kept[row]:
                (gone,) = np.nonzero(~kept[group, row])
                pushed = np.linalg.solve(inverse[np.ix_(gone, gone)], weight[group, row, gone])
                fitted[group, row] = weight[group, row] - inverse[:, gone] @ pushed
                fitted[group, row, gone] = 0.0
            elif len(support) > 0:
                square = matrix[np.ix_(support, support)]
                fitted[group, row, support] = np.linalg.solve(square, targets[row, support])
    return fitted


def _losses(fitted: Float64, covariance: Float64, kept: Mask) -> Float64:
    """What the loss of each kept weight costs once all others that are kept make up for it."""
    losses = np.zeros_like(fitted)
    for group, matrix in enumerate(covariance):
        whole = np.diagonal(np.linalg.inv(matrix))
        for row in range(fitted.shape[1]):
            (support,) = np.nonzero(kept[group, row])
            if len(support) == len(matrix):
                diagonal = whole
            else:
                diagonal = np.diagonal(np.linalg.inv(matrix[np.ix_(support, support)]))
            losses[group, row, support] = fitted[group, row, support] ** 2 / diagonal
    return losses


def _prune_blocks(
    weight: Float64, covariance: Float64, density: float, row_weights: Float64
) -> Mask:
    """Which weights SparseGPT keeps."""
    upper = np.linalg.cholesky(np.linalg.inv(covariance)).swapaxes(1, 2)
    pivots = np.einsum("gii->gi", upper)
    # One threshold for all blocks, so that each keeps as many weights as are worth it.
    scores = (weight / pivots[:, None, :]) ** 2 * row_weights[:, :, None]
    num_kept = round(density * weight.size)
    threshold = np.partition(scores, -num_kept, axis=None)[-num_kept] if num_kept else np.inf
    left = weight.copy()
    kept = np.zeros(weight.shape, bool)
    for start in range(0, weight.shape[2], _BLOCK):
        stop = min(start + _BLOCK, weight.shape[2])
        errors = np.zeros((*weight.shape[:2], stop - start))
        for j in range(start, stop):
            score = (left[:, :, j] / pivots[:, None, j]) ** 2 * row_weights
            kept[:, :, j] = score >= threshold
            error = np.where(kept[:, :, j], 0.0, left[:, :, j]) / pivots[:, None, j]
            errors[:, :, j - start] = error
            left[:, :, j + 1 : stop] -= error[..., None] * upper[:, None, j, j + 1 : stop]
        left[:, :, stop:] -= errors @ upper[:, start:stop, stop:]
    return _trim(kept, left, pivots, row_weights, num_kept)


def _trim(
    kept: Mask, values: Float64, pivots: Float64, row_weights: Float64, num_kept: int
) -> Mask:
    """The mask with the number of weights that is wanted: the best of all by their last scores."""
    scores = (values / pivots[:, None, :]) ** 2 * row_weights[:, :, None]
    # What was kept comes first; errors pushed on have usually raised a few too many.
    scores = np.where(kept, scores + scores.max() + 1.0, scores)
    trimmed = np.zeros(kept.size, bool)
    trimmed[np.argsort(-scores, axis=None, kind="stable")[:num_kept]] = True
    return trimmed.reshape(kept.shape)
