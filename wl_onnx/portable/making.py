"""Making a compressed model portable: standard operators in the place of ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import FunctionProto

from wl_onnx.errors import InputError
from wl_onnx.graph import Decoder, find_stored, read_metadata, restore_weights
from wl_onnx.graph.failures import model_error
from wl_onnx.graph.metadata import PORTABLE_RECORD, write_metadata
from wl_onnx.graph.scopes import Place, find_bodies, find_places
from wl_onnx.portable.budget import (
    FOLDED_VALUE_BYTES,
    ChosenForm,
    check_budget,
    count_folding,
)
from wl_onnx.portable.form import PortableForm, make_form, make_palette_form
from wl_onnx.portable.placement import (
    PlacedWeight,
    measure_weight,
    place_weights,
)
from wl_onnx.portable.record import format_record
from wl_onnx.portable.upgrade import MIN_OPSET, find_opset, upgrade_model
from wl_onnx.runtime.weights import WeightDecoder

if TYPE_CHECKING:
    import numpy.typing as npt

    from wl_onnx.graph import CompressibleModel

__all__ = ["PortableModel", "make_portable", "measure_blob"]

_MAX_CENTROIDS = 4096


@dataclasses.dataclass(frozen=True)
class PortableModel:
    """What became of the weights of a compressed model.

    Attributes:
        codecs: by weight key, "bloomier" or "palette", of those that standard operators decode.
        stored_bytes: by weight key, bytes of the tensors that hold these.
        left: by weight key, why a weight is dense now, to be read after "it".
        folding_bytes: what sessions take to fold all weights, sum over all nodes.
        packed_bytes: of the palettes and bundles among the weights, bytes of the tensors now.
        coded_bytes: of these, bytes of the blobs before.
    """

    codecs: Mapping[str, str]
    stored_bytes: Mapping[str, int]
    left: Mapping[str, str]
    folding_bytes: int
    packed_bytes: int
    coded_bytes: int


def measure_blob(
    codec: str, blob: bytes, *, name: str, shape: tuple[int, ...], data_type: int
) -> tuple[int, int]:
    """What a blob takes in a portable file.

    Args:
        codec: "bloomier" or "palette".
        blob: the encoded weight.
        name: the weight's.
        shape: of the weight.
        data_type: ONNX element type of the weight.

    Returns:
        Bytes of the tensors, and about the bytes of all that comes with the weight.

    Raises:
        InputError: the blob has no portable form.
    """
    try:
        form = make_form(codec, blob, shape=shape, data_type=data_type)
    except InputError as error:
        raise InputError(f"cannot make {name} portable: {_find_reason(error)}") from error
    total = measure_weight(form, name=name, shape=shape, data_type=data_type)
    return form.size_bytes, total


def make_portable(
    model: CompressibleModel,
    *,
    inline: bool = False,
    folding_budget: int | None = None,
    allow_growth: bool = False,
) -> PortableModel:
    """Replaces the nodes of our operators by standard ones that decode the same weights.

    Filters keep their tables. Palettes and bundles are packed: whole bits for each weight. A weight
    that would take more bytes than its dense tensor becomes an initializer. The model is raised to
    opset 18 and IR version 8 if it is below; see `upgrade_model`.

    Args:
        model: a compressed model, changed in place.
        inline: put the decoding nodes into the graph itself, not into a function for each weight.
        folding_budget: most bytes that sessions may take to fold all weights, those of a function
            once for each call; None: 2 GiB.
        allow_growth: keep the forms of weights even where they are larger than dense tensors.

    Raises:
        InputError: a weight has no portable form, or the budget is too small.
        ModelError: the model is damaged, or cannot be raised to opset 18; or a function with a
            weight imports an opset below it.
        BlobError: a blob is damaged.
    """
    decoders = find_stored(model)
    decode = WeightDecoder(threads=0)
    chosen: list[ChosenForm] = []
    left: dict[str, str] = {}
    for decoder in decoders:
        form = _choose_form(decoder, decode, allow_growth=allow_growth)
        if isinstance(form, str):
            left[decoder.key] = form
        else:
            chosen.append(ChosenForm(decoder, form))
    check_budget(model, chosen, folding_budget)
    result = _describe(model, decoders, chosen, left)
    metadata = read_metadata(model)
    forms = {(one.decoder.scope, one.decoder.name): one.form for one in chosen}
    restore_weights(model, decode)
    upgrade_model(model)
    weights = [
        PlacedWeight(place, forms[place.body.scope, place.name])
        for place in find_places(find_bodies(model.proto))
        if (place.body.scope, place.name) in forms
    ]
    for weight in weights:
        _require_opset(model, weight.place)
    records = place_weights(model, weights, inline=inline)
    write_metadata(model, {**metadata, PORTABLE_RECORD: format_record(records)})
    return result


def _describe(
    model: CompressibleModel,
    decoders: Sequence[Decoder],
    chosen: Sequence[ChosenForm],
    left: Mapping[str, str],
) -> PortableModel:
    stored = {one.decoder.key: one.form.size_bytes for one in chosen}
    packed = [one for one in decoders if one.codec in ("palette", "bundle")]
    coded = {id(one.node): one.blob_bytes for one in packed}  # a bundle has one for several
    return PortableModel(
        codecs={one.decoder.key: one.form.codec for one in chosen},
        stored_bytes=stored,
        left=left,
        folding_bytes=sum(count_folding(model, chosen).values()),
        packed_bytes=sum(stored.get(one.key, one.size_bytes) for one in packed),
        coded_bytes=sum(coded.values()),
    )


def _choose_form(
    decoder: Decoder, decode: WeightDecoder, *, allow_growth: bool
) -> PortableForm | str:
    """The form of a weight, or why it is to be dense."""
    form = _make_form(decoder, decode)
    if isinstance(form, str):
        return form
    if form.largest_bytes > FOLDED_VALUE_BYTES:
        return (
            f"would take {form.largest_bytes} bytes in one step of its decoding, and onnxruntime "
            f"folds {FOLDED_VALUE_BYTES}"
        )
    if allow_growth:
        return form
    size_bytes = measure_weight(
        form, name=decoder.name, shape=decoder.shape, data_type=decoder.data_type
    )
    if size_bytes < decoder.size_bytes:
        return form
    return (
        f"would take {size_bytes} bytes in portable form, and takes {decoder.size_bytes} as it is"
    )


def _make_form(decoder: Decoder, decode: WeightDecoder) -> PortableForm | str:
    """The form of a weight, or why it has none and is to be dense."""
    if decoder.codec == "analog":
        raise InputError(
            f"cannot make {decoder.key} of {decoder.model.name} portable: it must not be in analog "
            "cells, whose noise is drawn anew at each run, got an analog read"
        )
    if decoder.codec == "bundle":
        codes, codebook = _find_values(decode(decoder))
        if codebook.size > _MAX_CENTROIDS:
            return f"has {codebook.size} different values"
        return make_palette_form(
            codes,
            codebook,
            shape=decoder.shape,
            data_type=decoder.data_type,
            codebook_type=_find_codebook_type(codebook),
        )
    try:
        return make_form(
            decoder.codec, bytes(decoder.blob), shape=decoder.shape, data_type=decoder.data_type
        )
    except InputError as error:
        reason = _find_reason(error).split("; ")[0]
        raise InputError(
            f"cannot make {decoder.key} of {decoder.model.name} portable: {reason}; compress the "
            "original with portable and layout xor, or codec palette"
        ) from error


def _find_reason(error: InputError) -> str:
    """What `make_form` says, without the weight, which it cannot name."""
    return str(error).removeprefix("cannot make weight portable: ")


def _find_values(array: npt.NDArray[Any]) -> tuple[npt.NDArray[np.uint16], npt.NDArray[Any]]:
    """The different values of an array, told apart by their bits, and which each element has."""
    bits = np.ascontiguousarray(array).reshape(-1).view(f"u{array.itemsize}")
    values, codes = np.unique(bits, return_inverse=True)
    codebook = values.view(array.dtype).astype(np.float32)
    return codes.reshape(-1).astype(np.uint16), codebook


def _find_codebook_type(codebook: npt.NDArray[Any]) -> str:
    """The smaller type that holds every value."""
    with np.errstate(over="ignore"):
        half = codebook.astype(np.float16)
    return "float16" if np.array_equal(half, codebook) else "float32"


def _require_opset(model: CompressibleModel, place: Place) -> None:
    root = place.body.root().graph
    opset = find_opset(root) if isinstance(root, FunctionProto) else None
    if opset is not None and opset < MIN_OPSET:
        raise model_error(
            f"cannot make {place.key} of {model.name} portable: its function must import opset "
            f"{MIN_OPSET} or later, got {opset}; exclude it, or export the model at opset "
            f"{MIN_OPSET} or later"
        )
