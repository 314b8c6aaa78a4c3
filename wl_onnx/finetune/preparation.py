"""What treatments make of one parameter: its values, and its parametrisations."""

from __future__ import annotations

import dataclasses
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from wl_onnx.errors import InputError
from wl_onnx.finetune.device_noise import NoisyRead
from wl_onnx.finetune.element_types import to_array
from wl_onnx.finetune.parametrizations import Clustered, Frozen, Masked
from wl_onnx.finetune.treatments import Cluster, Freeze, Mask, Noise, Treatment
from wl_onnx.planning.cell_writer import CellWriter
from wl_onnx.recipe import MAX_CLUSTERS
from wl_onnx.simplify import cluster, prune, threshold_for_sparsity

if TYPE_CHECKING:
    from wl_onnx.finetune.parameters import Slot

__all__ = ["Job", "fit_values", "prepare_job"]


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """A parameter that is about to be changed.

    Attributes:
        slot: the parameter.
        value: what it computes with from now on, in its shape and type; None: what it does.
        modules: its parametrisations, in the order in which they act.
        codebook: its centroids, where it is clustered.
    """

    slot: Slot
    value: Tensor | None
    modules: tuple[nn.Module, ...] = ()
    codebook: Tensor | None = None


def prepare_job(slot: Slot, treatments: tuple[Treatment, ...]) -> Job:
    """What treatments make of a parameter; nothing is changed yet.

    Args:
        slot: the parameter.
        treatments: in their order, see `order_treatments`.

    Raises:
        InputError: the parameter cannot have them.
    """
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
    noise = kinds.get(Noise)
    reads = (_make_reads(slot, noise),) if isinstance(noise, Noise) else ()
    if isinstance(freeze, Freeze):
        value = parameter if freeze.values is None else fit_values(slot, freeze.values, "values")
        frozen = Frozen(value.detach().clone(), is_trained=parameter.requires_grad)
        return Job(slot, None, (frozen, *reads))
    array = to_array(parameter).astype(np.float32)
    if not np.isfinite(array).all():
        bad = array[~np.isfinite(array)][0]
        raise InputError(f"cannot attach to {slot.name}: its weights must be finite, got {bad}")
    if isinstance(groups, Cluster):
        job = _prepare_clusters(slot, parameter, array, mask, groups)
        return dataclasses.replace(job, modules=job.modules + reads)
    if isinstance(mask, Mask):
        return Job(slot, None, (_prepare_mask(slot, parameter, array, mask), *reads))
    return Job(slot, None, reads)


def _make_reads(slot: Slot, noise: Noise) -> NoisyRead:
    # Parameters of one seed are to draw other numbers.
    seed = (noise.seed + zlib.crc32(slot.name.encode())) % (1 << 63)
    return NoisyRead(
        CellWriter(noise.storage),
        channel_axis=noise.channel_axis,
        strength=noise.strength,
        gradient=noise.gradient,
        seed=seed,
    )


def _prepare_mask(slot: Slot, parameter: Tensor, array: np.ndarray, mask: Mask) -> Masked:
    threshold = None
    if mask.regrow and mask.sparsity is not None:
        threshold = threshold_for_sparsity(array, mask.sparsity).magnitude
    kept = torch.from_numpy(_find_kept(slot, array, mask)).to(parameter.device)
    return Masked(kept, passes_gradient=mask.passes_gradient, threshold=threshold)


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


def _prepare_clusters(
    slot: Slot, parameter: Tensor, array: np.ndarray, mask: Treatment | None, groups: Cluster
) -> Job:
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
    return Job(slot, value, (module,), table)


def fit_values(slot: Slot, values: Any, what: str) -> Tensor:
    """Values as a tensor in a parameter's shape, type and place.

    Args:
        slot: the parameter.
        values: numbers in its shape.
        what: they are, for the message.

    Raises:
        InputError: the shape is another.
    """
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
