"""Products of matrices."""

from __future__ import annotations

import torch

from wl_onnx.finetune.registry import operator

__all__: list[str] = []


@operator("MatMul", since=(1, 9, 13))
def _matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.matmul(a, b)


@operator("Gemm", since=(7, 9, 11, 13))
def _gemm(
    a: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803  the specification's name
    transB: int = 0,  # noqa: N803
) -> torch.Tensor:
    product = torch.matmul(a.t() if transA else a, b.t() if transB else b)
    if alpha != 1:
        product = product * alpha
    if c is None:
        return product.to(a.dtype)
    return (product + (c if beta == 1 else c * beta)).to(a.dtype)


@operator("Einsum", since=(12, 28))
def _einsum(*operands: torch.Tensor, equation: str) -> torch.Tensor:
    return torch.einsum(equation, *operands)


@operator("Det", since=(11, 22))
def _determinant(x: torch.Tensor) -> torch.Tensor:
    determinant: torch.Tensor = torch.linalg.det(x)
    return determinant
