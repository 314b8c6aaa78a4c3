"""Treatments as modules for `torch.nn.utils.parametrize`.

Each turns what is trained, `original` to torch, into the tensor that the user's module computes
with. State is kept in buffers, so that it is saved and loaded with the module's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Clustered", "Frozen", "Masked"]

# Of the threshold; between the two a weight stays in or out, as it is (a and b of Guo et al.).
_LOW = 0.9
_HIGH = 1.1


class Frozen(nn.Module):  # type: ignore[misc, unused-ignore]
    """A value that no training changes.

    Args:
        value: in the parameter's shape and type.
        is_trained: whether the parameter is to be trained again once it is detached.
    """

    value: Tensor

    def __init__(self, value: Tensor, *, is_trained: bool) -> None:
        super().__init__()
        self.is_trained = is_trained
        self.register_buffer("value", value)

    def forward(self, original: Tensor) -> Tensor:
        """The value, whatever the original is."""
        return self.value


class Masked(nn.Module):  # type: ignore[misc, unused-ignore]
    """Weights some of which are 0.

    Args:
        mask: bool, in the parameter's shape; False is 0.
        passes_gradient: whether masked weights get the gradient that they would have unmasked.
        threshold: magnitude about which weights come and go in training; None: the mask is fixed.
    """

    mask: Tensor
    limits: Tensor

    def __init__(self, mask: Tensor, *, passes_gradient: bool, threshold: float | None) -> None:
        super().__init__()
        self._passes_gradient = passes_gradient
        self._regrows = threshold is not None
        self.register_buffer("mask", mask)
        if threshold is not None:
            limits = torch.tensor([_LOW * threshold, _HIGH * threshold])
            self.register_buffer("limits", limits.to(mask.device))

    def forward(self, original: Tensor) -> Tensor:
        """The weights, with 0 where they are masked."""
        if self._regrows and self.training and torch.is_grad_enabled():
            self._update(original.detach())
        masked = torch.where(self.mask, original, 0.0)
        if not self._passes_gradient:
            return masked
        # Exact: w + (0 - w) is 0, and w + (w - w) is w.
        return original + (masked - original).detach()

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What stands behind a weight: itself, masked weights included."""
        return weight

    def _update(self, weight: Tensor) -> None:
        # Nothing but the weight and the mask decides, so that a second call changes nothing.
        magnitudes = weight.abs()
        low, high = self.limits.to(weight.dtype)
        self.mask = (magnitudes >= high) | (self.mask & (magnitudes >= low))


class Clustered(nn.Module):  # type: ignore[misc, unused-ignore]
    """Weights that share centroids; the original is the centroids, [number of them].

    Args:
        codes: integers in the parameter's shape: 0 is a weight that is 0, others are one more
            than the index of the centroid.
        num_centroids: of the codebook.
    """

    codes: Tensor

    def __init__(self, codes: Tensor, num_centroids: int) -> None:
        super().__init__()
        self._num_centroids = num_centroids
        self.register_buffer("codes", codes.long())  # others would be converted at each call

    def forward(self, original: Tensor) -> Tensor:
        """The centroid of each weight."""
        # Gradients add up in the table's type, which half precision is too coarse for.
        wide = original.to(torch.promote_types(original.dtype, torch.float32))
        table = torch.cat((wide.new_zeros(1), wide))
        weights = table.index_select(0, self.codes.reshape(-1)).reshape(self.codes.shape)
        return weights.to(original.dtype)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The mean of each centroid's weights."""
        codes = self.codes.cpu().reshape(-1)
        values = weight.detach().cpu().reshape(-1).double()  # some devices have no float64
        length = self._num_centroids + 1
        sums = torch.bincount(codes, values, minlength=length)
        counts = torch.bincount(codes, minlength=length)
        return (sums / counts.clamp(min=1))[1:].to(weight.dtype).to(weight.device)
