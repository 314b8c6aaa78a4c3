"""From one way of storing the same weights to another: operators, portable, dense."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Literal

from wl_onnx.errors import InputError
from wl_onnx.graph import (
    CompressibleModel,
    check_output,
    is_compressed,
    is_portable,
    load_model,
    restore_weights,
    save_model,
)
from wl_onnx.portable import make_portable, restore_dense, restore_operators
from wl_onnx.result import Model, as_proto
from wl_onnx.runtime.weights import WeightDecoder

if TYPE_CHECKING:
    import onnx

__all__ = ["convert"]

_log = logging.getLogger(__name__)

_TARGETS = ("portable", "operators", "dense")


def convert(
    model: Model,
    output: str | os.PathLike[str] | None = None,
    *,
    to: Literal["portable", "operators", "dense"] = "portable",
    inline: bool = False,
    folding_budget: int | None = None,
    force: bool = False,
) -> onnx.ModelProto:
    """Stores the weights of a compressed model in another way; they stay the same, bit for bit.

    "operators" is what `compress` writes: nodes of this package's operators, for sessions that have
    its library. "portable" has standard operators in their place, which every onnxruntime from 1.17
    on folds into constants when it creates a session; entropy-coded palettes and bundles become
    palettes of whole bits for each weight, and the model is raised to opset 18 and IR version 8 if
    it is below. "dense" has initializers.

    Args:
        model: path of a compressed or portable model, or a ModelProto.
        output: where the model is written; external data goes to `<output>.data`.
        to: what it becomes.
        inline: of "portable": put the decoding nodes into the graph itself, not into a model-local
            function for each weight.
        folding_budget: of "portable": most bytes that a session may take to fold all weights; None:
            2 GiB.
        force: whether an existing output may be replaced.

    Returns:
        The model. Where it does not fit in a protobuf, its tensors stay in the files.

    Raises:
        InputError: the output cannot be written, the model is not compressed or is stored in this
            way already, a weight has no portable form, or the budget is too small.
        ModelError: the model is damaged, or cannot be raised to opset 18.
        BlobError: a weight is damaged.

    Example:
        >>> convert("small.onnx", "anywhere.onnx", to="portable")  # doctest: +SKIP
    """
    if to not in _TARGETS:
        raise InputError(f"cannot convert: to must be {', '.join(_TARGETS)}, got {to!r}")
    if to != "portable" and (inline or folding_budget is not None):
        raise InputError(
            f"cannot convert to {to}: inline and folding_budget must go with portable, got "
            f"{'inline' if inline else f'folding_budget {folding_budget}'}"
        )
    loaded = load_model(model)
    stored_as = _find_storage(loaded)
    if stored_as == to:
        raise InputError(f"cannot convert {loaded.name} to {to}: it must not be {to} yet, got one")
    if stored_as == "dense":
        raise InputError(
            f"cannot convert {loaded.name} to {to}: it must be a compressed or portable model, got "
            f"a plain one; compress {'with portable ' if to == 'portable' else ''}makes one of it"
        )
    if output is not None:
        check_output(output, source=loaded, force=force)
    if to == "portable":
        _make_portable(loaded, inline=inline, folding_budget=folding_budget)
    elif to == "operators":
        restore_operators(loaded)
    elif stored_as == "portable":
        restore_dense(loaded)
    else:
        restore_weights(loaded, WeightDecoder(threads=0))
    if output is not None:
        save_model(loaded, output, force=force)
    return as_proto(loaded, output)


def _find_storage(model: CompressibleModel) -> str:
    if is_compressed(model):
        return "operators"
    return "portable" if is_portable(model) else "dense"


def _make_portable(model: CompressibleModel, *, inline: bool, folding_budget: int | None) -> None:
    made = make_portable(model, inline=inline, folding_budget=folding_budget)
    if not made.codecs:
        key, reason = next(iter(made.left.items()))
        raise InputError(
            f"cannot convert {model.name} to portable: a weight must shrink, got none ({key} "
            f"{reason}); convert it to dense"
        )
    if made.packed_bytes > made.coded_bytes:
        _log.warning(
            "entropy-coded weights of %s are packed: %d bytes become %d",
            model.name,
            made.coded_bytes,
            made.packed_bytes,
        )
    if made.left:
        shown = ", ".join(list(made.left)[:4]) + (", ..." if len(made.left) > 4 else "")
        _log.warning("%d weights of %s are stored dense: %s", len(made.left), model.name, shown)
