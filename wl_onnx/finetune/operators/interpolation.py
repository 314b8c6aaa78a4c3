"""Which elements a resized axis is made of, and with which weights."""

from __future__ import annotations

import dataclasses
import math

import torch

__all__ = ["Sampling", "find_taps", "locate"]


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How values between elements are formed.

    Attributes:
        mode: nearest, linear or cubic.
        transformation: the specification's coordinate_transformation_mode.
        nearest: its nearest_mode, or by_direction: floor on axes that grow, ceil on others.
        cubic_coefficient: its cubic_coeff_a.
        exclude_outside: whether what is outside has no weight, rather than the edge's value.
        antialias: whether weights are stretched over all that a smaller axis takes in.
    """

    mode: str
    transformation: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic_coefficient: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False


def locate(
    transformation: str, size: int, length: int, factor: float, span: tuple[float, float]
) -> torch.Tensor:
    """Where the elements of the resized axis lie on the original one.

    Args:
        transformation: the specification's coordinate_transformation_mode.
        size: elements of the original axis.
        length: elements of the resized axis.
        factor: the scale.
        span: begin and end of the region of interest in 0..1, for tf_crop_and_resize.

    Returns:
        float32 `[length]`, in elements of the original axis; float32 because what lies halfway is
        rounded as onnxruntime does.
    """
    x = torch.arange(length, dtype=torch.float32)
    scale = torch.tensor(factor, dtype=torch.float32)
    if transformation == "align_corners":
        return x * (size - 1) / (length - 1) if length > 1 else x * 0
    if transformation == "asymmetric":
        return x / scale
    if transformation == "tf_half_pixel_for_nn":
        return (x + 0.5) / scale
    if transformation == "tf_crop_and_resize":
        first, last = span
        if length == 1:
            return x + 0.5 * (first + last) * (size - 1)
        return first * (size - 1) + x * (last - first) * (size - 1) / (length - 1)
    if transformation == "pytorch_half_pixel" and length == 1:
        return x * 0
    centred = (x + 0.5) / scale - 0.5
    if transformation == "half_pixel_symmetric":
        return centred + size / 2 * (1 - length / (factor * size))
    return centred


def find_taps(
    coordinates: torch.Tensor, size: int, factor: float, sampling: Sampling
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The elements that each place is a sum of.

    Args:
        coordinates: float32 `[length]`, places on the original axis.
        size: elements of the original axis.
        factor: the scale, for antialiasing.
        sampling: how values are formed.

    Returns:
        int64 `[length, taps]`, each in 0..size-1; and their weights, float32 of that shape, or
        None where the only one has all.
    """
    if sampling.mode == "nearest":
        direction = "ceil" if factor < 1 else "floor"
        mode = direction if sampling.nearest == "by_direction" else sampling.nearest
        nearest = _round(coordinates, mode).clamp(0, size - 1)
        return nearest.to(torch.int64).unsqueeze(1), None
    # An axis that grows has nothing to be smoothed.
    scale = min(factor, 1.0) if sampling.antialias else 1.0
    reach = (1 if sampling.mode == "linear" else 2) / scale
    first = math.floor(-reach) + 1
    offsets = torch.arange(first, math.ceil(reach) + 1)
    below = coordinates.floor()
    places = below.to(torch.int64).unsqueeze(1) + offsets
    distances = (offsets - (coordinates - below).unsqueeze(1)).abs() * scale
    if sampling.mode == "linear":
        weights = (1 - distances).clamp(min=0)
    else:
        weights = _weigh_cubic(distances, sampling.cubic_coefficient)
    if sampling.exclude_outside:
        weights = weights * ((places >= 0) & (places < size))
    if sampling.exclude_outside or sampling.antialias:
        weights = weights / weights.sum(1, keepdim=True)
    return places.clamp(0, size - 1), weights


def _round(x: torch.Tensor, mode: str) -> torch.Tensor:
    if mode == "round_prefer_floor":
        return (x - 0.5).ceil()
    if mode == "round_prefer_ceil":
        return (x + 0.5).floor()
    return x.floor() if mode == "floor" else x.ceil()


def _weigh_cubic(distance: torch.Tensor, a: float) -> torch.Tensor:
    """R. Keys, "Cubic convolution interpolation for digital image processing", 1981, eq. 4."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    zero = torch.zeros_like(distance)
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, zero))
