"""`wl-onnx convert`: the same weights, stored in another way."""

from __future__ import annotations

from typing import Annotated, Any, cast

import typer

import wl_onnx
from wl_onnx.cli.console import ERRORS, set_up_logging
from wl_onnx.cli.options import Force, ModelPath, OutputPath, Quiet
from wl_onnx.cli.portable_options import FoldingBudget, Inline, parse_size

__all__ = ["convert"]


def convert(
    model: ModelPath,
    output: OutputPath,
    to: Annotated[
        str,
        typer.Option(
            metavar="portable|operators|dense",
            help="Standard operators, this package's operators, or initializers.",
        ),
    ],
    inline: Inline = False,
    folding_budget: FoldingBudget = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Store the weights of a compressed model in another way; they stay the same, bit for bit."""
    set_up_logging(quiet=quiet)
    budget = None if folding_budget is None else parse_size(folding_budget, "folding budget")
    wl_onnx.convert(
        model, output, to=cast(Any, to), inline=inline, folding_budget=budget, force=force
    )
    if not quiet:
        ERRORS.print(f"wrote {output}")
