"""What weights cost to store, as a term of the loss: learned sparsity."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["RatePenalty", "measure_scale"]

# Added to squared norms, whose root has no gradient at 0.
_TINY = 1e-12


class RatePenalty:
    """The bits of all weights, roughly and with a gradient, times what a bit may cost.

    A weight w of a tensor with scale s counts log2(1 + |w| / s) bits: large ones pay for the
    digits that they have before their precision, small ones are pushed to 0, the harder the nearer
    they are. That is the shape of the divergence which variational dropout puts in the loss (D.
    Molchanov, A. Ashukha and D. Vetrov, "Variational dropout sparsifies deep neural networks",
    2017, equation 14), without its noise; as a penalty it is the logarithm of E. Candes, M. Wakin
    and S. Boyd, "Enhancing sparsity by reweighted l1 minimization", 2008, section 2.2.

    A row and a column of a weight's matrix, that is what comes out of a unit and what goes into it,
    count log2(1 + norm / s) bits each beside that, times the unit weight: where a weight is says
    less in a matrix of few rows and columns, and units without weights can be removed. Penalties of
    groups are those of C. Louizos, K. Ullrich and M. Welling, "Bayesian compression for deep
    learning", 2017, section 3; with logarithms in place of their priors.

    Bits are worth ln(2) / num_samples of mean loss each, times the rate weight: at 1 the
    description of the weights and that of the labels together are shortest (J. Rissanen, "Modeling
    by shortest data description", 1978).

    Args:
        weights: by name, the tensors that train.
        scales: by name, s, above 0.
        rate_weight: factor of what bits cost, above 0.
        num_samples: samples of the training data.
        unit_weight: of rows and columns; 0 leaves them out.
        warmup: share of a run over which the costs rise from 0.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        scales: Mapping[str, float],
        *,
        rate_weight: float,
        num_samples: int,
        unit_weight: float = 0.0,
        warmup: float = 0.0,
    ) -> None:
        self._terms = [(weights[name], 1 / scales[name]) for name in weights]
        # The sum is of natural logarithms: log2(x) ln(2) = ln(x).
        self._factor = rate_weight / num_samples
        self._unit_weight = unit_weight
        self._warmup = warmup

    def __call__(self, progress: float) -> Tensor:
        """The term of the loss, with `progress` of the run done, in 0..1."""
        terms = [torch.log1p(weight.abs() * inverse).sum() for weight, inverse in self._terms]
        if self._unit_weight:
            terms += [
                self._unit_weight * torch.log1p(norms * inverse).sum()
                for weight, inverse in self._terms
                if weight.ndim > 1
                for norms in _measure_units(weight)
            ]
        rise = min(1.0, progress / self._warmup) if self._warmup else 1.0
        penalty: Tensor = torch.stack(terms).sum() * (self._factor * rise)
        return penalty


def _measure_units(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Norms of rows and of columns, with a gradient where they are 0."""
    squares = weight.reshape(len(weight), -1).square()
    return (squares.sum(1) + _TINY).sqrt(), (squares.sum(0) + _TINY).sqrt()


def measure_scale(weight: Tensor) -> float:
    """Root of the mean square of a weight; 0 where all of it is 0."""
    return math.sqrt(float(weight.detach().double().square().mean()))
