"""The inputs of a model whose weights are read from analog cells: two seeds and the time."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper
from onnx import helper as onnx_helper

from wl_onnx.errors import InputError
from wl_onnx.graph.metadata import DOMAIN
from wl_onnx.graph.scopes import find_bodies
from wl_onnx.graph.value_info import remove_inputs

if TYPE_CHECKING:
    from wl_onnx.graph.model import CompressibleModel
    from wl_onnx.graph.select import WeightSite

__all__ = [
    "ANALOG_INPUTS",
    "ANALOG_OPERATOR",
    "AnalogDefaults",
    "add_analog_inputs",
    "check_analog_inputs",
    "why_not_analog",
]

_logger = logging.getLogger(__name__)

ANALOG_OPERATOR = "AnalogRead"
"""The operator that reads a weight from analog cells."""

ANALOG_INPUTS = ("wl_write_seed", "wl_read_seed", "wl_time_s")
"""Graph inputs with defaults, in the order of the operator's inputs."""

_TYPES = (TensorProto.INT64, TensorProto.INT64, TensorProto.FLOAT)
_OVERRIDABLE_IR_VERSION = 4  # the first one in which an input may have a default


@dataclasses.dataclass(frozen=True)
class AnalogDefaults:
    """What the analog weights of a model are read with where a session feeds nothing.

    Attributes:
        write_seed: fixes programming and drift, 0 to 2**64 - 1.
        read_seed: fixes the read noise, 0 to 2**63 - 1; -1 for other noise at each run.
        time_s: time since programming, 0 to 1e12 s.
    """

    write_seed: int = 0
    read_seed: int = -1
    time_s: float = 0.0

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            InputError: one is out of its range.
        """
        for name, least, most in (
            ("write_seed", 0, 2**64 - 1),
            ("read_seed", -1, 2**63 - 1),
            ("time_s", 0, 1e12),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise InputError(
                    f"cannot read analog weights: {name} must be from {least} to {most}, "
                    f"got {value}"
                )


def why_not_analog(site: WeightSite) -> str | None:
    """Why a weight cannot be read from analog cells, to be read after "it", or None.

    A function sees no inputs of the model, so neither its seeds nor its time.
    """
    if site.skip_reason is None and site.place.body.root().is_function:
        return "lies in a function, where the seeds of a read cannot reach it"
    return site.skip_reason


def check_analog_inputs(model: CompressibleModel) -> None:
    """Checks that the names of the inputs are free, or those of inputs that are ours already.

    Raises:
        InputError: a value of the model has such a name.
    """
    graph = model.proto.graph
    inputs = {info.name: info.type.tensor_type.elem_type for info in graph.input}
    initializers = {tensor.name for tensor in graph.initializer}
    has_reads = any(_is_read(node) for body in find_bodies(model.proto) for node in body.graph.node)
    for body in find_bodies(model.proto):
        for name, data_type in zip(ANALOG_INPUTS, _TYPES, strict=True):
            if name not in body.declared or body.root().is_function:
                continue
            is_ours = (
                has_reads
                and body.parent is None
                and name in initializers
                and inputs.get(name) == data_type
            )
            if not is_ours:
                where = f" in {body.scope}" if body.scope else ""
                raise InputError(
                    f"cannot store weights of {model.name} in analog cells: the name {name} must "
                    f"be free, got a value of that name{where}; rename it"
                )


def add_analog_inputs(model: CompressibleModel, defaults: AnalogDefaults) -> None:
    """Adds the inputs with their defaults; where they are there, gives them these defaults.

    A model of an IR version below 4, in which an input cannot have a default, is raised to 4.
    There initializers are inputs too but cannot be given other values; so that they stay
    constant, these inputs go.

    Args:
        model: the model, changed in place; `check_analog_inputs` has passed it.
        defaults: what the inputs are when a session feeds nothing.
    """
    proto = model.proto
    if proto.ir_version < _OVERRIDABLE_IR_VERSION:
        _logger.warning(
            "%s: its IR version is raised from %d to %d, the first in which the seeds of a read "
            "can be inputs with defaults",
            model.name,
            proto.ir_version,
            _OVERRIDABLE_IR_VERSION,
        )
        _raise_ir_version(proto)
    graph = proto.graph
    inputs = {info.name for info in graph.input}
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    for name, data_type, value in zip(ANALOG_INPUTS, _TYPES, _to_arrays(defaults), strict=True):
        if name not in inputs:
            graph.input.append(onnx_helper.make_tensor_value_info(name, data_type, []))
        tensor = initializers.get(name)
        if tensor is None:
            tensor = graph.initializer.add()
        tensor.CopyFrom(numpy_helper.from_array(value, name))


def _is_read(node: Any) -> bool:
    return bool(node.domain == DOMAIN and node.op_type == ANALOG_OPERATOR)


def _raise_ir_version(proto: ModelProto) -> None:
    (main, *_) = find_bodies(proto)
    remove_inputs(main, main.initializer_names)
    proto.ir_version = _OVERRIDABLE_IR_VERSION


def _to_arrays(defaults: AnalogDefaults) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # A seed of 64 bits as the integer of the same bits that the input can hold.
    write_seed = np.array(defaults.write_seed, np.uint64).view(np.int64)
    return write_seed, np.array(defaults.read_seed, np.int64), np.array(defaults.time_s, np.float32)
