"""Random changes of images under which their classes stay the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from wl_onnx.errors import InputError

if TYPE_CHECKING:
    from torch import Generator, Tensor

__all__ = ["AUGMENTATIONS", "AugmentFn", "find_augmentation"]

AugmentFn: TypeAlias = "Callable[[tuple[Tensor, ...], Generator], tuple[Tensor, ...]]"
"""Takes a batch of each input and a generator, gives them changed; shapes and dtypes stay."""

_MAX_ROTATION_RAD = math.radians(10)
_MAX_SCALE_LOG = 0.1
_MAX_SHIFT = 1 / 14  # of half the image: two pixels of 28
_PIXELS = 4


def _warp(images: Tensor, generator: Generator) -> Tensor:
    """Each image rotated by up to 10 degrees, scaled by up to 10 %, shifted by up to 1/14."""
    import torch
    from torch.nn import functional

    def draw(bound: float, *shape: int) -> Tensor:
        values = torch.empty(len(images), *shape, device=images.device)
        return values.uniform_(-bound, bound, generator=generator)

    angle, scale = draw(_MAX_ROTATION_RAD), draw(_MAX_SCALE_LOG).exp()
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    rows = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
    maps = torch.cat([rows, draw(2 * _MAX_SHIFT, 2, 1)], 2)
    grid = functional.affine_grid(maps, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def _mirror_and_shift(images: Tensor, generator: Generator) -> Tensor:
    """Half of the images mirrored, each shifted by up to four pixels, zeros moving in."""
    import torch
    from torch.nn import functional

    count, channels, height, width = images.shape
    device = images.device
    padded = functional.pad(images, (_PIXELS,) * 4)
    offsets = torch.randint(0, 2 * _PIXELS + 1, (2, count, 1), generator=generator, device=device)
    columns = torch.arange(width, device=device).expand(count, -1)
    is_mirrored = torch.rand(count, 1, generator=generator, device=device) < 0.5
    columns = torch.where(is_mirrored, width - 1 - columns, columns) + offsets[0]
    rows = torch.arange(height, device=device) + offsets[1]
    return padded[
        torch.arange(count, device=device)[:, None, None, None],
        torch.arange(channels, device=device)[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "affine": _warp,
    "mirror": _mirror_and_shift,
}

AUGMENTATIONS = ("none", *_FUNCTIONS)
"""None; small rotations, scalings and shifts, for drawings; mirroring and shifts, for photos."""


def find_augmentation(name: str) -> AugmentFn | None:
    """An augmentation of images `[n, channels, height, width]`; other inputs stay as they are.

    Args:
        name: one of `AUGMENTATIONS`.

    Raises:
        InputError: no such augmentation.
    """
    if name == "none":
        return None
    if name not in _FUNCTIONS:
        raise InputError(
            f"cannot fine-tune: augment must be {', '.join(AUGMENTATIONS)}, got {name!r}"
        )
    change = _FUNCTIONS[name]

    def augment(inputs: tuple[Tensor, ...], generator: Generator) -> tuple[Tensor, ...]:
        return tuple(
            change(one, generator) if one.ndim == 4 and one.is_floating_point() else one
            for one in inputs
        )

    return augment
