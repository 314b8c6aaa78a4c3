"""Treatments onto the parameters of a user's module, and off again."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from wl_onnx.errors import InputError
from wl_onnx.finetune.element_types import to_array
from wl_onnx.finetune.parameters import Slot, find_slots, note_names
from wl_onnx.finetune.parametrizations import PARAMETRIZATIONS, Clustered, Frozen, Masked
from wl_onnx.finetune.treatments import Cluster, Freeze, Mask, Treatment, order_treatments
from wl_onnx.recipe import MAX_CLUSTERS
from wl_onnx.simplify import cluster, prune, threshold_for_sparsity

if TYPE_CHECKING:
    from wl_onnx.finetune.planned import Planned

__all__ = ["attach_treatments", "detach_treatments", "export_values"]

_NUM_SHOWN = 4


@dataclasses.dataclass(frozen=True, eq=False)
class _Job:
    """A parameter that is about to be changed.

    Attributes:
        slot: the parameter.
        value: what it computes with from now on, in its shape and type; None: what it does.
        module: its parametrisation, or None.
        codebook: its centroids, where it is clustered.
    """

    slot: Slot
    value: Tensor | None
    module: nn.Module | None = None
    codebook: Tensor | None = None


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
    jobs = [_plan_job(slot, given) for slot, given in chosen]
    treated = {slot.name for slot, _ in chosen}
    for slot in slots:
        value = planned.values.get(slot.initializer)
        if value is not None and slot.name not in treated and slot.parametrizations is None:
            jobs.append(_Job(slot, _to_fit(slot, value, "the model's values")))
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
        if not any(isinstance(one, PARAMETRIZATIONS) for one in held):
            continue
        for one in held:
            if not isinstance(one, PARAMETRIZATIONS):
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


def _plan_job(slot: Slot, treatments: tuple[Treatment, ...]) -> _Job:
    held = slot.parametrizations
    if held is not None:
        raise InputError(
            f"cannot attach to {slot.name}: it must not be parametrised yet, got "
            f"{', '.join(type(one).__name__ for one in held)}; detach the module before"
        )
    parameter = slot.read()
    if not parameter.is_floating_point():
        raise InputError(
            f"cannot attach to {slot.name}: it must be a float parameter, got "
            f"{str(parameter.dtype).removeprefix('torch.')}"
        )
    if slot.twin is not None:
        raise InputError(
            f"cannot attach to {slot.name}: it must stand at one place of the module, got it at "
            f"{slot.twin} too"
        )
    kinds = {type(one): one for one in treatments}
    freeze, mask, groups = kinds.get(Freeze), kinds.get(Mask), kinds.get(Cluster)
    if isinstance(freeze, Freeze):
        value = parameter if freeze.values is None else _to_fit(slot, freeze.values, "values")
        is_trained = parameter.requires_grad
        return _Job(slot, None, Frozen(value.detach().clone(), is_trained=is_trained))
    array = to_array(parameter).astype(np.float32)
    if not np.isfinite(array).all():
        bad = array[~np.isfinite(array)][0]
        raise InputError(f"cannot attach to {slot.name}: its weights must be finite, got {bad}")
    if isinstance(groups, Cluster):
        return _plan_clusters(slot, parameter, array, mask, groups)
    if not isinstance(mask, Mask):
        raise InputError(f"cannot attach to {slot.name}: it must have a treatment, got none")
    threshold = None
    if mask.regrow and mask.sparsity is not None:
        threshold = threshold_for_sparsity(array, mask.sparsity).magnitude
    kept = torch.from_numpy(_find_kept(slot, array, mask)).to(parameter.device)
    return _Job(slot, None, Masked(kept, passes_gradient=mask.passes_gradient, threshold=threshold))


def _find_kept(slot: Slot, array: np.ndarray, mask: Mask) -> np.ndarray:
    """Which weights a mask leaves."""
    if mask.sparsity is not None:
        kept = prune(array, threshold_for_sparsity(array, mask.sparsity)) != 0
    elif mask.mask is not None:
        kept = np.array(mask.mask)
        _check_shape(slot, kept.shape, "mask")
    else:
        kept = array != 0
    return np.asarray(kept, bool)


def _plan_clusters(
    slot: Slot, parameter: Tensor, array: np.ndarray, mask: Treatment | None, groups: Cluster
) -> _Job:
    if groups.codes is not None:
        given = np.asarray(groups.codes)
        _check_shape(slot, given.shape, "codes")
        codebook = np.asarray(groups.codebook)
        array = codebook[given].astype(np.float32)
    kept = _find_kept(slot, array, mask) if isinstance(mask, Mask) else np.ones(array.shape, bool)
    if groups.keep_zero:
        kept &= array != 0
    if groups.codes is not None:
        used, codes = np.unique(given[kept], return_inverse=True)
        centroids = codebook[used]
    elif groups.clusters is not None:
        found = cluster(array[kept], groups.clusters)
        centroids, codes = found.codebook, found.assignments.astype(np.int64)
    else:
        original = to_array(parameter)
        centroids, codes = np.unique(original[kept], return_inverse=True)
        if centroids.size > MAX_CLUSTERS:
            raise InputError(
                f"cannot attach to {slot.name}: without clusters its distinct values must be at "
                f"most {MAX_CLUSTERS}, got {centroids.size}"
            )
    places = np.zeros(array.shape, np.int64)
    places[kept] = codes.reshape(-1) + 1
    table = _to_tensor(centroids, parameter)
    module = Clustered(torch.from_numpy(places).to(parameter.device), table.numel())
    value = torch.cat((table.new_zeros(1), table))[module.codes]
    return _Job(slot, value, module, table)


def _to_fit(slot: Slot, values: Any, what: str) -> Tensor:
    array = np.asarray(values)
    _check_shape(slot, array.shape, what)
    return _to_tensor(array, slot.read())


def _to_tensor(array: np.ndarray, like: Tensor) -> Tensor:
    # Every type that a parameter has goes through float64 exactly.
    return torch.from_numpy(array.astype(np.float64)).to(like.dtype).to(like.device)


def _check_shape(slot: Slot, shape: tuple[int, ...], what: str) -> None:
    wanted = list(slot.read().shape)
    if list(shape) != wanted:
        raise InputError(
            f"cannot attach to {slot.name}: {what} must have its shape {wanted}, got {list(shape)}"
        )


def _apply(job: _Job) -> None:
    slot = job.slot
    parameter = slot.read()
    parameter.grad = None  # of another shape or value
    if job.value is not None:
        with torch.no_grad():
            parameter.copy_(job.value)
    if job.module is None:
        return
    job.module.train(slot.owner.training)
    with torch.no_grad():
        parametrize.register_parametrization(slot.owner, slot.attribute, job.module)
    _make_copyable(slot.owner)
    if isinstance(job.module, Frozen):
        parameter.requires_grad_(False)
    if job.codebook is not None:
        with torch.no_grad():
            parameter.copy_(job.codebook)  # means of centroids may be off by a rounding


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
