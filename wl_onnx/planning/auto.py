"""Sparsity and bits for one tensor: the smallest filter within a share of the weights' energy."""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wl_onnx.codecs import bounds
from wl_onnx.codecs.lengths import choose_lengths
from wl_onnx.kernels import clustering
from wl_onnx.recipe import MAX_BITS, Recipe

__all__ = ["Choice", "choose"]

# Bins of the histogram that choices are predicted on: 64 for each cluster predict the clustering's
# error to about 0.1 %.
_BINS_PER_CLUSTER = 64
_MIN_BINS = 1 << 10
_MAX_BINS = 1 << 14

# Shares of the most that may be pruned at all, tried for every number of bits, and how often the
# step between two of them is halved.
_PRUNED_SHARES = np.concatenate(([0.0], np.geomspace(1e-4, 1.0, 24)))
_HALVINGS = 6

# Codes of different length have an error energy between those of whole numbers of bits.
_STEPS_PER_BIT = 8

_CODEBOOK_BYTES = {"float16": 2, "float32": 4}


@dataclasses.dataclass(frozen=True)
class Choice:
    """How a tensor is to be pruned and encoded, and what that will do.

    Attributes:
        sparsity: share of zeros after pruning; the tensor's own zeros are among them. 0 for a
            tensor of zeros, where nothing is left to prune.
        bits: bits of a filter cell; of the layout "prefix", the length that codes of one length
            would have at the same error energy, fractions included.
        predicted_size_bits: about the size of the blob.
        predicted_error_share: the sum of the three shares below.
        prune_share: energy of the pruned weights over the energy of all.
        cluster_share: error energy of the clustering over the energy of all weights.
        false_positive_share: expected energy that false positives add over the energy of all.
        meets_share: whether the predicted share is within the recipe's `error_share`. Where no
            choice is, this one has the least error.
    """

    sparsity: float
    bits: float
    predicted_size_bits: int
    predicted_error_share: float
    prune_share: float
    cluster_share: float
    false_positive_share: float
    meets_share: bool


def choose(values: npt.NDArray[np.float32], recipe: Recipe, *, threads: int = 1) -> Choice:
    """The sparsity and bits that a recipe leaves to "auto", for one tensor.

    The smallest predicted size at which pruning, clustering and false positives together keep
    within `error_share` of the tensor's weight energy. Values that the recipe gives are kept.
    Rounding of centroids is left out of the prediction.

    Args:
        values: float32, any shape, at least one, finite, fewer than 2**32.
        recipe: `sparsity`, `bits`, `clusters`, `error_share`, `layout` and `codebook` are used.
        threads: threads to use; 0 means one for each core. The result does not depend on it.

    Raises:
        InputError: a value is NaN or infinite.
    """
    max_bins = min(max(_BINS_PER_CLUSTER * recipe.clusters, _MIN_BINS), _MAX_BINS)
    tensor = _Tensor(clustering.magnitude_histogram(values, max_bins, threads=threads), recipe)
    if recipe.sparsity != "auto":
        num_pruned = max(tensor.num_zeros, round(recipe.sparsity * tensor.num_weights))
        choice = tensor.best_at([num_pruned])
        return dataclasses.replace(choice, sparsity=float(recipe.sparsity))
    return tensor.best()


