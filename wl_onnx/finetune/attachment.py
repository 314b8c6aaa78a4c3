"""Treatments onto the parameters of a user's module, and off again."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from wl_onnx.errors import InputError
from wl_onnx.finetune.device_noise import NoisyRead
from wl_onnx.finetune.element_types import to_array
from wl_onnx.finetune.parameters import Slot, find_slots, note_names
from wl_onnx.finetune.parametrizations import Clustered, Frozen, Masked
from wl_onnx.finetune.preparation import Job, fit_values, prepare_job
from wl_onnx.finetune.treatments import Treatment, order_treatments

if TYPE_CHECKING:
    import numpy as np

    from wl_onnx.finetune.planned import Planned

__all__ = ["attach_treatments", "detach_treatments", "export_values"]

_TREATMENTS = (Frozen, Masked, Clustered, NoisyRead)

_NUM_SHOWN = 4


def attach_treatments(module: nn.Module, planned: Planned, names: Mapping[str, str] | None) -> None:
    """Parametrises a module; see `wl_onnx.finetune.attach`.

    All is checked before the first parameter changes.

    Args:
        module: the user's.
        planned: what becomes of which parameter.
        names: of initializers by parameter.
    """
    slots = find_slots(module)
    for name in names or {}:
        if not any(slot.name == name for slot in slots):
            raise _unknown(name, [slot.name for slot in slots])
    if names is not None:
        slots = [
            dataclasses.replace(s, initializer=names.get(s.name, s.initializer)) for s in slots
        ]
    # A compressed model may have coded statistics, which are no parameters.
    buffers = {slot.initializer for slot in slots if slot.is_buffer} & planned.values.keys()
    treatments = {name: one for name, one in planned.treatments.items() if name not in buffers}
    chosen = _match([slot for slot in slots if not slot.is_buffer], treatments)
    jobs = [prepare_job(slot, given) for slot, given in chosen]
    treated = {slot.name for slot, _ in chosen}
    for slot in slots:
        value = planned.values.get(slot.initializer)
        if value is not None and slot.name not in treated and slot.parametrizations is None:
            jobs.append(Job(slot, fit_values(slot, value, "the model's values")))
    for job in jobs:
        _apply(job)
    if names is not None:
        note_names(module, names)


def export_values(module: nn.Module) -> dict[str, np.ndarray]:
    """What a module computes with; see `wl_onnx.finetune.export_state`."""
    values: dict[str, np.ndarray] = {}
    seen: set[str | None] = set()
    for slot in find_slots(module):
        value = slot.read()
        if slot.twin in seen or (slot.is_buffer and not value.is_floating_point()):
            continue
        seen.add(slot.name)
        values[slot.initializer] = to_array(value).copy()
    return values


def detach_treatments(module: nn.Module) -> None:
    """Takes the parametrisations away; see `wl_onnx.finetune.detach`."""
    slots = []
    for slot in find_slots(module):
        held = list(slot.parametrizations or ())
        if not any(isinstance(one, _TREATMENTS) for one in held):
            continue
        for one in held:
            if not isinstance(one, _TREATMENTS):
                raise InputError(
                    f"cannot detach {slot.name}: it must be parametrised by treatments alone, got "
                    f"{type(one).__name__} too; remove that before"
                )
        slots.append(slot)
    for slot in slots:
        _remove(slot)


def _match(
    slots: Sequence[Slot], treatments: Mapping[str, Any]
) -> list[tuple[Slot, tuple[Treatment, ...]]]:
    """The parameters that a plan names; of several entries that match one the last counts."""
    chosen: dict[str, tuple[Slot, tuple[Treatment, ...]]] = {}
    for pattern, given in treatments.items():
        if not isinstance(pattern, str):
            raise InputError(f"cannot attach: names must be texts, got {pattern!r:.60}")
        found = [slot for slot in slots if pattern in (slot.name, slot.initializer)]
        if not found:
            found = [slot for slot in slots if _fits(slot, pattern)]
        if not found:
            raise _unknown(pattern, [slot.initializer for slot in slots])
        ordered = order_treatments(pattern, given)
        for slot in found:
            chosen[slot.name] = slot, ordered
    return [(slot, ordered) for slot, ordered in chosen.values() if ordered]


def _fits(slot: Slot, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in (slot.initializer, slot.name))


def _unknown(pattern: str, known: Sequence[str]) -> InputError:
    near = difflib.get_close_matches(pattern, known, _NUM_SHOWN) or list(known)
    shown = ", ".join(near[:_NUM_SHOWN]) + (", ..." if len(near) > _NUM_SHOWN else "")
    if set(pattern) & set("*?["):
        return InputError(
            f"cannot attach to {pattern}: it must match a parameter's name, got no match among "
            f"{shown or 'none'}"
        )
    return InputError(
        f"cannot attach to {pattern}: the module must have a parameter of that name, got none; "
        f"there are {shown or 'none at all'}"
    )


def _apply(job: Job) -> None:
    slot = job.slot
    parameter = slot.read()
    parameter.grad = None  # of another shape or value
    if job.value is not None:
        with torch.no_grad():
            parameter.copy_(job.value)
    if not job.modules:
        return
    with torch.no_grad():
        for module in job.modules:
            # torch's check of what a treatment gives would be a read.
            is_read = isinstance(module, NoisyRead)
            parametrize.register_parametrization(slot.owner, slot.attribute, module, unsafe=is_read)
        if job.codebook is not None:
            parameter.copy_(job.codebook)  # means of centroids may be off by a rounding
    _make_copyable(slot.owner)
    if any(isinstance(module, Frozen) for module in job.modules):
        parameter.requires_grad_(False)


def _remove(slot: Slot) -> None:
    _separate_class(slot.owner)
    with torch.no_grad():
        value = slot.read().clone()
    held = list(slot.parametrizations or ())
    parametrize.remove_parametrizations(slot.owner, slot.attribute, leave_parametrized=True)
    parameter = slot.read()
    parameter.grad = None
    with torch.no_grad():
        parameter.copy_(value)
    for one in held:
        if isinstance(one, Frozen):
            parameter.requires_grad_(one.is_trained)


def _make_copyable(owner: nn.Module) -> None:
    """Lets a parametrised module be deep-copied whatever it was before.

    torch provides for that unless the class has a way of its own, which for `torch.fx.GraphModule`
    looks for parametrised tensors as attributes of another class.
    """
    if isinstance(owner, torch.fx.GraphModule):
        setattr(type(owner), "__deepcopy__", _copy_deeply)  # noqa: B010  mypy takes it for a method


def _copy_deeply(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    replica = object.__new__(type(module))  # that of GraphModule makes a class for each instance
    memo[id(module)] = replica
    replica.__dict__ = copy.deepcopy(module.__dict__, memo)
    return replica


def _separate_class(owner: nn.Module) -> None:
    """Gives a module a class of its own, which deep copies of a parametrised one share.

    torch takes the property off the class, and with it off every copy.
    """
    kind = type(owner)
    owner.__class__ = type(kind.__name__, kind.__bases__, dict(kind.__dict__))
