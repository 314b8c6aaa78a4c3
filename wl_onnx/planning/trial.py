"""One trial of a search: all layers coded by one setting, and measured."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wl_onnx.evaluation import Score
    from wl_onnx.planning.assembly import Assembly
    from wl_onnx.planning.sequence import CodedLayers

__all__ = ["Setting", "Trial", "form_blocks"]

_MAX_BLOCKS = 6

# By which power of the change lambda follows, so that the size stays about where it was: of the
# step ratio, of the damping; measured on lenet300. Of a factor it is its block's share of the size.
_FOLLOWS = (0.7, 0.3)

# Models of more layers than this share factors among neighbours.
_MAX_BLOCKS = 6


@dataclasses.dataclass(frozen=True)
class Setting:
    """What the codings of all layers follow from.

    Attributes:
        lam: loss that a bit may cost.
        step_ratio: see `choose_step`.
        damping: see `damp`.
        factors: what the loss of each block of layers counts.
    """

    lam: float
    step_ratio: float = 0.12
    damping: float = 0.05
    factors: tuple[float, ...] = (1.0,)

    @property
    def num_numbers(self) -> int:
        """How many numbers can be varied beside lambda."""
        return len(_FOLLOWS) + (len(self.factors) if len(self.factors) > 1 else 0)

    def vary(self, index: int, factor: float, shares: Sequence[float]) -> Setting:
        """The setting with one number multiplied with a factor, for about the same size.

        Args:
            index: which number.
            factor: above 0.
            shares: of each block in the size.
        """
        if index < len(_FOLLOWS):
            name = ("step_ratio", "damping")[index]
            lam = self.lam * factor ** _FOLLOWS[index]
            changes = {name: getattr(self, name) * factor, "lam": lam}
            return dataclasses.replace(self, **changes)
        factors = list(self.factors)
        block = index - len(_FOLLOWS)
        factors[block] *= factor
        lam = self.lam * factor ** shares[block]
        return dataclasses.replace(self, lam=lam, factors=tuple(factors))


@dataclasses.dataclass(frozen=True)
class Trial:
    """A setting, and what came of it.

    Attributes:
        setting: the setting.
        coded: the coded layers.
        assembly: what is put into the model.
        size_bytes: of everything that stands for the original's initializers.
        score: how far the model is from its original.
        shares: of each block of layers in the size of all layers.
        target_bytes: most that the size may be; None where the limits are on the loss.
    """

    setting: Setting
    coded: CodedLayers
    assembly: Assembly
    size_bytes: int
    score: Score
    shares: tuple[float, ...]
    target_bytes: int | None = None

    @property
    def divergence(self) -> float:
        """The loss that guides the search, see `Score`."""
        return self.score.divergence

    @property
    def meets(self) -> bool:
        """Whether the trial keeps within the limits."""
        return self.score.meets if self.target_bytes is None else self.excess <= 0

    @property
    def excess(self) -> float:
        """By how much the limit is passed, as a share of it; at most 0 within."""
        if self.target_bytes is None:
            return self.score.excess
        return self.size_bytes / self.target_bytes - 1

    @property
    def cost(self) -> float:
        """What is to be least within the limits: the size, or for a given size the loss."""
        return self.size_bytes if self.target_bytes is None else self.divergence


def form_blocks(num_weights: Sequence[int]) -> list[int]:
    """The block of each layer, for layers in the order in which they run.

    Few layers are blocks of their own. Of many, the first and the last are, which often differ
    from the rest, and those between are cut into blocks of about as many weights.

    Args:
        num_weights: of each layer.

    Example:
        >>> form_blocks([10, 20, 30])
        [0, 1, 2]
        >>> form_blocks([1, 8, 8, 8, 8, 8, 8, 8, 8, 1])
        [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    """
    count = len(num_weights)
    if count <= _MAX_BLOCKS:
        return list(range(count))
    inner = np.asarray(num_weights[1:-1], np.float64)
    middles = (np.cumsum(inner) - inner / 2) / inner.sum()
    blocks = 1 + np.minimum((middles * (_MAX_BLOCKS - 2)).astype(int), _MAX_BLOCKS - 3)
    # A layer that is larger than a block leaves none empty.
    numbers = np.unique(blocks, return_inverse=True)[1] + 1
    return [0, *(int(number) for number in numbers), int(numbers[-1]) + 1]
