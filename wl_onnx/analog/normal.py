"""The normal distribution in NumPy: density, distribution, and nodes of quadrature."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "normal_cdf", "normal_density", "normal_nodes"]

Array = npt.NDArray[np.float64]

_ERFC = np.frompyfunc(math.erfc, 1, 1)


def normal_cdf(z: npt.ArrayLike) -> Array:
    """P(Z <= z) of a standard normal Z, to the accuracy of `math.erfc`; float64, z's shape."""
    scaled = np.asarray(z, np.float64) * -math.sqrt(0.5)
    return np.asarray(0.5 * np.asarray(_ERFC(scaled), np.float64))


def normal_density(z: npt.ArrayLike) -> Array:
    """Density of a standard normal at z; float64, z's shape."""
    values: Any = np.exp(-0.5 * np.square(np.asarray(z, np.float64)))
    return np.asarray(values / math.sqrt(2 * math.pi))


def normal_nodes(count: int, limit: float = 8.0) -> tuple[Array, Array]:
    """Nodes and weights of the trapezoid rule for an expectation over a standard normal.

    Exact to rounding for functions that are smooth on the scale of the step; a kink costs an
    error of the order of the step's square.

    Args:
        count: number of nodes, at least 2.
        limit: nodes lie evenly in -limit..limit.

    Returns:
        Nodes and weights, float64 [count]; the weights sum to 1.
    """
    nodes = np.linspace(-limit, limit, count)
    weights = normal_density(nodes)
    return nodes, weights / weights.sum()
