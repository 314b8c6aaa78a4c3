"""The options of portable files."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

import typer

from wl_onnx.cli.options import take_flags
from wl_onnx.errors import InputError

__all__ = ["FoldingBudget", "Inline", "parse_size", "takes_portable"]

_UNITS = {
    "": 1, "B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3,
    "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
}  # fmt: skip

Portable = Annotated[
    bool,
    typer.Option(
        "--portable", help="Decode with standard operators: runs in any onnxruntime, no library."
    ),
]
Inline = Annotated[
    bool,
    typer.Option("--inline", help="Of portable files: no functions, all nodes in the graph."),
]
FoldingBudget = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Of portable files: most bytes that a session takes to fold them. Default: 2GiB.",
    ),
]


def takes_portable(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the flags of portable files, and calls it with keywords of `compress`.

    Args:
        command: takes a keyword argument `portability`, and parameters of its own.
    """
    return take_flags(command, "portability", _portable_flags, lambda **given: _make(**given))


def _portable_flags(
    portable: Portable = False, inline: Inline = False, folding_budget: FoldingBudget = None
) -> None:
    """Only its signature is used."""


def _make(*, portable: bool, inline: bool, folding_budget: str | None) -> dict[str, Any]:
    budget = None if folding_budget is None else parse_size(folding_budget, "folding budget")
    return {"portable": portable, "inline": inline, "folding_budget": budget}


def parse_size(text: str, what: str) -> int:
    """A number of bytes, such as `1500`, `1.5kB`, `2 MB` or `2GiB`.

    Args:
        text: what was given.
        what: it is for, for the error.

    Raises:
        InputError: it is no size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG]?B|[KMG]iB|)", text.strip())
    if match is None:
        raise InputError(
            f"cannot use {what}: it must be a number of bytes such as 150kB, got {text!r}"
        )
    return round(float(match[1]) * _UNITS[match[2]])
