"""The parameters of a user's module, parametrised or not, by the names of initializers."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch.nn.utils import parametrize

from wl_onnx.errors import InputError
from wl_onnx.finetune.attribute_names import read_names
from wl_onnx.finetune.device_noise import NoisyRead

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Slot", "find_slots", "note_names"]

_NAMES = "_wl_onnx_initializer_names"


@dataclasses.dataclass(frozen=True, eq=False)
class Slot:
    """A place of a module that holds a parameter or a buffer.

    Attributes:
        name: what `named_parameters()` calls it while it is not parametrised.
        initializer: its name in the graph.
        owner: the module whose attribute it is.
        attribute: its name there.
        is_buffer: whether it is a buffer.
        twin: the name of another place that holds the same parameter, or None.
    """

    name: str
    initializer: str
    owner: nn.Module
    attribute: str
    is_buffer: bool = False
    twin: str | None = None

    @property
    def parametrizations(self) -> parametrize.ParametrizationList | None:
        """What it is parametrised by, or None."""
        return _list_parametrized(self.owner).get(self.attribute)

    def read(self) -> Tensor:
        """The value without noise; the parameter itself where it is not parametrised."""
        held = self.parametrizations
        if held is None:
            plain: Tensor = getattr(self.owner, self.attribute)
            return plain
        reads = [one for one in held if isinstance(one, NoisyRead) and one.training]
        for one in reads:
            one.eval()
        try:
            # Masks regrow where there are gradients; `parametrize.cached` may hold a noisy value.
            with torch.no_grad():
                value: Tensor = held()
        finally:
            for one in reads:
                one.train()
        return value


def find_slots(module: nn.Module) -> list[Slot]:
    """The parameters and stored buffers of a module, in the module's order.

    Of a module that stands at several places the first counts, as in `named_parameters`. Of one
    from `to_torch`, wherever it stands, only what is an initializer is there.
    """
    noted = module.__dict__.get(_NAMES, {})
    slots = []
    holders: dict[int, list[str]] = collections.defaultdict(list)
    for prefix, owner in _walk(module, "", set()):
        bridged = _read_bridged(owner)
        for attribute, is_buffer in _list_attributes(owner):
            if bridged is not None and attribute not in bridged:
                continue
            name = f"{prefix}{attribute}"
            initializer = noted.get(name, name if bridged is None else bridged[attribute])
            slots.append(Slot(name, initializer, owner, attribute, is_buffer))
            holders[_identify(owner, attribute)].append(name)
    for index, slot in enumerate(slots):
        others = [n for n in holders[_identify(slot.owner, slot.attribute)] if n != slot.name]
        if others:
            slots[index] = dataclasses.replace(slot, twin=others[0])
    return slots


def note_names(module: nn.Module, names: Mapping[str, str]) -> None:
    """Notes in a module the initializers' names of its parameters; deep copies keep them."""
    module.__dict__[_NAMES] = {**module.__dict__.get(_NAMES, {}), **names}


def _read_bridged(owner: nn.Module) -> dict[str, str] | None:
    try:
        return read_names(owner)
    except InputError:
        return None


def _walk(module: nn.Module, prefix: str, seen: set[int]) -> Iterator[tuple[str, nn.Module]]:
    if id(module) in seen:
        return
    seen.add(id(module))
    yield prefix, module
    for name, child in module.named_children():
        if not (name == "parametrizations" and parametrize.is_parametrized(module)):
            yield from _walk(child, f"{prefix}{name}.", seen)


def _list_attributes(owner: nn.Module) -> Iterator[tuple[str, bool]]:
    for name, _ in owner.named_parameters(recurse=False):
        yield name, False
    for name in _list_parametrized(owner):
        yield name, False
    passing = owner._non_persistent_buffers_set
    for name, _ in owner.named_buffers(recurse=False):
        if name not in passing:
            yield name, True


def _list_parametrized(owner: nn.Module) -> dict[str, parametrize.ParametrizationList]:
    if not parametrize.is_parametrized(owner):
        return {}
    return dict(owner.parametrizations.items())  # type: ignore[operator, union-attr, unused-ignore]


def _identify(owner: nn.Module, attribute: str) -> int:
    held = _list_parametrized(owner).get(attribute)
    return id(getattr(owner, attribute) if held is None else getattr(held, "original", held))
