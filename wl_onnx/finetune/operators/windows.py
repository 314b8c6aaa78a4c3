"""Where the windows of convolutions and pools lie: explicit and automatic padding."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["ones", "pad_argument", "resolve_pads", "split_total"]


def resolve_pads(
    auto_pad: str,
    pads: Sequence[int] | None,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[list[int], list[int]]:
    """Elements to put before and behind each spatial axis.

    Args:
        auto_pad: NOTSET, VALID, SAME_UPPER or SAME_LOWER.
        pads: for NOTSET: all that go before, then all that go behind; none by default.
        sizes: spatial sizes of the input.
        kernel: sizes of the window.
        strides: steps of the window.
        dilations: distances within the window.
    """
    rank = len(kernel)
    if auto_pad in ("NOTSET", ""):
        found = list(pads) if pads else [0] * (2 * rank)
        return found[:rank], found[rank:]
    if auto_pad == "VALID":
        return [0] * rank, [0] * rank
    before, behind = [], []
    for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        count = -(-size // stride)
        total = max((count - 1) * stride + dilation * (width - 1) + 1 - size, 0)
        first, last = split_total(total, upper=auto_pad == "SAME_UPPER")
        before.append(first)
        behind.append(last)
    return before, behind


def split_total(total: int, *, upper: bool) -> tuple[int, int]:
    """A sum of padding in two; what is odd goes behind where `upper`, else before."""
    half = total // 2
    return (half, total - half) if upper else (total - half, half)


def ones(values: Sequence[int] | None, rank: int) -> list[int]:
    """Strides or dilations, 1 by default."""
    return list(values) if values else [1] * rank


def pad_argument(before: Sequence[int], behind: Sequence[int]) -> list[int]:
    """The same for `torch.nn.functional.pad`, which begins at the last axis."""
    pairs = list(zip(before, behind, strict=True))
    return [size for pair in reversed(pairs) for size in pair]
