"""What a report tells, as numbers: nothing here knows how it is drawn."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from wl_onnx.report.sweep_facts import Sweep

__all__ = [
    "CODEBOOK",
    "DENSE",
    "OVERHEAD",
    "WEIGHTS",
    "FileFacts",
    "Histogram",
    "Report",
    "TensorFacts",
    "WeightMap",
]

WEIGHTS = "weights"
CODEBOOK = "codebook"
OVERHEAD = "overhead"
DENSE = "dense"


@dataclasses.dataclass(frozen=True)
class FileFacts:
    """A model's file.

    Attributes:
        name: without its folder.
        size_bytes: with external data.
        tensor_bytes: of all initializers and blobs.
        sha256: of the file, without external data; in hex.
    """

    name: str
    size_bytes: int
    tensor_bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class TensorFacts:
    """One tensor: what stands for it, and beside which bounds.

    Attributes:
        name: the weight's key in the model.
        codec: "analog", "bloomier", "bundle" or "palette", or "none" where it is left as it is.
        shape: dimensions.
        original_shape: dimensions before; None where the original has no tensor of this name.
        num_weights: number of elements.
        original_bytes: of the dense tensor, before.
        size_bits: of what stands for it.
        parts: bytes by what they are: `WEIGHTS` (tables, codes, levels), `CODEBOOK` (centroids
            and frequencies), `OVERHEAD` (headers, checksums) or `DENSE`. They add up to size_bits.
        information_bound_bits: what no filter can go below; None of other codecs.
        lossless_bound_bits: entropy of places and values; None where it is not known.
        num_nonzero: weights that are stored, in a palette those that are not zero; None where the
            tensor is left.
        sparsity: share of the others; None likewise.
        clusters: number of centroids, or None.
        bits: bits of a cell of a filter, or None.
        layout: of a filter, or None.
        epsilon: energy of false positives over that of the weights, or None.
        error_share: energy of the whole error over that of the weights, or None.
        false_positives: zeros that decode to a centroid, counted; None of other codecs.
        cells: analog cells, or None.
        digital_bits: bits beside analog cells, or None.
        reason: why the tensor is left as it is, or None.
    """

    name: str
    codec: str
    shape: tuple[int, ...]
    original_shape: tuple[int, ...] | None
    num_weights: int
    original_bytes: int
    size_bits: int
    parts: Mapping[str, float]
    information_bound_bits: int | None
    lossless_bound_bits: float | None
    num_nonzero: int | None
    sparsity: float | None
    clusters: int | None
    bits: int | None
    layout: str | None
    epsilon: float | None
    error_share: float | None
    false_positives: int | None
    cells: int | None
    digital_bits: int | None
    reason: str | None

    @property
    def size_bytes(self) -> float:
        """Bytes of what stands for the tensor."""
        return self.size_bits / 8


@dataclasses.dataclass(frozen=True)
class Histogram:
    """The values of one tensor before and after.

    Attributes:
        name: the weight's key.
        num_weights: after.
        edges: floats [bins + 1], of the bins of both counts.
        before: integers [bins], or None where the original has no tensor of this name.
        after: integers [bins].
        levels: floats [n], the different values after; None where there are too many.
        level_counts: integers [n], how many weights have each; None likewise.
        codec: of the tensor.
    """

    name: str
    num_weights: int
    edges: npt.NDArray[np.float64]
    before: npt.NDArray[np.int64] | None
    after: npt.NDArray[np.int64]
    levels: npt.NDArray[np.float64] | None
    level_counts: npt.NDArray[np.int64] | None
    codec: str


@dataclasses.dataclass(frozen=True)
class WeightMap:
    """A weight matrix as a picture: of what a filter gives, or of the error of another codec.

    Attributes:
        name: the weight's key.
        kind: "filter" or "error".
        is_known: of a filter, whether the original tells which weights are false positives.
        is_certain: whether it tells so for sure: all of the largest weights are stored.
        counts: weights by "zero", "stored" and "false_positive"; of a filter, of the whole tensor.
        rows: of the matrix.
        columns: of the matrix.
        block: a pixel stands for so many rows and columns.
        is_transposed: whether rows of the picture are columns of the matrix.
        spots: where false positives are, as shares (from the left, from the top) of the picture;
            empty where they are many, and seen without.
        width: of the picture as shown, in pixels.
        height: of the picture as shown, in pixels.
        png: the picture.
        codec: of the weight.
        peak: of an error, what the strongest colour stands for and all above it, over the root
            mean square of the weights.
    """

    name: str
    kind: str
    is_known: bool
    is_certain: bool
    counts: Mapping[str, int]
    rows: int
    columns: int
    block: int
    is_transposed: bool
    spots: tuple[tuple[float, float], ...]
    width: int
    height: int
    png: bytes
    codec: str
    peak: float = 0.0


@dataclasses.dataclass(frozen=True)
class Report:
    """All that the page says.

    Attributes:
        original: the model before.
        compressed: the model after.
        file_parts: bytes of the compressed file: `blob_bytes`, `initializer_bytes`, `graph_bytes`.
        tensors: each weight, the largest size first.
        cells_per_weight: of a model in analog cells, else None.
        histograms: of the largest layers.
        weight_map: of the largest layer that there is something to show of, or None.
        comparison: what `wl_onnx.evaluation.compare` gives.
        data_name: the file of the inputs; None where they were drawn.
        seed: of what was drawn.
        sweep: accuracy by time, or None.
        is_portable: whether standard operators decode the weights.
        metadata: what the compressed file says of itself, texts by name.
        versions: of what made this report, by name.
        machine: what times and memory were measured on.
    """

    original: FileFacts
    compressed: FileFacts
    file_parts: Mapping[str, int]
    tensors: tuple[TensorFacts, ...]
    cells_per_weight: float | None
    histograms: tuple[Histogram, ...]
    weight_map: WeightMap | None
    comparison: Mapping[str, Any]
    data_name: str | None
    seed: int
    sweep: Sweep | None
    is_portable: bool
    metadata: Mapping[str, str]
    versions: Mapping[str, str]
    machine: str
