"""What a session needs to fold all weights of a portable file, and how much it may need."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from onnx import FunctionProto

from wl_onnx.errors import InputError
from wl_onnx.graph.scopes import Body, find_bodies

if TYPE_CHECKING:
    from wl_onnx.graph import CompressibleModel, Decoder
    from wl_onnx.portable.form import PortableForm

__all__ = [
    "FOLDED_VALUE_BYTES",
    "FOLDING_BUDGET_BYTES",
    "ChosenForm",
    "check_budget",
    "count_folding",
]

FOLDED_VALUE_BYTES = 1 << 30
"""Most bytes that a node may give: since 1.27 onnxruntime runs it anew each time above that."""

FOLDING_BUDGET_BYTES = 2 << 30
"""Most bytes that sessions may take to fold all weights, unless a caller says otherwise."""


@dataclasses.dataclass(frozen=True)
class ChosenForm:
    """A weight and the form that is to decode it."""

    decoder: Decoder
    form: PortableForm


def count_folding(model: CompressibleModel, chosen: Sequence[ChosenForm]) -> dict[str, int]:
    """By weight key, the bytes that onnxruntime makes to fold it: once for each inlined copy.

    Args:
        model: the model.
        chosen: its weights.
    """
    copies = _count_copies(find_bodies(model.proto))
    return {
        one.decoder.key: one.form.folding_bytes * copies[one.decoder.body.root().scope]
        for one in chosen
    }


def check_budget(
    model: CompressibleModel, chosen: Sequence[ChosenForm], folding_budget: int | None
) -> None:
    """Refuses weights that a session would need too much memory to fold.

    Args:
        model: the model.
        chosen: its weights.
        folding_budget: most bytes, of all weights together; None: 2 GiB.

    Raises:
        InputError: they take more; the message says how much, and what would do.
    """
    budget = FOLDING_BUDGET_BYTES if folding_budget is None else folding_budget
    if budget < 1:
        raise InputError(
            f"cannot make {model.name} portable: folding_budget must be at least 1 byte, "
            f"got {budget}"
        )
    folding = count_folding(model, chosen)
    total = sum(folding.values())
    if total > budget:
        largest = max(folding, key=lambda key: folding[key])
        raise InputError(
            f"cannot make {model.name} portable: to fold its weights must take a session at most "
            f"{budget} bytes, got {total}, {folding[largest]} of them for {largest}; raise "
            f"folding_budget, {_advise(chosen)}or convert to dense"
        )


def _advise(chosen: Sequence[ChosenForm]) -> str:
    """What would take less."""
    if any(one.form.fields.get("layout") == "ribbon" for one in chosen):
        return "compress with layout xor, "
    if any(one.form.codec == "bloomier" for one in chosen):
        return "compress with codec palette, "
    return ""


def _count_copies(bodies: Sequence[Body]) -> dict[str, int]:
    """How often onnxruntime inlines each function, by scope; the main graph stands there once."""
    scopes = {
        (one.graph.domain, one.graph.name, one.graph.overload): one.scope
        for one in bodies
        if isinstance(one.graph, FunctionProto)
    }
    callers: dict[str, list[str]] = {scope: [] for scope in scopes.values()}
    for body in bodies:
        for node in body.graph.node:
            scope = scopes.get((node.domain, node.op_type, node.overload))
            if scope is not None:
                callers[scope].append(body.root().scope)
    copies = {"": 1}

    def count(scope: str) -> int:
        if scope not in copies:
            copies[scope] = 0  # for functions that call themselves, which onnxruntime refuses
            copies[scope] = sum(map(count, callers[scope]))
        return copies[scope]

    for scope in callers:
        count(scope)
    return copies
