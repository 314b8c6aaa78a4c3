"""How many bits the code of each centroid gets in a filter of the layout "prefix".

A stored weight of centroid j costs t_j bits, and a zero turns into centroid j with probability
2**-t_j. For a given energy of those false positives the bits are least where 2**-t_j is
proportional to n_j / c_j**2, by Lagrange's multiplier; against one common length that saves
KL(usage || energy share) bits a stored weight. Whole lengths lose a few hundredths of a bit of it,
and so does taking few different ones, each of which a reader pays for with a table to look into.
Source: the multiplier's argument is that of Shannon codes (Cover and Thomas, "Elements of
information theory", 2nd edition, section 5.3), with energies for costs and an incomplete code.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError

__all__ = ["MAX_LENGTH", "choose_lengths"]

MAX_LENGTH = 16

# Bisections of a multiplier's logarithm, and the range that it is looked for in; the ratios that
# are tried of the multiplier of the codes' shares to that of the energies.
_BISECTIONS = 24
_MAX_LOG2 = 100.0
_RATIOS = np.concatenate(([0.0], 2.0 ** np.arange(-24.0, 8.0)))

# A bit less for one centroid and some more for another are tried where pairs are no more than so
# many.
_MAX_PAIRS = 1 << 12
_STEPS = np.arange(1, 6)
# How many of the longest planes are tried to be left out, for what a plane costs by itself.
_PLANES_LEFT_OUT = 5
# Fewer lengths are looked for at prices of so many doublings of that of the best ones, and for
# levels that cost so many times what they do: whole lengths keep no exact price.
_DOUBLINGS = (-1.0, -0.5, 0.0, 0.5, 1.0)
_LEVEL_COSTS = (0.25, 0.5, 1.0)

# Sums of powers of 2 may be off by the rounding of their terms.
_TOLERANCE = 1e-9

Lengths = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


def choose_lengths(
    usage: npt.ArrayLike,
    codebook: npt.ArrayLike,
    bits: float,
    *,
    plane_bits: float = 0.0,
    level_bits: float = 0.0,
) -> Lengths:
    """The shortest codes at the error energy of one common length.

    Args:
        usage: numbers [c], how many stored weights each centroid stands for; at least 0.
        codebook: floats [c], the centroids, finite.
        bits: the common length whose energy of false positives is not to be exceeded, 0 to 16,
            fractions allowed: sum of 2**-t_j c_j**2 <= 2**-bits times the sum of c_j**2.
        plane_bits: what each bit of the longest code costs beside the codes.
        level_bits: what each different length costs beside the codes.

    Returns:
        uint8 [c], each from 1 to 16, with sum of 2**-t_j <= 1.

    Raises:
        InputError: an argument breaks a rule above.

    Example:
        >>> choose_lengths([70, 20, 10], [0.1, 0.2, 0.4], 8).tolist()
        [4, 8, 12]
    """
    counts = np.asarray(usage, np.float64)
    energies = np.asarray(codebook, np.float64) ** 2
    if counts.ndim != 1 or counts.shape != energies.shape or not 1 <= counts.size <= 2**MAX_LENGTH:
        raise InputError(
            "cannot choose code lengths: usage and codebook must be numbers [c], "
            f"got {list(counts.shape)} and {list(energies.shape)}"
        )
    if not (0 <= bits <= MAX_LENGTH):
        raise InputError(f"cannot choose code lengths: bits must be from 0 to 16, got {bits}")
    if not (np.isfinite(energies).all() and np.isfinite(counts).all()):
        raise InputError("cannot choose code lengths: usage and codebook must be finite numbers")
    if counts.min() < 0:
        raise InputError(
            f"cannot choose code lengths: usage must be at least 0, got {counts.min():g}"
        )
    total = max(1.0, float(counts.sum()))
    counts = counts / total
    energies = energies / (float(energies.sum()) or 1.0)
    problem = _Problem(counts, energies, 2.0**-bits * (1 + _TOLERANCE))
    beside = _Beside(plane_bits / total, level_bits / total)
    best, price = problem.solve(np.arange(1, MAX_LENGTH + 1))
    longest = int(best.max())
    fewest = max(1, (counts.size - 1).bit_length(), math.ceil(bits))
    tried: set[tuple[int, ...]] = set()
    if plane_bits > 0:
        shortest = max(longest - _PLANES_LEFT_OUT, fewest)
        tried.update(tuple(range(1, cap + 1)) for cap in range(shortest, longest))
    if level_bits > 0:
        for log2 in _DOUBLINGS:
            gaps = _Gaps(problem.table(price, log2))
            for times in _LEVEL_COSTS:
                dearer = _Beside(beside.plane, beside.level * times)
                tried.add(gaps.choose_levels(dearer, fewest))
    for levels in sorted(tried):
        lengths, _ = problem.solve(np.array(levels))
        if problem.cost(lengths, beside) < problem.cost(best, beside):
            best = lengths
    return best.astype(np.uint8)


class _Beside(NamedTuple):
    """What codes cost beside their own bits, in bits a stored weight."""

    plane: float
    level: float


class _Gaps:
    """What it costs to have no lengths between two, where each code has the best one that is left.

    Args:
        costs: `[MAX_LENGTH, c]`, what length i + 1 costs centroid j: convex in i.
    """

    def __init__(self, costs: Floats) -> None:
        # A convex cost is least next to its minimum: between two levels, at one of them.
        wanted = costs.argmin(axis=0)
        low, high = np.triu_indices(MAX_LENGTH, 1)
        between = (wanted >= low[:, None]) & (wanted < high[:, None])
        self._gaps = np.full((MAX_LENGTH, MAX_LENGTH), np.inf)
        self._gaps[low, high] = (np.minimum(costs[low], costs[high]) * between).sum(axis=1)
        places = np.arange(MAX_LENGTH)[:, None]
        self._below = (costs * (wanted < places)).sum(axis=1)
        self._above = (costs * (wanted >= places)).sum(axis=1)

    def choose_levels(self, beside: _Beside, fewest: int) -> tuple[int, ...]:
        """The levels that cost least together, ascending, the last at least `fewest`."""
        above = self._above + beside.plane * np.arange(1, MAX_LENGTH + 1)
        above[: fewest - 1] = np.inf
        # Up to each length, as the last one: the least cost, and the level before it.
        least, before = self._below.copy(), np.full(MAX_LENGTH, -1)
        for place in range(1, MAX_LENGTH):
            sums = least + self._gaps[:, place] + beside.level
            if sums.min() < least[place]:
                least[place], before[place] = sums.min(), sums.argmin()
        levels = [int((least + above).argmin())]
        while before[levels[-1]] >= 0:
            levels.append(int(before[levels[-1]]))
        return tuple(level + 1 for level in reversed(levels))


class _Price(NamedTuple):
    """What is paid for a share of a code: 2**log2_multiplier times its energy plus the ratio."""

    log2_multiplier: float
    ratio: float


class _Problem:
    """Least sum of counts * t, with sum of energies * 2**-t <= target and sum of 2**-t <= 1."""

    def __init__(self, counts: Floats, energies: Floats, target: float) -> None:
        self._counts = counts
        self._energies = energies
        self._target = target

    def cost(self, lengths: Floats, beside: _Beside) -> float:
        more = beside.plane * float(lengths.max()) + beside.level * np.unique(lengths).size
        return float(self._counts @ lengths) + more

    def table(self, price: _Price, log2_factor: float) -> Floats:
        """`[MAX_LENGTH, c]`: what each length costs each centroid, its share at a price included.

        The price is 2**log2_factor times the one given.
        """
        lengths = np.arange(1.0, MAX_LENGTH + 1)[:, None]
        paid = np.exp2(price.log2_multiplier + log2_factor - lengths)
        paid = (self._energies + price.ratio) * paid
        table: Floats = self._counts * lengths + paid
        return table

    def solve(self, levels: npt.NDArray[np.int64]) -> tuple[Floats, _Price]:
        """Lengths out of `levels`, ascending, of which the last is enough for both sums."""
        # A bit more for a code halves its share of each sum. With a multiplier for each sum it is
        # worth its count while counts < m * (energies + ratio) * 2**-(t + 1); likewise several
        # bits more, from one level to the next.
        steps = np.log2(np.diff(levels)) - np.log2(-np.diff(np.exp2(-levels.astype(np.float64))))
        with np.errstate(divide="ignore", invalid="ignore"):
            offsets = np.log2(self._energies + _RATIOS[:, None]) - np.log2(self._counts)
        offsets = np.where(np.isnan(offsets), np.inf, offsets)  # neither used nor of any energy

        def at(log2_multipliers: Floats) -> Floats:
            places = np.searchsorted(steps, log2_multipliers[:, None] + offsets)
            lengths: Floats = levels[places].astype(np.float64)
            return lengths

        low, high = np.full(_RATIOS.shape, -_MAX_LOG2), np.full(_RATIOS.shape, _MAX_LOG2)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            holds = self._allows(at(middle))
            low, high = np.where(holds, low, middle), np.where(holds, middle, high)
        found = at(high)
        found[~self._allows(found)] = levels[-1]
        best = int((found @ self._counts).argmin())
        return self._refine(found[best], levels), _Price(float(high[best]), float(_RATIOS[best]))

    def _allows(self, lengths: Floats) -> npt.NDArray[np.bool_]:
        shares = np.exp2(-lengths)
        energy_holds = shares @ self._energies <= self._target
        return np.asarray(energy_holds & (shares.sum(axis=-1) <= 1))

    def _energy(self, lengths: Floats) -> float:
        return float(self._energies @ 2.0**-lengths)

    def _refine(self, lengths: Floats, levels: npt.NDArray[np.int64]) -> Floats:
        """Takes bits away, and moves them between two centroids, while both sums allow it."""
        sizes = levels.astype(np.float64)
        places = np.searchsorted(sizes, lengths)
        for _ in range(4 * lengths.size):
            lengths = sizes[places]
            shares = 2.0**-lengths
            energy_left = self._target - self._energy(lengths)
            kraft_left = 1 + _TOLERANCE - float(shares.sum())
            # To the level below: bits less, and what the share grows by.
            fewer = lengths - sizes[np.maximum(places - 1, 0)]
            grown = 2.0 ** (fewer - lengths) - shares
            shorter = (places > 0) & (self._energies * grown <= energy_left) & (grown <= kraft_left)
            gain = np.where(shorter, self._counts * fewer, 0.0)
            best = int(gain.argmax())
            if gain[best] > 0:
                places[best] -= 1
                continue
            if lengths.size**2 > _MAX_PAIRS:
                break
            # Axes: how many levels more, who gets them, and who goes to the level below.
            above = places + _STEPS[:, None]
            longer = sizes[np.minimum(above, sizes.size - 1)]
            saved = (shares - 2.0**-longer)[:, :, None]
            energies = self._energies[:, None] * saved
            allowed = self._energies * grown - energies <= energy_left
            allowed &= grown - saved <= kraft_left
            allowed &= (places > 0) & (above < sizes.size)[:, :, None]
            gains = self._counts * fewer - (self._counts * (longer - lengths))[:, :, None]
            gains = np.where(allowed & ~np.eye(lengths.size, dtype=bool), gains, 0.0)
            step, more, less = np.unravel_index(int(gains.argmax()), gains.shape)
            if gains[step, more, less] <= 1e-15:
                break
            places[less] -= 1
            places[more] += _STEPS[step]
        result: Floats = sizes[places]
        return result
