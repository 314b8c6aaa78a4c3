"""The way back: a module's tensors into the initializers of the graph that it was made of."""

from __future__ import annotations

import os

import numpy as np
import torch
from onnx import ModelProto, TensorProto
from torch import nn

from wl_onnx.errors import InputError
from wl_onnx.finetune.attribute_names import read_names
from wl_onnx.finetune.element_types import TORCH_DTYPES, to_array
from wl_onnx.graph import load_model, to_proto
from wl_onnx.graph.scopes import find_bodies, find_places
from wl_onnx.graph.tensors import fill_raw

__all__ = ["export_model"]


def export_model(module: nn.Module, model: str | os.PathLike[str] | ModelProto) -> ModelProto:
    """The model with a module's values in it; see `wl_onnx.finetune.to_onnx`.

    All tensors are checked before the first is written.
    """
    names = read_names(module)
    loaded = load_model(model)
    places = {place.key: place for place in find_places(find_bodies(loaded.proto))}
    changed: list[tuple[TensorProto, np.ndarray]] = []
    for attribute, name in names.items():
        if name not in places or places[name].node is not None:
            raise InputError(
                f"cannot put back {name}: {loaded.name} must have an initializer of that name, got "
                "none"
            )
        tensor = places[name].tensor
        value = getattr(module, attribute, None)
        if not isinstance(value, torch.Tensor):
            raise InputError(
                f"cannot put back {name}: the module must have it as {attribute}, got "
                f"{type(value).__name__}"
            )
        _check_fit(name, value, tensor)
        new = to_array(value)
        old = np.asarray(loaded.read(tensor))
        if new.tobytes() != old.astype(old.dtype.newbyteorder("="), copy=False).tobytes():
            changed.append((tensor, new))
    for tensor, new in changed:
        fresh = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        fresh.doc_string = tensor.doc_string
        fill_raw(fresh, new)
        tensor.CopyFrom(fresh)
    return to_proto(loaded)


def _check_fit(name: str, value: torch.Tensor, tensor: TensorProto) -> None:
    if tuple(value.shape) != tuple(tensor.dims):
        raise InputError(
            f"cannot put back {name}: its shape must be {list(tensor.dims)}, got "
            f"{list(value.shape)}"
        )
    wanted = TORCH_DTYPES.get(tensor.data_type)
    if value.dtype != wanted:
        raise InputError(
            f"cannot put back {name}: its element type must be {_show(wanted)}, got "
            f"{_show(value.dtype)}; convert the module before"
        )


def _show(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")
