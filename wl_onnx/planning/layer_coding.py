"""One layer's weight, coded for least damage plus lambda times its bits."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from wl_onnx.codecs import bundle, palette
from wl_onnx.codecs.bundle import BundleTensor
from wl_onnx.evaluation.tensor_report import palette_fields
from wl_onnx.planning.layer_filter import code_filter, predict_filter
from wl_onnx.planning.layer_problem import (
    CodedLayer,
    LayerProblem,
    LayerSettings,
    choose_codebook_type,
    round_step,
)
from wl_onnx.planning.palette import row_lengths
from wl_onnx.simplify.compensate import (
    choose_step,
    damp,
    quantize_layer,
    refit_codebook,
    uniform_codebook,
)

if TYPE_CHECKING:
    from wl_onnx.recipe import Recipe

__all__ = ["LayerCoder", "Quantized", "code_layer", "code_quantized", "quantize_problem"]

Float64 = npt.NDArray[np.float64]

# Levels to either side of 0, and how many weights a tensor of a bundle has at most: bundles decode
# a hundred times slower than palettes.
_MAX_LEVEL = 511
_MAX_BUNDLED = 1 << 16
# Header and checksum, which a bundle has once for all tensors.
_FRAME_BYTES = 32


class LayerCoder(Protocol):
    """Codes one layer; `code_layer` is one."""

    def __call__(
        self, problem: LayerProblem, settings: LayerSettings, recipe: Recipe, *, threads: int
    ) -> CodedLayer:
        """See `code_layer`."""


@dataclasses.dataclass(frozen=True)
class Quantized:
    """A layer's weight as multiples of a step.

    Attributes:
        codes: indices into the codebook, `[num_groups, num_rows, k]`.
        codebook: float64, ascending, with 0 in it.
        step: the distance of neighbouring centroids.
    """

    codes: npt.NDArray[np.int32]
    codebook: Float64
    step: float


def code_layer(
    problem: LayerProblem, settings: LayerSettings, recipe: Recipe, *, threads: int = 0
) -> CodedLayer:
    """Codes a layer's weight with the codec of the settings, or with the better one.

    Args:
        problem: what the weight is to come close to.
        settings: how.
        recipe: of filters the layout, hash and seed; how centroids are stored.
        threads: threads to use; 0 means one for each core. The result does not depend on it.
    """
    quantized = quantize_problem(problem, settings, threads=threads)
    return code_quantized(problem, quantized, settings, recipe, threads=threads)


def code_quantized(
    problem: LayerProblem,
    quantized: Quantized,
    settings: LayerSettings,
    recipe: Recipe,
    *,
    threads: int = 0,
) -> CodedLayer:
    """As `code_layer`, of a weight that is quantised already.

    Args:
        problem: what the weight is to come close to.
        quantized: what `quantize_problem` gave for it.
        settings: how it is coded.
        recipe: as of `code_layer`.
        threads: threads to use; 0 means one for each core. The result does not depend on it.
    """
    codes, codebook, step = quantized.codes, quantized.codebook, quantized.step
    coded = {}
    if settings.codec != "bloomier":
        coded["palette"] = _code_lossless(problem, settings, codes, codebook, step, threads)
    is_empty = codebook.size == 1  # nothing to store: a palette takes next to nothing
    if settings.codec == "bloomier" or (settings.codec == "auto" and not is_empty):
        predicted = predict_filter(problem, settings.lam, codes, codebook, recipe)
        coded["bloomier"] = predicted
        if "palette" not in coded or predicted.cost(settings.lam) < coded["palette"].cost(
            settings.lam
        ):
            coded["bloomier"] = code_filter(
                problem, settings, codes, codebook, recipe, threads=threads
            )
    best = min(coded.values(), key=lambda one: one.cost(settings.lam))
    tried = {name: (one.size_bits, one.damage) for name, one in coded.items()}
    return dataclasses.replace(best, tried=tried)


def quantize_problem(
    problem: LayerProblem, settings: LayerSettings, *, threads: int = 0
) -> Quantized:
    """Quantises a layer's weight for least damage plus lambda times its bits.

    Args:
        problem: what the weight is to come close to.
        settings: lambda, step and damping.
        threads: threads to use; 0 means one for each core.
    """
    largest = float(np.abs(problem.target).max())
    step = choose_step(
        problem.covariance,
        settings.lam,
        row_weights=problem.row_weights,
        ratio=settings.step_ratio,
        damping=settings.damping,
    )
    if largest:
        step = min(max(step, largest / _MAX_LEVEL), 2 * largest)
    step = round_step(step)
    quantization = quantize_layer(
        problem.target,
        problem.covariance,
        lam=settings.lam,
        codebook=uniform_codebook(problem.target, step, _MAX_LEVEL),
        row_weights=problem.row_weights,
        damping=settings.damping,
        refit=False,
        threads=threads,
    )
    return Quantized(quantization.codes, quantization.codebook, step)


def _code_lossless(
    problem: LayerProblem,
    settings: LayerSettings,
    codes: npt.NDArray[np.int32],
    codebook: Float64,
    step: float,
    threads: int,
) -> CodedLayer:
    """A palette or a part of a bundle, whose centroids are at even distances or fitted."""
    fitted = refit_codebook(
        problem.target,
        damp(problem.covariance, settings.damping),
        codes,
        codebook,
        row_weights=problem.row_weights,
        threads=threads,
    )
    choices = [_code_step(problem, codes, codebook, step, threads)]
    if choose_codebook_type(fitted) == "float16":
        half = fitted.astype(np.float16)
        choices.append(_code_codebook(problem, codes, half, threads))
    return min(choices, key=lambda one: one.cost(settings.lam))


def _code_step(
    problem: LayerProblem,
    codes: npt.NDArray[np.int32],
    codebook: Float64,
    step: float,
    threads: int,
) -> CodedLayer:
    """Multiples of a step that is scaled so that the damage is least."""
    levels = np.rint(codebook / step).astype(np.int64)[codes]
    product = (levels @ problem.covariance) * problem.row_weights[:, :, None]
    energy = float((product * levels).sum())
    if energy > 0:
        scaled = float((product * problem.target).sum()) / energy
        step = round_step(scaled) if scaled > 0 else step
    low, high = int(levels.min()), int(levels.max())
    even = np.arange(low, high + 1) * step
    natural = problem.to_natural(levels)
    tensor = BundleTensor(
        levels=natural,
        step=step,
        row_length=problem.row_length,
    )
    values: Float64 = levels * np.float64(step)
    return _choose_container(problem, natural - low, even, tensor, values, threads)


def _code_codebook(
    problem: LayerProblem,
    codes: npt.NDArray[np.int32],
    fitted: npt.NDArray[np.float16],
    threads: int,
) -> CodedLayer:
    """Centroids of their own."""
    zero = int(np.flatnonzero(fitted == 0)[0])
    natural = problem.to_natural(codes)
    tensor = BundleTensor(
        levels=natural - zero,
        codebook=fitted,
        zero_index=zero,
        row_length=problem.row_length,
    )
    values = fitted.astype(np.float64)[codes]
    return _choose_container(problem, natural, fitted, tensor, values, threads)


def _choose_container(
    problem: LayerProblem,
    codes: npt.NDArray[np.int64],
    codebook: npt.NDArray[np.floating],
    tensor: BundleTensor,
    values: Float64,
    threads: int,
) -> CodedLayer:
    site = problem.layer.site
    blob = palette.encode(
        codes.astype(np.uint16),
        codebook=codebook,
        row_length=row_lengths(site.shape),
        codebook_type=choose_codebook_type(codebook),
        threads=threads,
    )
    info = palette.inspect(blob)
    counts = np.bincount(codes, minlength=info.num_clusters)
    fields = palette_fields(info, counts)
    size_bits = 8 * len(blob)
    if site.num_weights <= _MAX_BUNDLED and not site.scope:
        alone_bits = 8 * (len(bundle.encode([tensor])) - _FRAME_BYTES)
        if alone_bits < size_bits:
            return _finish(problem, "bundle", b"", tensor, alone_bits, values, fields)
    values = info.codebook.astype(np.float64)[problem.to_matrices(codes)]
    return _finish(problem, "palette", blob, None, size_bits, values, fields)


def _finish(
    problem: LayerProblem,
    codec: str,
    blob: bytes,
    tensor: BundleTensor | None,
    size_bits: int,
    values: Float64,
    fields: dict[str, Any],
) -> CodedLayer:
    fields = {**fields, **problem.measure_error(values), "epsilon": 0.0}
    damage = problem.measure(values)
    return CodedLayer(codec, blob, tensor, size_bits, values, damage, fields)
