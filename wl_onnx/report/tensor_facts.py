"""The sizes of each tensor: what its bytes are, its bounds, and its false positives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wl_onnx.codecs import bloomier, palette
from wl_onnx.graph import (
    CompressibleModel,
    Decoder,
    Parameter,
    WeightSite,
    find_parameters,
    find_weights,
)
from wl_onnx.report.facts import CODEBOOK, DENSE, OVERHEAD, WEIGHTS, TensorFacts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Dense", "describe_tensors", "find_dense", "find_nonzero_codes"]

_FRAME_BYTES = 16 + 16  # magic, version, number of weights; checksum
_FILTER_HEADER_BYTES = 20
_FILTER_BLOCK_BYTES = 7
_PALETTE_HEADER_BYTES = 4

Dense = WeightSite | Parameter
"""A tensor of the original that may have become a node."""


def find_dense(original: CompressibleModel) -> dict[str, Dense]:
    """The tensors of a model that is not compressed that may have become nodes, by key."""
    parameters: dict[str, Dense] = {one.key: one for one in find_parameters(original)}
    return parameters | {site.key: site for site in find_weights(original)}


def find_nonzero_codes(decoder: Decoder) -> npt.NDArray[np.bool_]:
    """Of a filter: bool [n], whether a weight decodes to a centroid."""
    return np.asarray(bloomier.decode_codes(decoder.blob, threads=0) != 0)


def describe_tensors(
    reports: Iterable[Mapping[str, Any]],
    decoders: Iterable[Decoder],
    dense: Mapping[str, Dense],
    *,
    is_portable: bool = False,
) -> tuple[TensorFacts, ...]:
    """All tensors, the largest size first.

    Args:
        reports: the `tensors` of `wl_onnx.evaluation.inspect`.
        decoders: all of the compressed model.
        dense: tensors of the original by key.
        is_portable: whether the sizes are those of a portable file, which has no blobs.
    """
    by_key = {decoder.key: decoder for decoder in decoders}
    tensors = [
        _describe(
            report,
            by_key.get(report["name"]) if report["codec"] != "none" else None,
            dense.get(report["name"]),
            is_portable=is_portable,
        )
        for report in reports
    ]
    return tuple(sorted(tensors, key=lambda tensor: (-tensor.size_bits, tensor.name)))


def _describe(
    report: Mapping[str, Any], decoder: Decoder | None, dense: Dense | None, *, is_portable: bool
) -> TensorFacts:
    size_bytes = report["size_bits"] / 8
    parts, false_positives = {DENSE: size_bytes}, None
    if decoder is not None:
        parts = {WEIGHTS: size_bytes} if is_portable else _split(decoder, size_bytes)
        if decoder.codec == "bloomier":
            num_centroids = int(find_nonzero_codes(decoder).sum())
            false_positives = max(0, num_centroids - report["num_nonzero"])
    copied = (
        "name", "codec", "num_weights", "size_bits", "information_bound_bits",
        "lossless_bound_bits", "num_nonzero", "sparsity", "clusters", "bits", "layout", "epsilon",
        "error_share", "cells", "digital_bits", "reason",
    )  # fmt: skip
    return TensorFacts(
        shape=tuple(report["shape"]),
        original_shape=None if dense is None else dense.shape,
        original_bytes=report["original_bits"] // 8 if dense is None else dense.size_bytes,
        parts=parts,
        false_positives=false_positives,
        **{name: report[name] for name in copied},
    )


def _split(decoder: Decoder, size_bytes: float) -> dict[str, float]:
    """The bytes of what stands for a weight by what they are; FORMAT.md has the fields."""
    if decoder.codec == "bloomier":
        info = bloomier.inspect(decoder.blob)
        codebook = np.dtype(info.codebook_type).itemsize * info.num_clusters
        overhead = _FRAME_BYTES + _FILTER_HEADER_BYTES
        if info.layout == "prefix":
            overhead += (info.num_clusters + 1) // 2
            overhead += (4 + 3 * np.unique(info.lengths).size) * info.num_blocks
        else:
            overhead += _FILTER_BLOCK_BYTES * info.num_blocks
    elif decoder.codec == "palette":
        contents = palette.inspect(decoder.blob)
        codebook = contents.codebook_bytes + contents.model_bytes
        overhead = _FRAME_BYTES + _PALETTE_HEADER_BYTES
    else:  # a bundle learns as it goes, and what a simulation of cells holds is no memory's
        return {WEIGHTS: size_bytes}
    return {WEIGHTS: size_bytes - codebook - overhead, CODEBOOK: codebook, OVERHEAD: overhead}
