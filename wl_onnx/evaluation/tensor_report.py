"""What a report says about one weight tensor, and what it says about all of them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from wl_onnx.codecs import bloomier, bounds, bundle, cells, palette

if TYPE_CHECKING:
    import numpy.typing as npt

    from wl_onnx.graph import FileParts

__all__ = [
    "TensorReport",
    "analog_fields",
    "bundle_fields",
    "filter_fields",
    "format_errors",
    "palette_fields",
    "parse_errors",
    "summarize_file",
    "summarize_weights",
]


@dataclasses.dataclass(frozen=True)
class TensorReport:
    """One tensor: how it is stored, in how many bits, and beside which bounds.

    Attributes:
        name: the weight's key in the model.
        op_types: operators that use it as a weight.
        codec: "analog", "bloomier", "bundle" or "palette", or "none" where the tensor is left as
            it is.
        shape: dimensions.
        num_weights: number of elements.
        num_nonzero: weights stored as keys, in a palette those that are not zero, in analog cells
            those that have any; of a tensor left as it is, None.
        original_bits: size of the dense tensor.
        size_bits: size of what stands for the tensor: the whole blob, its share of a bundle's
            blob, or the dense tensor.
        information_bound_bits: num_nonzero * bits, what a filter cannot go below; of the layout
            "prefix", the bits of all stored weights' codes; None in others.
        lossless_bound_bits: the entropy of the places and values of the stored weights.
        false_positive_rate: probability that a zero decodes to a centroid: the sum of 2**-bits
            over the centroids.
        epsilon: energy of the false positives over the energy of the weights; None where nothing
            is stored that could have energy.
        sparsity: share of weights that are not stored.
        bits: bits of a cell of a filter; of the layout "prefix", of the longest code.
        clusters: number of centroids.
        layout: "ribbon", "xor" or "prefix", of a filter.
        hash: "tabulation" or "murmur3", of a filter.
        error_share: energy of the whole error over that of the weights, as measured after
            encoding; None where the original is not at hand.
        meets_share: whether an automatic choice keeps within the recipe's error_share; None where
            nothing was left to choose.
        predicted_damage: the loss that calibration predicts of the error; None without data.
        tried: by codec, size and predicted loss of what was weighed against each other, "palette"
            for what is lossless, bundles among it; what was not chosen as it is predicted. None
            without data.
        cells: analog cells; None of other codecs.
        noise_share: expected energy of the errors of a read over that of the weights; None of other
            codecs, and where it is not known.
        digital_bits: bits beside the cells that must not be noisy: scales, intervals, labels; None
            of other codecs.
        reason: why the tensor is left as it is; None where it is not.
    """

    name: str
    op_types: tuple[str, ...]
    codec: str
    shape: tuple[int, ...]
    num_weights: int
    original_bits: int
    size_bits: int
    num_nonzero: int | None = None
    information_bound_bits: int | None = None
    lossless_bound_bits: float | None = None
    false_positive_rate: float | None = None
    epsilon: float | None = None
    sparsity: float | None = None
    bits: int | None = None
    clusters: int | None = None
    layout: str | None = None
    hash: str | None = None
    error_share: float | None = None
    meets_share: bool | None = None
    predicted_damage: float | None = None
    tried: dict[str, dict[str, float]] | None = None
    cells: int | None = None
    digital_bits: int | None = None
    noise_share: float | None = None
    reason: str | None = None

    @property
    def ratio(self) -> float:
        """Dense size over stored size."""
        return self.original_bits / max(1, self.size_bits)

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return dataclasses.asdict(self)


def analog_fields(info: cells.CellInfo) -> dict[str, Any]:
    """The fields of a `TensorReport` that a tensor in analog cells gives.

    Args:
        info: what the blob says of itself.
    """
    return {
        "num_nonzero": info.num_stored,
        "size_bits": 8 * info.size_bytes,
        "sparsity": 1 - info.num_stored / info.num_weights,
        "cells": info.num_cells,
        "digital_bits": info.digital_bits,
    }


def filter_fields(info: bloomier.BlobInfo, stored_counts: npt.ArrayLike) -> dict[str, Any]:
    """The fields of a `TensorReport` that a filter's header and its centroids' usage give.

    Args:
        info: the blob's header.
        stored_counts: numbers [num_clusters], how many stored weights each centroid stands for.
    """
    if info.layout == "prefix":
        information_bound_bits = bounds.information_bound_bits(stored_counts, info.lengths)
    else:
        information_bound_bits = bounds.information_bound_bits(info.num_keys, info.bits)
    return {
        "num_nonzero": info.num_keys,
        "size_bits": 8 * info.size_bytes,
        "information_bound_bits": information_bound_bits,
        "lossless_bound_bits": bounds.lossless_bound_bits(info.num_weights, stored_counts),
        "false_positive_rate": bounds.false_positive_rate(info.num_clusters, info.lengths),
        "sparsity": 1 - info.num_keys / info.num_weights,
        "bits": info.bits,
        "clusters": info.num_clusters,
        "layout": info.layout,
        "hash": info.hash,
    }


def palette_fields(info: palette.PaletteInfo, counts: npt.ArrayLike) -> dict[str, Any]:
    """The fields of a `TensorReport` that a palette and its centroids' usage give.

    Args:
        info: what the blob says of itself.
        counts: numbers [num_clusters], how many weights each centroid stands for.
    """
    stored_counts = np.asarray(counts)[info.codebook != 0]
    num_nonzero = int(stored_counts.sum())
    return {
        "num_nonzero": num_nonzero,
        "size_bits": 8 * info.size_bytes,
        "lossless_bound_bits": bounds.lossless_bound_bits(info.num_weights, stored_counts),
        "false_positive_rate": 0.0,
        "sparsity": 1 - num_nonzero / info.num_weights,
        "clusters": info.num_clusters,
    }


def bundle_fields(
    info: bundle.BundleTensorInfo, weights: npt.NDArray[np.float32]
) -> dict[str, Any]:
    """The fields of a `TensorReport` that a tensor of a bundle gives.

    Args:
        info: what the blob says of the tensor.
        weights: float32 [num_weights], what it decodes to.
    """
    values, counts = np.unique(weights, return_counts=True)
    stored_counts = counts[values != 0]
    num_nonzero = int(stored_counts.sum())
    return {
        "num_nonzero": num_nonzero,
        "size_bits": info.size_bits,
        "lossless_bound_bits": bounds.lossless_bound_bits(info.num_weights, stored_counts),
        "false_positive_rate": 0.0,
        "sparsity": 1 - num_nonzero / info.num_weights,
        "clusters": values.size,
    }


def format_errors(tensors: Iterable[TensorReport]) -> str:
    """The measured errors of the encoded tensors as JSON: `{name: [epsilon, error_share]}`.

    They go into the model, for neither can be told from the decoded weights alone.
    """
    errors = {
        tensor.name: [float(f"{tensor.epsilon:.6g}"), float(f"{tensor.error_share:.6g}")]
        for tensor in tensors
        if tensor.epsilon is not None and tensor.error_share is not None
    }
    return json.dumps(errors, separators=(",", ":"))


def parse_errors(text: str) -> dict[str, tuple[float, float]]:
    """What `format_errors` wrote; anything else is passed over."""
    try:
        errors = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(errors, dict):
        return {}
    return {
        name: (float(pair[0]), float(pair[1]))
        for name, pair in errors.items()
        if isinstance(pair, list)
        and len(pair) == 2
        and all(type(number) in (int, float) and math.isfinite(number) for number in pair)
    }


def summarize_file(original_bytes: int | None, parts: FileParts) -> dict[str, int | None]:
    """The report's `file`: all bytes of both models, and what those of the smaller one are.

    Args:
        original_bytes: of the original; None where it is not known.
        parts: of the compressed model; they add up to `compressed_bytes`.
    """
    parts_bytes = dataclasses.asdict(parts)
    return {
        "original_bytes": original_bytes,
        "compressed_bytes": sum(parts_bytes.values()),
        **parts_bytes,
    }


def summarize_weights(original_bytes: int, compressed_bytes: int) -> dict[str, float | int]:
    """The report's `weights`: all initializers of the original against all that stands for them.

    Args:
        original_bytes: of all tensors before.
        compressed_bytes: of all tensors after, blobs among them.
    """
    return {
        "original_bytes": original_bytes,
        "compressed_bytes": compressed_bytes,
        "ratio": original_bytes / max(1, compressed_bytes),
    }
