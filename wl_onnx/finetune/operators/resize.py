"""Resizing by interpolation along each axis, as sums of elements with weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from wl_onnx.finetune.operators.arguments import (
    Integers,
    Numbers,
    to_axes,
    to_integers,
    to_numbers,
)
from wl_onnx.finetune.operators.interpolation import Sampling, find_taps, locate
from wl_onnx.finetune.registry import operator

__all__: list[str] = []


def _check_mode(attributes: Mapping[str, Any]) -> str | None:
    mode = attributes.get("mode", "nearest")
    if mode not in ("nearest", "linear", "cubic"):
        return f"its mode must be nearest, linear or cubic, got {mode}"
    return None


@operator("Upsample", since=(7, 9, 10), host=(1,), check=_check_mode)
@operator("Resize", since=(10,), host=(1,), check=_check_mode)
def _resize_by_scales(x: torch.Tensor, scales: Numbers, *, mode: str = "nearest") -> torch.Tensor:
    """Before opset 11: coordinates divided by the scale.

    Which element is nearest was left open; as in onnxruntime it is that at or below, and on axes
    that shrink that at or above.
    """
    sampling = Sampling(mode, transformation="asymmetric", nearest="by_direction")
    factors = to_numbers(scales)
    lengths = [math.floor(n * f) for n, f in zip(x.shape, factors, strict=True)]
    return _resample(x, list(range(x.dim())), factors, lengths, [], sampling)


@operator("Resize", since=(11, 13, 18, 19), host=(1, 2, 3), check=_check_mode)
def _resize(
    x: torch.Tensor,
    roi: Numbers | None = None,
    scales: Numbers | None = None,
    sizes: Integers | None = None,
    *,
    antialias: int = 0,
    axes: Sequence[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> torch.Tensor:
    chosen = to_axes(range(x.dim()) if axes is None else axes, x.dim())
    originals = [x.shape[axis] for axis in chosen]
    factors = [] if scales is None else to_numbers(scales)
    if factors:
        lengths = [math.floor(n * f) for n, f in zip(originals, factors, strict=True)]
    elif sizes is not None:
        lengths = to_integers(sizes)
        factors = [size / n for size, n in zip(lengths, originals, strict=True)]
        if keep_aspect_ratio_policy != "stretch":
            factor = (min if keep_aspect_ratio_policy == "not_larger" else max)(factors)
            factors = [factor] * len(factors)
            lengths = [math.floor(factor * n + 0.5) for n in originals]
    else:
        raise RuntimeError("cannot resize: scales or sizes must be given, got neither")
    sampling = Sampling(
        mode,
        transformation=coordinate_transformation_mode,
        nearest=nearest_mode,
        cubic_coefficient=cubic_coeff_a,
        exclude_outside=bool(exclude_outside),
        antialias=bool(antialias),
    )
    region = [] if roi is None else to_numbers(roi)
    return _resample(x, chosen, factors, lengths, region, sampling, extrapolation_value)


def _resample(
    x: torch.Tensor,
    axes: Sequence[int],
    factors: Sequence[float],
    lengths: Sequence[int],
    region: Sequence[float],
    sampling: Sampling,
    extrapolation_value: float = 0.0,
) -> torch.Tensor:
    dtype = x.dtype
    is_crop = sampling.transformation == "tf_crop_and_resize"
    outside: list[tuple[int, torch.Tensor]] = []
    for index, (axis, factor, length) in enumerate(zip(axes, factors, lengths, strict=True)):
        size = x.shape[axis]
        if length == size and factor == 1 and not is_crop:
            continue
        span = (region[index], region[index + len(axes)]) if region else (0.0, 1.0)
        coordinates = locate(sampling.transformation, size, length, factor, span)
        if is_crop:
            outside.append((axis, (coordinates < 0) | (coordinates > size - 1)))
        places, weights = find_taps(coordinates, size, factor, sampling)
        x = _sum_taps(x, axis, places, weights)
    shape = [1] * x.dim()
    for axis, missing in outside:
        shape[axis] = -1
        x = x.masked_fill(missing.reshape(shape).to(x.device), extrapolation_value)
        shape[axis] = 1
    return x.to(dtype)


def _sum_taps(
    x: torch.Tensor, axis: int, places: torch.Tensor, weights: torch.Tensor | None
) -> torch.Tensor:
    places = places.to(x.device)
    if weights is None:
        return x.index_select(axis, places[:, 0])
    shape = [1] * x.dim()
    shape[axis] = -1
    if not x.is_floating_point():
        x = x.to(torch.float32)
    total: torch.Tensor | None = None
    for tap in range(places.shape[1]):
        weight = weights[:, tap].to(x).reshape(shape)
        term = x.index_select(axis, places[:, tap]) * weight
        total = term if total is None else total + term
    return x if total is None else total
