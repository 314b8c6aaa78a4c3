"""How places in a range are laid on the targets of cells: evenly, or bent by one number.

Noise grows with the conductance, and small weights are frequent: bent ranges give up some of the
one for the other. Where the deviation of a read is a + b x, the least mean squared error of evenly
spread weights is reached by x = (exp(beta u) - 1) / (exp(beta) - 1) with beta = ln(1 + b / a): the
slope du/dx is then inverse to the deviation, as in companding for signal-dependent noise.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["CURVES", "MAX_CURVE", "apply_curve", "invert_curve"]

Float64 = npt.NDArray[np.float64]

MAX_CURVE = 8.0
"""Largest magnitude of a curve."""

CURVES = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
"""Curves that are worth trying for the devices of the presets."""

# Below, a curve is straight to float32's precision.
_STRAIGHT = 1e-4


def apply_curve(positions: npt.ArrayLike, curve: float) -> Float64:
    """Targets x of positions u in 0..1.

    Args:
        positions: shares of a range.
        curve: beta; 0 is straight, above 0 more of the cell is given to the upper end.
    """
    u = np.asarray(positions, np.float64)
    if abs(curve) < _STRAIGHT:
        return u
    bent: Float64 = np.expm1(curve * u) / np.expm1(curve)
    return bent


def invert_curve(targets: npt.ArrayLike, curve: float) -> Float64:
    """Positions u of targets x; outside of 0..1 straight on with the slope at the end.

    Args:
        targets: shares of the range of a cell, as reads give them.
        curve: beta, as of `apply_curve`.
    """
    x = np.asarray(targets, np.float64)
    if abs(curve) < _STRAIGHT:
        return x
    whole = np.expm1(curve)
    inner = np.log1p(np.clip(x, 0.0, 1.0) * whole) / curve
    below, above = np.minimum(x, 0.0), np.maximum(x - 1.0, 0.0)
    extended: Float64 = inner + (below + above * np.exp(-curve)) * (whole / curve)
    return extended
