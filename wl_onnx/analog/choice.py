"""Which mapping of a tensor loses least: where it is cut, how many ranges it has, and its curve."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wl_onnx.analog.curve import CURVES
from wl_onnx.analog.mapping import Mapping

if TYPE_CHECKING:
    from wl_onnx.analog.profile import Profile
    from wl_onnx.analog.read_error import ReadError
    from wl_onnx.analog.storage import MappingKind

__all__ = ["Choice", "choose_adaptive", "choose_mapping", "choose_priced"]

Float64 = npt.NDArray[np.float64]
ErrorOf = Callable[[float], "ReadError"]

# Shares of the stored weights that the last edge lies above.
_CUTS = (0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
# Where the edge between two ranges may lie, as a share of the last.
_SPLITS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6)
# How many ranges are tried where their digital bits have a price.
_PRICED_RANGES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 127)
# So many numbers of ranges, one after another, that are no better than one before end the search.
_PATIENCE = 3
# Weights that are cut err all to one side: what that costs above as much noise is not known; errors
# of one layer's inputs that are all positive add up.
_CUT_PENALTY = 2.0
# Digital bits of a symbol: low, high and curve of 16 bits, cells of 8.
_SYMBOL_BITS = 56
# Least width of a range, as a share of the last edge: none is divided by 0.
_LEAST = 1e-30


@dataclasses.dataclass(frozen=True)
class Choice:
    """A mapping, and what it costs.

    Attributes:
        mapping: the mapping.
        loss: sum over the weights of cost times mean squared error, one cell a weight.
        label_bits: entropy of the symbols, and the bits of their table.
    """

    mapping: Mapping
    loss: float
    label_bits: float


def choose_mapping(profile: Profile, kind: MappingKind, error_of: ErrorOf) -> Choice:
    """One range to the largest magnitude, straight: what there is without adaptive mapping.

    Args:
        profile: the stored weights.
        kind: how signs are kept.
        error_of: the error of a read, by curve.
    """
    return _weigh(profile, Mapping(kind, (0.0, profile.largest)), error_of)


def choose_adaptive(
    profile: Profile, kind: MappingKind, num_ranges: int, error_of: ErrorOf
) -> Choice:
    """The mapping of least loss with so many ranges; their digital bits are free.

    Args:
        profile: the stored weights.
        kind: how signs are kept.
        num_ranges: most ranges, at least 1; of two the edge between them is free, more are of one
            width.
        error_of: the error of a read, by curve.
    """
    candidates = [
        Mapping(kind, edges, curve)
        for last in sorted({profile.quantile(cut) for cut in _CUTS})
        for edges in _list_edges(_first_edge(profile, kind), last, num_ranges)
        for curve in CURVES
    ]
    plain = choose_mapping(profile, kind, error_of)
    adapted = _least(profile, candidates, error_of, lambda choice: choice.loss)
    return min(plain, adapted, key=lambda choice: choice.loss)


def choose_priced(
    profile: Profile,
    kind: MappingKind,
    error_of: ErrorOf,
    *,
    price_of_bit: float,
) -> Choice:
    """The mapping of least loss plus price of its digital bits, of any number of ranges.

    Args:
        profile: the stored weights.
        kind: how signs are kept.
        error_of: the error of a read, by curve.
        price_of_bit: the loss that a digital bit may cost.
    """

    def price(choice: Choice) -> float:
        return choice.loss + price_of_bit * choice.label_bits

    low = _first_edge(profile, kind)
    found: list[Choice] = []
    for last in sorted({profile.quantile(cut) for cut in (0.995, 1.0)}):
        first, best, worse = min(low, last), math.inf, 0
        for num_ranges in _PRICED_RANGES if first < last else (1,):
            edges = tuple(np.linspace(first, last, num_ranges + 1))
            some = (Mapping(kind, edges, curve) for curve in CURVES)
            found.append(_least(profile, some, error_of, price))
            worse = 0 if price(found[-1]) < best else worse + 1
            best = min(best, price(found[-1]))
            if worse >= _PATIENCE:
                break
    return min(found, key=price)


def _least(
    profile: Profile,
    candidates: Iterable[Mapping],
    error_of: ErrorOf,
    key: Callable[[Choice], float],
) -> Choice:
    return min((_weigh(profile, one, error_of) for one in candidates), key=key)


def _first_edge(profile: Profile, kind: MappingKind) -> float:
    """Where the first range begins: below the smallest stored magnitude, of a signed range at 0."""
    return profile.smallest if kind == "magnitude" and profile.num_zeros else 0.0


def _list_edges(first: float, last: float, num_ranges: int) -> Sequence[tuple[float, ...]]:
    if num_ranges != 2:
        return [tuple(np.linspace(min(first, last), last, num_ranges + 1))]
    return [(first, first + split * (last - first), last) for split in _SPLITS]


def _weigh(profile: Profile, mapping: Mapping, error_of: ErrorOf) -> Choice:
    """What a mapping costs."""
    edges = np.array(mapping.edges)
    centers = profile.centers
    ranges = np.clip(np.searchsorted(edges, centers, "right") - 1, 0, mapping.num_ranges - 1)
    error = error_of(mapping.curve)
    beyond = np.maximum(centers - edges[-1], 0.0)
    if mapping.kind == "magnitude":
        widths = np.maximum(np.diff(edges), _LEAST * edges[-1])
        positions = np.clip((centers - edges[ranges]) / widths[ranges], 0.0, 1.0)
        energy = error.energy(positions) * widths[ranges] ** 2
    else:
        tops = np.maximum(edges[1:], _LEAST * edges[-1])
        shares = np.clip(centers / tops[ranges], 0.0, 1.0)
        if mapping.kind == "pair":
            energy = error.pair_energy(shares) * tops[ranges] ** 2
        else:
            both = (error.energy((1 + shares) / 2) + error.energy((1 - shares) / 2)) / 2
            energy = both * (2 * tops[ranges]) ** 2
    loss = float((profile.costs * (energy + (1 + _CUT_PENALTY) * beyond**2)).sum())
    signs = mapping.kind == "magnitude"
    symbols = mapping.num_ranges * (2 if signs else 1) + (profile.num_zeros > 0)
    label_bits = profile.measure_labels(ranges, with_signs=signs) + _SYMBOL_BITS * symbols
    return Choice(mapping, loss, label_bits)
