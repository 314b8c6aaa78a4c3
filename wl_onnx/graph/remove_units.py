"""Removing dead units: neurons and channels that change nothing in what a model gives."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wl_onnx.graph.trims import TrimmedTensors
from wl_onnx.graph.unit_constants import Array, pass_constants
from wl_onnx.graph.unit_edits import list_stripes, write_groups
from wl_onnx.graph.unit_steps import Stripe
from wl_onnx.graph.units import Consumer, UnitGroup, find_unit_groups
from wl_onnx.graph.wiring import Wiring

if TYPE_CHECKING:
    from wl_onnx.graph.model import CompressibleModel

__all__ = ["LayerUnits", "RemovedUnits", "remove_dead_units"]

Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class LayerUnits:
    """What became of one layer.

    Attributes:
        name: of its weight.
        units_before: outputs of the layer: neurons, or channels.
        units_after: those that are left.
        weights_before: elements of its weight, without the bias.
        weights_after: those that are left.
        reason: why its units had to stay, dead or not, to be read after "it", or None.
    """

    name: str
    units_before: int
    units_after: int
    weights_before: int
    weights_after: int
    reason: str | None


@dataclasses.dataclass(frozen=True)
class RemovedUnits:
    """What `remove_dead_units` did.

    Attributes:
        layers: those whose weights can be cut, in the order of the graph; convolutions with a
            group for each channel are among them.
    """

    layers: tuple[LayerUnits, ...]

    @property
    def num_units(self) -> int:
        """Units that were removed; a channel counts once for each layer that gives it."""
        return sum(layer.units_before - layer.units_after for layer in self.layers)

    @property
    def num_weights(self) -> int:
        """Weights that were removed."""
        return sum(layer.weights_before - layer.weights_after for layer in self.layers)


def remove_dead_units(model: CompressibleModel) -> RemovedUnits:
    """Makes the layers of a pruned model smaller where that does not change what it gives.

    A unit, that is a neuron or a channel, is dead where all weights that read it are 0, or where
    what it gives is constant, for all weights that lead to it are 0: a constant that is not 0 goes
    into the biases of the layers that read it. Its row, its columns and what belongs to it in
    between (a bias, parameters of a normalisation, a kernel of its own) go; then what only it read
    is dead as well, and so on. One unit of each layer stays.

    Layers are Conv of one group, Gemm, and MatMul with a constant on its right, in the main graph.
    Units stay that reach anything but such layers, through element-wise operators, pools,
    normalisations, reshapes and depthwise convolutions; that have tensors which are used twice, may
    be overridden or are named by an output, an annotation or training_info; and whose constant has
    no place to go: a padded convolution, whose edges would see 0 in its place, or a layer without
    a bias of its own (a Conv or a Gemm is given one).

    Args:
        model: the model, its nodes sorted as ONNX demands; changed in place. External data is
            read here, and cut once more when the model is saved.

    Returns:
        What was removed, by layer.

    Raises:
        ModelError: the data of a tensor is gone or does not match its shape.

    Note:
        The outputs are the same but for the order of sums, and for biases that were rounded to
        their type once more. That a weight of 0 gives 0 holds for finite inputs alone.
    """
    wiring = Wiring(model)
    groups = find_unit_groups(wiring)
    tensors = TrimmedTensors(model, wiring.tensors)
    for product in (group.producer for group in groups):
        if product.is_new and product.bias is not None:
            data_type = wiring.tensors[product.weight].data_type
            tensors.add(product.bias, data_type, product.num_rows)
    before = {name: tensors.shape(name) for name in wiring.tensors}
    _remove_all([group for group in groups if group.reason is None], tensors)
    write_groups(groups, tensors)
    return _report(groups, tensors, before)


def _remove_all(groups: list[UnitGroup], tensors: TrimmedTensors) -> None:
    """Goes through the groups until none of them loses anything any more."""
    touched = [{g.producer.weight, *(c.product.weight for c in g.consumers)} for g in groups]
    stale = set(range(len(groups)))
    while stale:
        for index, group in enumerate(groups):
            if index not in stale:
                continue
            stale.discard(index)
            if _remove(group, tensors):
                others = (i for i in range(len(groups)) if touched[i] & touched[index])
                stale.update(i for i in others if i != index)


def _remove(group: UnitGroup, tensors: TrimmedTensors) -> bool:
    """Removes the units of a group that are dead now; whether there are any."""
    product = group.producer
    num_units = tensors.shape(product.weight)[product.row_axis]
    constants = _find_constants(group, tensors, num_units)
    dead, folds = _find_dead(group, tensors, constants, num_units)
    if not dead.any():
        return False
    for name, values in folds.items():
        tensors.assign(name, values)
    kept = np.flatnonzero(~dead)
    for stripe in list_stripes(group, tensors):
        tensors.keep(stripe.tensor, stripe.axis, _expand(kept, stripe.block))
    return True


def _find_constants(group: UnitGroup, tensors: TrimmedTensors, num_units: int) -> dict[str, Array]:
    """What each value of a group holds, for each unit: `[num_units, block]`, NaN if not known."""
    product = group.producer
    is_used = _find_used(tensors, Stripe(product.weight, product.row_axis), num_units)
    bias = np.zeros(num_units)
    if product.bias is not None:
        bias = product.bias_scale * tensors.read(product.bias).astype(np.float64).reshape(-1)
    constants = {product.node.output[0]: np.where(is_used, np.nan, bias)[:, np.newaxis]}
    for step in group.steps:
        operands: list[Array | None] = []
        for operand in step.operands:
            if isinstance(operand, Stripe):
                values = np.moveaxis(tensors.read(operand.tensor), operand.axis, 0)
                operands.append(values.reshape(num_units, -1).astype(np.float64))
            elif operand is None:
                operands.append(None)
            elif operand in constants:
                operands.append(constants[operand])
            else:
                operands.append(tensors.read(operand).reshape(1, 1).astype(np.float64))
        constants[step.node.output[0]] = pass_constants(step.node, operands)
    return constants


def _find_dead(
    group: UnitGroup, tensors: TrimmedTensors, constants: dict[str, Array], num_units: int
) -> tuple[Mask, dict[str, np.ndarray]]:
    """Which units can go, and the biases that take up what they give."""
    is_used = [_find_used(tensors, one.columns, num_units) for one in group.consumers]
    given = [constants[one.value] for one in group.consumers]
    adds = [used & (values != 0).any(axis=1) for used, values in zip(is_used, given, strict=True)]
    absorbs = [one.product.absorber is not None for one in group.consumers]
    while True:
        dead = np.ones(num_units, np.bool_)
        for values, added, can_absorb in zip(given, adds, absorbs, strict=True):
            dead &= ~added | (np.isfinite(values).all(axis=1) & can_absorb)
        if dead.all():
            dead[0] = False
        folds: dict[str, np.ndarray] = {}
        for index, (one, values, added) in enumerate(
            zip(group.consumers, given, adds, strict=True)
        ):
            units = np.flatnonzero(dead & added)
            if len(units) and one.product.absorber is not None:
                bias = _fold(one, tensors, values[units], units)
                absorbs[index] = bool(np.isfinite(bias).all())
                folds[one.product.absorber] = bias
        if all(np.isfinite(bias).all() for bias in folds.values()):
            return dead, folds


def _fold(
    consumer: Consumer, tensors: TrimmedTensors, values: Array, units: npt.NDArray[np.intp]
) -> np.ndarray:
    """A layer's bias with what constant units give, in its own shape and dtype."""
    product, block = consumer.product, consumer.columns.block
    columns = np.take(tensors.read(product.weight), _expand(units, block), product.column_axis)
    columns = np.moveaxis(columns.astype(np.float64), product.row_axis, 0)
    totals = columns.reshape(*columns.shape[:2], -1).sum(axis=2)
    scale = product.product_scale / product.bias_scale
    added = scale * (totals @ np.broadcast_to(values, (len(units), block)).reshape(-1))
    name = product.absorber or ""
    bias = tensors.read(name)
    folded: np.ndarray
    with np.errstate(over="ignore"):  # the caller looks at what came out
        folded = (bias.astype(np.float64) + added.reshape(bias.shape)).astype(bias.dtype)
    return folded


