"""`wl-onnx decompress`: a plain model again."""

from __future__ import annotations

import wl_onnx
from wl_onnx.cli.console import ERRORS, set_up_logging
from wl_onnx.cli.options import Force, ModelPath, OutputPath, Quiet

__all__ = ["decompress"]


def decompress(
    model: ModelPath, output: OutputPath, force: Force = False, quiet: Quiet = False
) -> None:
    """Write the decoded weights back as initializers: a model that needs no library."""
    set_up_logging(quiet=quiet)
    wl_onnx.decompress(model, output, force=force)
    if not quiet:
        ERRORS.print(f"wrote {output}")
