"""What is inside a compressed model, tensor by tensor, read off the file alone."""

from __future__ import annotations

import dataclasses
import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from wl_onnx.codecs import bloomier, bundle, cells, palette
from wl_onnx.errors import BlobError, InputError, ModelError
from wl_onnx.evaluation.tensor_report import (
    TensorReport,
    analog_fields,
    bundle_fields,
    filter_fields,
    palette_fields,
    parse_errors,
    summarize_file,
    summarize_weights,
)
from wl_onnx.graph import (
    Decoder,
    find_stored,
    find_weights,
    load_model,
    measure_parts,
    measure_tensors,
    read_metadata,
)
from wl_onnx.graph.metadata import PORTABLE_RECORD
from wl_onnx.portable import find_portable, restore_operators

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx
    from onnx import NodeProto

__all__ = ["inspect"]


def inspect(model: str | os.PathLike[str] | onnx.ModelProto) -> dict[str, Any]:
    """The contents of a compressed or portable model, in the form of a compression's report.

    Which of the decoded weights are false positives is not in the file: `lossless_bound_bits`
    takes their number to be the expected one. `epsilon` and `error_share` are those that were
    measured when the model was compressed, None where the file does not have them. `op_types` is
    empty for decoded weights.

    Args:
        model: path of an ONNX file, or a ModelProto. One that is not compressed has no decoded
            weights; its weights are reported as left. Sizes in a portable one are those of the
            tensors that hold its weights.

    Returns:
        `file`, `weights`, `tensors` as in a report, and `metadata`: version, recipe, seed, ...

    Raises:
        ModelError: the model is damaged.
        BlobError: a blob is damaged.
    """
    loaded = load_model(model)
    metadata = read_metadata(loaded)
    tensor_bytes = measure_tensors(loaded)
    portable = {weight.key: weight for weight in find_portable(loaded)}
    parts = measure_parts(loaded, blobs=[t for one in portable.values() for t in one.tensors])
    if portable:
        restore_operators(loaded)
        metadata[PORTABLE_RECORD] = f"{len(portable)} weights"
    decoders = find_stored(loaded)
    errors = parse_errors(metadata.get("errors", ""))
    contents = _Bundles()
    tensors = [_describe(decoder, errors.get(decoder.key), contents) for decoder in decoders]
    if portable:
        tensors = [
            dataclasses.replace(tensor, size_bits=8 * portable[tensor.name].stored_bytes)
            for tensor in tensors
        ]
    tensors += [
        TensorReport(
            name=site.key,
            op_types=site.op_types,
            codec="none",
            shape=site.shape,
            num_weights=site.num_weights,
            original_bits=8 * site.size_bytes,
            size_bits=8 * site.size_bytes,
            reason=site.skip_reason,
        )
        for site in find_weights(loaded)
    ]
    # A bundle has one blob for several tensors.
    blob_bytes = {id(decoder.node): decoder.blob_bytes for decoder in decoders}
    gained_bytes = sum(decoder.size_bytes for decoder in decoders) - sum(blob_bytes.values())
    original_bytes = measure_tensors(loaded) + gained_bytes
    source_bytes = metadata.get("source_bytes", "")
    return {
        "file": summarize_file(int(source_bytes) if _is_size(source_bytes) else None, parts),
        "weights": summarize_weights(original_bytes, tensor_bytes),
        "tensors": [tensor.as_dict() for tensor in tensors],
        "metadata": metadata,
    }


def _is_size(text: str) -> bool:
    return text.isdecimal() and len(text) < 20


class _Bundles:
    """What bundles hold; the last one is kept, as its tensors come one after another."""

    def __init__(self) -> None:
        self._node: NodeProto | None = None
        self._info: bundle.BundleInfo | None = None
        self._weights: list[npt.NDArray[np.float32]] = []

    def describe(self, decoder: Decoder) -> tuple[int, dict[str, Any]]:
        if self._info is None or self._node is not decoder.node:
            sizes = [math.prod(shape) for shape in decoder.bundle_shapes]
            try:
                bundle.check_sizes(decoder.blob, sizes)
            except InputError as error:
                reason = str(error).removeprefix("cannot decode blob: ")
                raise ModelError(f"cannot inspect {decoder.key}: {reason}") from error
            self._node, self._info = decoder.node, bundle.inspect(decoder.blob)
            self._weights = bundle.decode(decoder.blob)
        info = self._info.tensors[decoder.index]
        return info.num_weights, bundle_fields(info, self._weights[decoder.index])


def _describe(
    decoder: Decoder, errors: tuple[float, float] | None, bundles: _Bundles
) -> TensorReport:
    describe = {
        "analog": _describe_cells,
        "bloomier": _describe_filter,
        "bundle": bundles.describe,
        "palette": _describe_palette,
    }[decoder.codec]
    try:
        num_weights, fields = describe(decoder)
    except BlobError as error:
        reason = str(error).removeprefix("cannot read blob: ").removeprefix("cannot decode blob: ")
        raise BlobError(f"cannot inspect {decoder.key}: {reason}") from error
    if num_weights != decoder.num_weights:
        raise ModelError(
            f"cannot inspect {decoder.key}: its blob must hold {decoder.num_weights} weights, "
            f"got {num_weights}"
        )
    return TensorReport(
        name=decoder.key,
        op_types=(),
        codec=decoder.codec,
        shape=decoder.shape,
        num_weights=decoder.num_weights,
        original_bits=8 * decoder.size_bytes,
        epsilon=errors[0] if errors else None,
        error_share=errors[1] if errors else None,
        **fields,
    )


def _describe_cells(decoder: Decoder) -> tuple[int, dict[str, Any]]:
    info = cells.inspect(decoder.blob)
    return info.num_weights, analog_fields(info)


def _describe_palette(decoder: Decoder) -> tuple[int, dict[str, Any]]:
    info = palette.inspect(decoder.blob)
    if info.num_weights != decoder.num_weights:
        return info.num_weights, {}
    codes = palette.decode_codes(decoder.blob, threads=0)
    return info.num_weights, palette_fields(info, np.bincount(codes, minlength=info.num_clusters))


def _describe_filter(decoder: Decoder) -> tuple[int, dict[str, Any]]:
    info = bloomier.inspect(decoder.blob)
    if info.num_weights != decoder.num_weights:
        return info.num_weights, {}
    codes = bloomier.decode_codes(decoder.blob, threads=0)
    counts = np.bincount(codes, minlength=info.num_clusters + 1)[1:].astype(np.float64)
    false_positives = (info.num_weights - info.num_keys) * 2.0 ** -info.lengths.astype(np.float64)
    stored = np.maximum(counts - false_positives, 0)
    stored *= info.num_keys / max(1.0, float(stored.sum()))
    return info.num_weights, filter_fields(info, stored)