def _find_used(tensors: TrimmedTensors, stripe: Stripe, num_units: int) -> Mask:
    """For each unit whether it has any element in a tensor that is not 0."""
    values = tensors.read(stripe.tensor)
    others = tuple(axis for axis in range(values.ndim) if axis != stripe.axis)
    found: Mask = (values != 0).any(axis=others).reshape(num_units, -1).any(axis=1)
    return found


def _expand(units: npt.NDArray[np.intp], block: int) -> npt.NDArray[np.intp]:
    """The places of units that take a block each."""
    return (units[:, np.newaxis] * block + np.arange(block)).reshape(-1)


def _report(
    groups: list[UnitGroup], tensors: TrimmedTensors, before: dict[str, tuple[int, ...]]
) -> RemovedUnits:
    rows = {g.producer.weight: (g.producer.row_axis, g.reason) for g in groups}
    for group in groups:
        for step in group.steps:
            if step.node.op_type == "Conv":
                rows[step.node.input[1]] = (0, None)
    layers = []
    for node in tensors.model.proto.graph.node:
        name = node.input[1] if len(node.input) > 1 else ""
        if name not in rows:
            continue
        axis, reason = rows[name]
        shape = tensors.shape(name)
        layers.append(
            LayerUnits(
                name=name,
                units_before=before[name][axis],
                units_after=shape[axis],
                weights_before=math.prod(before[name]),
                weights_after=math.prod(shape),
                reason=reason,
            )
        )
    return RemovedUnits(tuple(layers))
