"""Weights as symbols and places in their ranges: what is digital of a weight, and what analog.

A symbol is a range of weights; a weight is its symbol, kept digitally, and its place in that range,
kept as the target of a cell. Sign protection, ranges of their own for small magnitudes and exact
zeros all are symbols.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from wl_onnx.analog.storage import MappingKind

__all__ = ["MappedWeights", "Mapping", "map_weights", "unmap_weights"]

Float64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Mapping:
    """How the weights of a tensor are laid on cells.

    Attributes:
        kind: "magnitude": the sign is part of the symbol, and ranges lie side by side between
            neighbouring edges. "offset" and "pair": ranges lie about zero, one within the other,
            from -edge to edge; the first edge is 0.
        edges: ascending magnitudes, one more than there are ranges; those beyond the last are cut.
        curve: see `apply_curve`.
    """

    kind: MappingKind
    edges: tuple[float, ...]
    curve: float = 0.0

    @property
    def num_ranges(self) -> int:
        """Number of ranges, of a magnitude."""
        return len(self.edges) - 1

    def round_edges(self) -> tuple[float, npt.NDArray[np.float16]]:
        """The scale of the tensor, a float32 above 0, and the edges over it, as they are stored."""
        scale = float(np.float32(self.edges[-1])) or 1.0
        return scale, (np.array(self.edges) / scale).astype(np.float16)


@dataclasses.dataclass(frozen=True)
class MappedWeights:
    """Weights as symbols and positions: weight = scale (low + (high - low) position).

    Attributes:
        scale: float32 as a number, above 0.
        low, high: of each symbol, float16 [num_symbols].
        is_stored: whether a symbol's weights have cells, bool [num_symbols].
        labels: the symbol of each weight, uint8 [num_weights].
        positions: of each weight that is stored, in order, float64 in 0..1, of a pair in -1..1.
        kind: as of the mapping.
    """

    scale: float
    low: npt.NDArray[np.float16]
    high: npt.NDArray[np.float16]
    is_stored: Mask
    labels: npt.NDArray[np.uint8]
    positions: Float64
    kind: MappingKind


def map_weights(weights: Float64, kept: Mask, mapping: Mapping) -> MappedWeights:
    """Lays weights on symbols and positions.

    Args:
        weights: float64 [n].
        kept: which of them are stored; the others are exact zeros, bool [n].
        mapping: how.
    """
    scale, edges = mapping.round_edges()
    has_zeros = not kept.all()
    magnitudes = np.abs(weights) / scale
    exact = edges.astype(np.float64)
    ranges = np.clip(np.searchsorted(exact, magnitudes, "right") - 1, 0, mapping.num_ranges - 1)
    if mapping.kind == "magnitude":
        low, high = (
            np.concatenate([edges[:-1], -edges[:-1]]),
            np.concatenate([edges[1:], -edges[1:]]),
        )
        symbols = ranges + mapping.num_ranges * (weights < 0)
    else:
        high = edges[1:]
        low = -high if mapping.kind == "offset" else np.zeros_like(high)
        symbols = ranges
    wide = high.astype(np.float64) - low.astype(np.float64)
    wide[wide == 0] = 1.0  # neighbouring edges that float16 cannot tell apart
    positions = (weights / scale - low.astype(np.float64)[symbols]) / wide[symbols]
    lowest = -1.0 if mapping.kind == "pair" else 0.0
    is_stored = np.ones(len(low), bool)
    if has_zeros:
        zero = np.zeros(1, np.float16)
        low, high = np.concatenate([zero, low]), np.concatenate([zero, high])
        is_stored = np.concatenate([[False], is_stored])
        symbols = np.where(kept, symbols + 1, 0)
    return MappedWeights(
        scale,
        low,
        high,
        is_stored,
        symbols.astype(np.uint8),
        np.clip(positions[kept], lowest, 1.0),
        mapping.kind,
    )


def unmap_weights(mapped: MappedWeights, positions: Float64) -> Float64:
    """The weights of positions as they are read, float64 [n].

    Args:
        mapped: the weights as they were laid out.
        positions: of each weight that is stored, in order.
    """
    low, high = mapped.low.astype(np.float64), mapped.high.astype(np.float64)
    weights = low[mapped.labels]
    stored = mapped.is_stored[mapped.labels]
    weights[stored] += (high - low)[mapped.labels[stored]] * positions
    result: Float64 = mapped.scale * weights
    return result
