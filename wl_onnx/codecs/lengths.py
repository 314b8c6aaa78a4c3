"""How many bits the code of each centroid gets in a filter of the layout "prefix".

A stored weight of centroid j costs t_j bits, and a zero turns into centroid j with probability
2**-t_j. For a given energy of those false positives the bits are least where 2**-t_j is
proportional to n_j / c_j**2, by Lagrange's multiplier; against one common length that saves
KL(usage || energy share) bits a stored weight. Whole lengths lose a few hundredths of a bit of it.
Source: the multiplier's argument is that of Shannon codes (Cover and Thomas, "Elements of
information theory", 2nd edition, section 5.3), with energies for costs and an incomplete code.
"""

from __future__ import annotations

import math

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
_STEPS = np.arange(1.0, 6.0)
# How many of the longest planes are tried to be left out, for what a plane costs by itself.
_PLANES_LEFT_OUT = 5

# Sums of powers of 2 may be off by the rounding of their terms.
_TOLERANCE = 1e-9

Lengths = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


def choose_lengths(
    usage: npt.ArrayLike, codebook: npt.ArrayLike, bits: float, *, plane_bits: float = 0.0
) -> Lengths:
    """The shortest codes at the error energy of one common length.

    Args:
        usage: numbers [c], how many stored weights each centroid stands for; at least 0.
        codebook: floats [c], the centroids, finite.
        bits: the common length whose energy of false positives is not to be exceeded, 0 to 16,
            fractions allowed: sum of 2**-t_j c_j**2 <= 2**-bits times the sum of c_j**2.
        plane_bits: what each bit of the longest code costs beside the codes.

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
    counts = counts / max(1.0, float(counts.sum()))
    plane_cost = plane_bits / max(1.0, float(np.asarray(usage, np.float64).sum()))
    energies = energies / (float(energies.sum()) or 1.0)
    problem = _Problem(counts, energies, 2.0**-bits * (1 + _TOLERANCE))
    best = problem.solve(MAX_LENGTH)
    longest = int(best.max())
    fewest = max(1, (counts.size - 1).bit_length(), math.ceil(bits))
    for cap in range(longest - 1, max(longest - 1 - _PLANES_LEFT_OUT, fewest - 1), -1):
        if plane_cost <= 0:
            break
        lengths = problem.solve(cap)
        if problem.cost(lengths, plane_cost) < problem.cost(best, plane_cost):
            best = lengths
    return best.astype(np.uint8)


class _Problem:
    """Least sum of counts * t, with sum of energies * 2**-t <= target and sum of 2**-t <= 1."""

    def __init__(self, counts: Floats, energies: Floats, target: float) -> None:
        self._counts = counts
        self._energies = energies
        self._target = target

    def cost(self, lengths: Floats, plane_cost: float) -> float:
        return float(self._counts @ lengths) + plane_cost * float(lengths.max())

    def solve(self, cap: int) -> Floats:
        """Lengths of at most `cap` bits, which must be enough for both sums."""
        # A bit more for a code halves its share of each sum. With a multiplier for each sum it is
        # worth its count while counts < m * (energies + ratio) * 2**-(t + 1).
        with np.errstate(divide="ignore", invalid="ignore"):
            offsets = np.log2(self._energies + _RATIOS[:, None]) - np.log2(self._counts)
        offsets = np.where(np.isnan(offsets), np.inf, offsets)  # neither used nor of any energy

        def at(log2_multipliers: Floats) -> Floats:
            lengths: Floats = np.clip(np.ceil(log2_multipliers[:, None] + offsets) - 1, 1, cap)
            return lengths

        low, high = np.full(_RATIOS.shape, -_MAX_LOG2), np.full(_RATIOS.shape, _MAX_LOG2)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            holds = self._allows(at(middle))
            low, high = np.where(holds, low, middle), np.where(holds, middle, high)
        found = at(high)
        found[~self._allows(found)] = cap
        shortest: Floats = found[int((found @ self._counts).argmin())]
        return self._refine(shortest, cap)

    def _allows(self, lengths: Floats) -> npt.NDArray[np.bool_]:
        shares = np.exp2(-lengths)
        energy_holds = shares @ self._energies <= self._target
        return np.asarray(energy_holds & (shares.sum(axis=-1) <= 1))

    def _energy(self, lengths: Floats) -> float:
        return float(self._energies @ 2.0**-lengths)

    def _refine(self, lengths: Floats, cap: int) -> Floats:
        """Takes bits away, and moves them between two centroids, while both sums allow it."""
        lengths = lengths.copy()
        for _ in range(4 * lengths.size):
            shares = 2.0**-lengths
            energy_left = self._target - self._energy(lengths)
            kraft_left = 1 + _TOLERANCE - float(shares.sum())
            shorter = (
                (lengths > 1) & (self._energies * shares <= energy_left) & (shares <= kraft_left)
            )
            gain = np.where(shorter, self._counts, 0.0)
            best = int(gain.argmax())
            if gain[best] > 0:
                lengths[best] -= 1
                continue
            if lengths.size**2 > _MAX_PAIRS:
                break
            # Axes: how many bits more, who gets them, and who gets one bit less.
            energies = self._energies * shares
            saved = (1 - 2.0**-_STEPS)[:, None, None]
            allowed = energies - saved * energies[:, None] <= energy_left
            allowed &= shares - saved * shares[:, None] <= kraft_left
            allowed &= (lengths > 1) & (lengths + _STEPS[:, None] <= cap)[:, :, None]
            gains = self._counts - _STEPS[:, None, None] * self._counts[:, None]
            gains = np.where(allowed, gains, 0.0)
            step, more, less = np.unravel_index(int(gains.argmax()), gains.shape)
            if gains[step, more, less] <= 1e-15:
                break
            lengths[less] -= 1
            lengths[more] += _STEPS[step]
        return lengths
