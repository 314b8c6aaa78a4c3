"""Trained tensors in the form in which they are stored, in their graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wl_onnx.codecs import bundle, palette
from wl_onnx.codecs.bundle import MAX_BUNDLE_WEIGHTS, BundleTensor
from wl_onnx.evaluation.tensor_report import palette_fields
from wl_onnx.finetune.levels import Levels
from wl_onnx.planning.assembly import Assembly, assemble
from wl_onnx.planning.layer_problem import CodedLayer
from wl_onnx.planning.palette import row_lengths
from wl_onnx.planning.sequence import CodedLayers

if TYPE_CHECKING:
    import numpy.typing as npt

    from wl_onnx.finetune.filter_coding import FilteredWeight
    from wl_onnx.finetune.trained_tensors import TrainedTensor
    from wl_onnx.graph import CompressibleModel
    from wl_onnx.recipe import Recipe

__all__ = ["measure_levels", "pack", "to_bundle_tensor"]

# Weights that a bundle of trained tensors may have: it decodes some ten million a second.
_MAX_BUNDLED = min(MAX_BUNDLE_WEIGHTS, 1 << 20)


def to_bundle_tensor(tensor: TrainedTensor) -> BundleTensor:
    """A tensor that is used as levels, as a part of a bundle."""
    treatment = tensor.treatment
    assert isinstance(treatment, Levels)  # noqa: S101  the caller's own error
    return BundleTensor(
        levels=tensor.read_levels().reshape(-1), step=treatment.step, row_length=tensor.row_length
    )


def measure_levels(tensors: Sequence[TrainedTensor], *, threads: int = 0) -> dict[str, int]:
    """Bits of each tensor without loss, coded as `pack` does it.

    Args:
        tensors: used as levels, all of them.
        threads: threads to use; 0 means one for each core.
    """
    bits = {}
    together = list(tensors)
    if not _fits_in_bundle(tensors):
        bits = {one.key: 8 * len(_encode_palette(one, threads)) for one in tensors if one.is_weight}
        together = [one for one in tensors if not one.is_weight]
    if together:
        parts = bundle.inspect(bundle.encode([to_bundle_tensor(one) for one in together])).tensors
        bits.update({one.key: part.size_bits for one, part in zip(together, parts, strict=True)})
    return bits


def pack(
    model: CompressibleModel,
    tensors: Sequence[TrainedTensor],
    filters: Mapping[str, FilteredWeight],
    lossless_bits: Mapping[str, int],
    recipe: Recipe,
) -> Assembly:
    """What takes the place of the tensors in their graph.

    Small models become one bundle, weights of large ones palettes; those in a filter stay in it.

    Args:
        model: the graph with the trained values in it.
        tensors: those that were trained; each in a filter, or used as levels.
        filters: by weight key.
        lossless_bits: by key of a weight in a filter, what its levels take without loss.
        recipe: which tensors are selected; how centroids are stored.
    """
    plain = [one for one in tensors if one.key not in filters]
    is_small = _fits_in_bundle(plain)
    layers: dict[str, CodedLayer] = {}
    biases: dict[str, BundleTensor] = {}
    for one in tensors:
        if one.key in filters:
            layers[one.key] = _code_filter(one, filters[one.key], lossless_bits[one.key])
        elif not one.is_weight:
            biases[one.key] = to_bundle_tensor(one)
        elif is_small:
            layers[one.key] = _code_part(one)
        else:
            layers[one.key] = _code_palette(one, recipe)
    return assemble(model, CodedLayers({}, layers, biases), recipe, {})


def _code_filter(one: TrainedTensor, filtered: FilteredWeight, lossless_bits: int) -> CodedLayer:
    size_bits = 8 * len(filtered.blob)
    tried = {"bloomier": (size_bits, 0.0), "palette": (lossless_bits, 0.0)}
    return CodedLayer(
        "bloomier", filtered.blob, None, size_bits, _values(one), 0.0, filtered.describe(), tried
    )


def _code_part(one: TrainedTensor) -> CodedLayer:
    fields: dict[str, Any] = {"error_share": 0.0}
    return CodedLayer("bundle", b"", to_bundle_tensor(one), 0, _values(one), 0.0, fields)


def _code_palette(one: TrainedTensor, recipe: Recipe) -> CodedLayer:
    blob = _encode_palette(one, recipe.threads)
    info = palette.inspect(blob)
    counts = np.bincount(_to_codes(one.read_levels()), minlength=info.num_clusters)
    fields = {**palette_fields(info, counts), "epsilon": 0.0, "error_share": 0.0}
    return CodedLayer("palette", blob, None, 8 * len(blob), _values(one), 0.0, fields)


def _encode_palette(one: TrainedTensor, threads: int) -> bytes:
    treatment = one.treatment
    assert isinstance(treatment, Levels)  # noqa: S101  as of all tensors without a filter
    levels = one.read_levels().reshape(-1)
    codebook = np.arange(levels.min(), levels.max() + 1) * np.float64(treatment.step)
    return palette.encode(
        _to_codes(levels),
        codebook=codebook,
        row_length=row_lengths(one.shape),
        codebook_type=_find_exact_type(codebook),
        threads=threads,
    )


def _to_codes(levels: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
    """Of each weight the index of its centroid: centroids are all levels from least to greatest."""
    codes: npt.NDArray[np.uint16] = (levels - levels.min()).astype(np.uint16)
    return codes.reshape(-1)


def _fits_in_bundle(tensors: Sequence[TrainedTensor]) -> bool:
    return sum(one.num_weights for one in tensors) <= _MAX_BUNDLED


def _find_exact_type(codebook: npt.NDArray[np.float64]) -> str:
    with np.errstate(over="ignore"):
        is_exact = bool((codebook.astype(np.float16).astype(np.float64) == codebook).all())
    return "float16" if is_exact else "float32"


def _values(one: TrainedTensor) -> npt.NDArray[np.float64]:
    return one.read_values().astype(np.float64)
