"""The way back: tensors into the initializers of a graph, or into the blobs that stand for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, TensorProto
from torch import nn

from wl_onnx.errors import InputError
from wl_onnx.finetune.attribute_names import read_names
from wl_onnx.finetune.element_types import TORCH_DTYPES, to_array
from wl_onnx.finetune.parameters import find_slots
from wl_onnx.finetune.recoding import recode_weight
from wl_onnx.graph import find_stored, load_model, to_proto
from wl_onnx.graph.scopes import find_bodies, find_places
from wl_onnx.graph.tensors import fill_raw
from wl_onnx.runtime.weights import WeightDecoder

__all__ = ["export_model"]


def export_model(
    source: nn.Module | Mapping[str, np.ndarray], model: str | os.PathLike[str] | ModelProto
) -> ModelProto:
    """The model with other values in it; see `wl_onnx.finetune.to_onnx`.

    All tensors are checked before the first is written.
    """
    values = _read_mapping(source) if isinstance(source, Mapping) else _read_module(source)
    loaded = load_model(model)
    places = {place.key: place for place in find_places(find_bodies(loaded.proto))}
    decoders = {decoder.key: decoder for decoder in find_stored(loaded)}
    decode = WeightDecoder(threads=0)
    changed: list[tuple[TensorProto, np.ndarray]] = []
    for name, (value, rule) in values.items():
        decoder = decoders.get(name)
        is_initializer = name in places and places[name].node is None
        if decoder is None and not is_initializer:
            raise InputError(
                f"cannot put back {name}: {loaded.name} must have an initializer of that name, got "
                "none"
            )
        new = _to_values(name, value, rule)
        if decoder is not None:
            _check_fit(name, new, decoder.shape, decoder.data_type)
            if not _is_same(new, decode(decoder)):
                changed.append((decoder.blob_tensor, recode_weight(decoder, new)))
            continue
        tensor = places[name].tensor
        _check_fit(name, new, tuple(tensor.dims), tensor.data_type)
        if not _is_same(new, np.asarray(loaded.read(tensor))):
            changed.append((tensor, new))
    for tensor, new in changed:
        fresh = TensorProto(data_type=tensor.data_type, dims=new.shape)
        for field in ("name", "doc_string"):
            if tensor.HasField(field):
                setattr(fresh, field, getattr(tensor, field))
        fill_raw(fresh, new)
        tensor.CopyFrom(fresh)
    return to_proto(loaded)


def _read_mapping(values: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    return {name: (value, "its values must be an array") for name, value in values.items()}


def _read_module(module: nn.Module) -> dict[str, tuple[Any, str]]:
    """What a module from `to_torch` has, by initializer, and what must hold of it."""
    held = {slot.attribute: slot.read() for slot in find_slots(module) if slot.owner is module}
    return {
        name: (
            held[attribute] if attribute in held else getattr(module, attribute, None),
            f"the module must have it as {attribute}",
        )
        for attribute, name in read_names(module).items()
    }


def _to_values(name: str, value: Any, rule: str) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        return to_array(value)
    if not isinstance(value, np.ndarray):
        raise InputError(f"cannot put back {name}: {rule}, got {type(value).__name__}")
    return value


def _is_same(new: np.ndarray, old: np.ndarray) -> bool:
    native = old.astype(old.dtype.newbyteorder("="), copy=False)
    return new.astype(new.dtype.newbyteorder("="), copy=False).tobytes() == native.tobytes()


def _check_fit(name: str, value: np.ndarray, shape: tuple[int, ...], data_type: int) -> None:
    if value.shape != shape:
        raise InputError(
            f"cannot put back {name}: its shape must be {list(shape)}, got {list(value.shape)}"
        )
    wanted = TORCH_DTYPES.get(data_type)
    shown = str(wanted).removeprefix("torch.")
    if value.dtype.name != shown:
        raise InputError(
            f"cannot put back {name}: its element type must be {shown}, got {value.dtype.name}; "
            "convert the module before"
        )