@dataclasses.dataclass(frozen=True)
class _Pruned:
    """A tensor of which the num_pruned smallest weights are 0 and the others are clustered."""

    num_pruned: int
    num_keys: int
    prune_energy: float
    cluster_energy: float
    centroids: npt.NDArray[np.float64]
    usage: npt.NDArray[np.float64]
    has_lengths: bool  # whether each centroid has a code of its own length

    chosen_lengths: dict[float, npt.NDArray[np.uint8]] = dataclasses.field(default_factory=dict)

    def lengths(self, bits: float) -> npt.NDArray[np.uint8]:
        """Bits of each centroid's code at the error energy of one common length."""
        if not self.has_lengths:
            return np.full(self.centroids.shape, bits, np.uint8)
        if bits not in self.chosen_lengths:
            self.chosen_lengths[bits] = choose_lengths(self.usage, self.centroids, bits)
        return self.chosen_lengths[bits]

    @property
    def min_bits(self) -> int:
        if self.has_lengths:
            return 0  # what does not fit in so many bits gets longer codes
        return max(1, (len(self.centroids) - 1).bit_length())

    def false_positive_energy(self, bits: float) -> float:
        """What false positives are expected to add once centroids are refitted around them.

        Centroid c stands for n weights and, wrongly, for about f = zeros / 2**bits more (of its
        own bits), which are nearly 0. The best value for all of them is c n / (n + f), which leaves
        c^2 n f / (n + f) of the energy c^2 f. That is concave in f, so that the mean over f is no
        larger.
        """
        false_positives = self.num_pruned * 2.0 ** -self.lengths(bits).astype(np.float64)
        kept = self.usage / (self.usage + false_positives)
        return float((false_positives * self.centroids**2 * kept).sum())

    def error_energy(self, bits: float) -> float:
        return self.prune_energy + self.cluster_energy + self.false_positive_energy(bits)


