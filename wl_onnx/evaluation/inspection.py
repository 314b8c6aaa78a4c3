"""What is inside a compressed model, tensor by tensor, read off the file alone."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from wl_onnx.codecs import bloomier, bounds
from wl_onnx.errors import BlobError, ModelError
from wl_onnx.evaluation.tensor_report import TensorReport, filter_fields, summarize_weights
from wl_onnx.graph import (
    Decoder,
    find_decoders,
    find_weights,
    load_model,
    measure_file,
    measure_tensors,
    read_metadata,
)

if TYPE_CHECKING:
    import onnx

__all__ = ["inspect"]


def inspect(model: str | os.PathLike[str] | onnx.ModelProto) -> dict[str, Any]:
    """The contents of a compressed model, in the form of a compression's report.

    Which of the decoded weights are false positives is not in the file. Their number is taken to
    be the expected one, so that `lossless_bound_bits` and `epsilon` are estimates here, and
    `error_share` is None. `op_types` is empty for decoded weights.

    Args:
        model: path of an ONNX file, or a ModelProto. One that is not compressed has no decoded
            weights; its weights are reported as left.

    Returns:
        `file`, `weights`, `tensors` as in a report, and `metadata`: version, recipe, seed, ...

    Raises:
        ModelError: the model is damaged.
        BlobError: a blob is damaged.
    """
    loaded = load_model(model)
    decoders = find_decoders(loaded)
    metadata = read_metadata(loaded)
    tensors = [_describe(decoder) for decoder in decoders]
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
    known_bytes = sum(tensor.size_bits // 8 for tensor in tensors)
    other_bytes = max(0, measure_tensors(loaded) - known_bytes)
    source_bytes = metadata.get("source_bytes", "")
    return {
        "file": {
            "original_bytes": int(source_bytes) if _is_size(source_bytes) else None,
            "compressed_bytes": measure_file(loaded),
        },
        "weights": summarize_weights(tensors, other_bytes),
        "tensors": [tensor.as_dict() for tensor in tensors],
        "metadata": metadata,
    }


def _is_size(text: str) -> bool:
    return text.isdecimal() and len(text) < 20


def _describe(decoder: Decoder) -> TensorReport:
    try:
        info = bloomier.inspect(decoder.blob)
    except BlobError as error:
        reason = str(error).removeprefix("cannot read blob: ")
        raise BlobError(f"cannot inspect {decoder.key}: {reason}") from error
    if info.num_weights != decoder.num_weights:
        raise ModelError(
            f"cannot inspect {decoder.key}: its blob must hold {decoder.num_weights} weights, "
            f"got {info.num_weights}"
        )
    codes = bloomier.decode_codes(decoder.blob, threads=0)
    counts = np.bincount(codes, minlength=info.num_clusters + 1)[1:].astype(np.float64)
    false_positives = (info.num_weights - info.num_keys) * 2.0**-info.bits
    stored = np.maximum(counts - false_positives, 0)
    stored *= info.num_keys / max(1.0, float(stored.sum()))
    squares = info.codebook.astype(np.float64) ** 2
    weight_energy = float((stored * squares).sum())
    wrong_energy = bounds.expected_false_positive_energy(
        info.num_weights, info.num_keys, info.codebook, info.bits
    )
    epsilon = bounds.epsilon(wrong_energy, weight_energy)
    return TensorReport(
        name=decoder.key,
        op_types=(),
        codec="bloomier",
        shape=decoder.shape,
        num_weights=decoder.num_weights,
        original_bits=8 * decoder.size_bytes,
        epsilon=epsilon if math.isfinite(epsilon) else None,  # JSON knows no infinity
        **filter_fields(info, stored),
    )
