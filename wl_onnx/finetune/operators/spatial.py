"""Sampling at places that the graph computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from wl_onnx.finetune.operators.arguments import Integers, to_integers
from wl_onnx.finetune.registry import operator

if TYPE_CHECKING:
    import torch

__all__: list[str] = []

_MODES = {"linear": "bilinear", "cubic": "bicubic"}


@operator("GridSample", since=(16, 20, 22))
def _sample_grid(
    x: torch.Tensor,
    grid: torch.Tensor,
    *,
    align_corners: int = 0,
    mode: str = "linear",
    padding_mode: str = "zeros",
) -> torch.Tensor:
    """Opset 20 renamed bilinear and bicubic."""
    return functional.grid_sample(
        x,
        grid,
        mode=_MODES.get(mode, mode),
        padding_mode=padding_mode,
        align_corners=bool(align_corners),
    )


@operator("AffineGrid", since=(20,), host=(1,))
def _affine_grid(theta: torch.Tensor, size: Integers, *, align_corners: int = 0) -> torch.Tensor:
    return functional.affine_grid(theta, to_integers(size), bool(align_corners))