class _Tensor:
    """A tensor's histogram, with what has been tried on it."""

    def __init__(self, histogram: clustering.MagnitudeHistogram, recipe: Recipe) -> None:
        self.num_zeros = histogram.num_zeros
        self.num_weights = histogram.num_weights
        self._histogram = histogram
        self._recipe = recipe
        self._has_lengths = recipe.table_layout == "prefix"
        self._counts_before = np.concatenate(([0], np.cumsum(histogram.counts.sum(axis=0))))
        energies = (histogram.counts * histogram.means**2).sum(axis=0)
        self._energy_before = np.concatenate(([0.0], np.cumsum(energies)))
        self._energy = float(self._energy_before[-1])
        self._budget = recipe.error_share * self._energy
        self._tried: dict[int, _Pruned] = {}

    def best(self) -> Choice:
        """The smallest choice within the budget, over sparsities and bits."""
        if self._has_lengths:
            return self._best_of_lengths()
        grid = self._grid()
        best = self.best_at(grid)
        for bits in self._all_bits():
            within = [i for i, num_pruned in enumerate(grid) if self._is_within(num_pruned, bits)]
            if not within or within[-1] == len(grid) - 1:
                continue
            low, high = grid[within[-1]], grid[within[-1] + 1]
            if best.meets_share and self._size(high, bits) >= best.predicted_size_bits:
                continue
            for _ in range(_HALVINGS):
                middle = (low + high) // 2
                if self._is_within(middle, bits):
                    low = middle
                else:
                    high = middle
            best = min(best, self._choice(low, bits), key=_order)
        return best

    def _best_of_lengths(self) -> Choice:
        """Over a grid of sparsities, then between the neighbours of the best of them."""
        tried = {num_pruned: self.best_at([num_pruned]) for num_pruned in self._grid()}
        for _ in range(_HALVINGS):
            places = sorted(tried)
            best = min(range(len(places)), key=lambda i: _order(tried[places[i]]))
            for i in (best - 1, best):
                if 0 <= i < len(places) - 1:
                    middle = (places[i] + places[i + 1]) // 2
                    if middle not in tried:
                        tried[middle] = self.best_at([middle])
        return min(tried.values(), key=_order)

    def _fewest_bits(self, num_pruned: int) -> float:
        """At which codes of different length are within the budget, or the most there are."""
        bits = self._all_bits()
        first = bisect.bisect_left(bits, True, key=lambda b: self._is_within(num_pruned, b))
        return bits[min(first, len(bits) - 1)]

    def best_at(self, grid: list[int]) -> Choice:
        """The smallest choice within the budget, over bits and the given numbers of zeros."""
        if self._has_lengths:
            found = [self._choice(count, self._fewest_bits(count)) for count in grid]
            return min(found, key=_order)
        choices = []
        for num_pruned in grid:
            pruned = self._prune(num_pruned)
            allowed = [bits for bits in self._all_bits() if bits >= pruned.min_bits]
            within = [bits for bits in allowed if self._is_within(num_pruned, bits)]
            # The least error comes with the most bits, and with fewer where nothing can be wrong.
            without_errors = [bits for bits in allowed if pruned.false_positive_energy(bits) == 0]
            bits = (within or without_errors or allowed[-1:])[0]
            choices.append(self._choice(num_pruned, bits))
        return min(choices, key=_order)

    def _all_bits(self) -> Sequence[float]:
        if self._recipe.bits != "auto":
            return [self._recipe.bits]
        if self._has_lengths:
            return [step / _STEPS_PER_BIT for step in range(_STEPS_PER_BIT * MAX_BITS + 1)]
        return range(1, MAX_BITS + 1)

    def _grid(self) -> list[int]:
        """The numbers of zeros that are tried first, ascending."""
        most = self._most_pruned()
        pruned = (
            self.num_zeros + round(share * (most - self.num_zeros)) for share in _PRUNED_SHARES
        )
        return sorted(set(pruned))

    def _most_pruned(self) -> int:
        """How many weights can be 0 before pruning alone is over the budget."""
        energy = self._energy_before
        full = int(np.searchsorted(energy, self._budget, side="right")) - 1
        most = self.num_zeros + int(self._counts_before[full])
        if full < len(energy) - 1:
            share = (self._budget - energy[full]) / (energy[full + 1] - energy[full])
            most += int(share * (self._counts_before[full + 1] - self._counts_before[full]))
        return most

    def _prune(self, num_pruned: int) -> _Pruned:
        if num_pruned not in self._tried:
            points, masses = self._histogram.points(num_pruned)
            centroids, usage, cluster_energy = np.zeros(1), np.zeros(1), 0.0
            if len(points) > 0:
                centroids, usage, cluster_energy = clustering.cluster_points(
                    points, masses, self._recipe.clusters
                )
            prune_energy = np.interp(
                num_pruned - self.num_zeros, self._counts_before, self._energy_before
            )
            self._tried[num_pruned] = _Pruned(
                num_pruned=num_pruned,
                num_keys=self.num_weights - num_pruned,
                prune_energy=float(prune_energy),
                cluster_energy=cluster_energy,
                centroids=centroids,
                usage=np.maximum(usage, np.finfo(np.float64).tiny),
                has_lengths=self._has_lengths,
            )
        return self._tried[num_pruned]

    def _is_within(self, num_pruned: int, bits: float) -> bool:
        pruned = self._prune(num_pruned)
        return bits >= pruned.min_bits and pruned.error_energy(bits) <= self._budget

    def _size(self, num_pruned: int, bits: float) -> int:
        if self._has_lengths:
            pruned = self._prune(num_pruned)
            return bounds.predicted_prefix_size_bits(
                pruned.usage, pruned.lengths(bits), _CODEBOOK_BYTES[self._recipe.codebook]
            )
        return bounds.predicted_size_bits(
            self.num_weights - num_pruned,
            int(bits),
            self._recipe.table_layout,
            len(self._prune(num_pruned).centroids),
            _CODEBOOK_BYTES[self._recipe.codebook],
        )

    def _choice(self, num_pruned: int, bits: float) -> Choice:
        pruned = self._prune(num_pruned)
        energy = self._energy if self._energy > 0 else math.inf
        prune_share = pruned.prune_energy / energy
        cluster_share = pruned.cluster_energy / energy
        false_positive_share = pruned.false_positive_energy(bits) / energy
        return Choice(
            sparsity=num_pruned / self.num_weights if pruned.num_keys > 0 else 0.0,
            bits=bits,
            predicted_size_bits=self._size(num_pruned, bits),
            predicted_error_share=prune_share + cluster_share + false_positive_share,
            prune_share=prune_share,
            cluster_share=cluster_share,
            false_positive_share=false_positive_share,
            meets_share=pruned.error_energy(bits) <= self._budget,
        )


def _order(choice: Choice) -> tuple[bool, float, float]:
    """Those within the budget by size, then the others by error."""
    if choice.meets_share:
        return (False, choice.predicted_size_bits, choice.predicted_error_share)
    return (True, choice.predicted_error_share, choice.predicted_size_bits)
