"""A layer's weight in a Bloomier filter, whose false positives are known and made up for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wl_onnx.codecs import bloomier, bounds
from wl_onnx.evaluation.tensor_report import filter_fields
from wl_onnx.planning.encoding import encode_filter
from wl_onnx.planning.layer_problem import CodedLayer, choose_codebook_type
from wl_onnx.simplify.compensate import damp, refit_codebook

if TYPE_CHECKING:
    from wl_onnx.planning.layer_problem import LayerProblem, LayerSettings
    from wl_onnx.recipe import Recipe

__all__ = ["code_filter", "predict_filter"]

Float64 = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]

# Cells of a table for each key, of the layouts; measured at 100,000 keys.
_CELLS = {"ribbon": 1.02, "prefix": 1.02, "xor": 1.24}
_MAX_BITS = 16


def predict_filter(
    problem: LayerProblem, lam: float, codes: Codes, codebook: Float64, recipe: Recipe
) -> CodedLayer:
    """What a filter would take and do, without one being made.

    Args:
        problem: what the weight is to come close to.
        lam: loss that a bit may cost.
        codes: indices into the codebook, as matrices; zeros are not stored.
        codebook: ascending, with 0 in it.
        recipe: its layout.
    """
    counts, centroids, exposure = _count(problem, codes, codebook)
    lengths = _choose_lengths(counts, centroids, exposure, lam, recipe.table_layout)
    rates = 2.0 ** -lengths.astype(np.float64)  # as integers they have no sign
    false_positives = float((rates * centroids**2).sum()) * exposure
    values = codebook[codes]
    size_bits = int(_CELLS[recipe.table_layout] * float((counts * lengths).sum())) + 1
    damage = problem.measure(values) + false_positives
    return CodedLayer("bloomier", b"", None, size_bits, values, damage, {})


def code_filter(
    problem: LayerProblem,
    settings: LayerSettings,
    codes: Codes,
    codebook: Float64,
    recipe: Recipe,
    *,
    threads: int = 0,
) -> CodedLayer:
    """Makes the filter, and refits its centroids by what they do to the layer's output.

    Args:
        problem: what the weight is to come close to.
        settings: lambda and damping are used.
        codes: indices into the codebook, as matrices; zeros are not stored.
        codebook: ascending, with 0 in it.
        recipe: layout, hash, seed and how centroids are stored.
        threads: threads to use; 0 means one for each core.

    Raises:
        EncodeError: no filter exists for the keys with the hash that the recipe names.
    """
    if codebook.size == 1:
        codebook = np.array([0.0, 1.0])  # a filter has a centroid even where nothing is stored
    counts, centroids, exposure = _count(problem, codes, codebook)
    lengths = _choose_lengths(counts, centroids, exposure, settings.lam, recipe.table_layout)
    zero = int(np.flatnonzero(codebook == 0)[0])
    natural = problem.to_natural(codes)
    indices = np.flatnonzero(natural != zero)
    stored = natural[indices]
    stored = (stored - (stored > zero)).astype(np.uint16)
    codebook_type = recipe.codebook
    if codebook_type == "float16":
        codebook_type = choose_codebook_type(codebook)
    blob = encode_filter(
        problem.layer.site.key,
        recipe,
        threads,
        indices=indices.astype(np.uint32),
        values=stored,
        num_weights=natural.size,
        codebook=centroids,
        bits=lengths if recipe.table_layout == "prefix" else int(lengths.max(initial=1)),
        codebook_type=codebook_type,
    )
    decoded = problem.to_matrices(bloomier.decode_codes(blob, threads=threads)).astype(np.int32)
    # Codes of a filter are 0 for zeros; centroids ascend with 0 put back among them.
    order = np.concatenate([[zero], np.delete(np.arange(codebook.size), zero)]).astype(np.int32)
    fitted = refit_codebook(
        problem.target,
        damp(problem.covariance, settings.damping),
        order[decoded],
        codebook,
        row_weights=problem.row_weights,
        threads=threads,
    )
    if codebook_type == "float32" or choose_codebook_type(fitted) == "float16":
        blob = bloomier.with_codebook(blob, np.delete(fitted, zero))
    info = bloomier.inspect(blob)
    values = np.concatenate([[0.0], info.codebook.astype(np.float64)])[decoded]
    usage = np.bincount(stored, minlength=info.num_clusters)
    reached = np.bincount(decoded.reshape(-1), minlength=info.num_clusters + 1)[1:]
    energy = float(np.square(problem.weight).sum())
    false_energy = float(((reached - usage) * info.codebook.astype(np.float64) ** 2).sum())
    fields = {
        **filter_fields(info, usage),
        **problem.measure_error(values),
        "epsilon": bounds.epsilon(max(0.0, false_energy), energy),
    }
    damage = problem.measure(values)
    return CodedLayer("bloomier", blob, None, 8 * len(blob), values, damage, fields)


def _count(
    problem: LayerProblem, codes: Codes, codebook: Float64
) -> tuple[npt.NDArray[np.int64], Float64, float]:
    """Usage of the centroids that are not 0, these, and the loss of a 1 at every zero's place."""
    zero = int(np.flatnonzero(codebook == 0)[0])
    usage = np.delete(np.bincount(codes.reshape(-1), minlength=codebook.size), zero)
    variances = np.einsum("gii->gi", problem.covariance)
    curvature = problem.row_weights[:, :, None] * variances[:, None, :]
    return usage, np.delete(codebook, zero), float(curvature[codes == zero].sum())


def _choose_lengths(
    counts: npt.NDArray[np.int64], centroids: Float64, exposure: float, lam: float, layout: str
) -> npt.NDArray[np.uint8]:
    """Bits of each centroid's code for least damage plus lambda times bits.

    The derivative of sum_j 2**-t_j c_j**2 exposure + lam cells n_j t_j with respect to t_j is 0
    where 2**-t_j = lam cells n_j / (ln 2 c_j**2 exposure).
    """
    if not counts.size:
        return np.zeros(0, np.uint8)
    cells = _CELLS[layout]
    if layout == "prefix":
        share = lam * cells * counts / (np.log(2) * centroids**2 * max(exposure, 1e-300))
        lengths = np.clip(np.rint(-np.log2(np.maximum(share, 1e-300))), 1, _MAX_BITS)
        while (2.0**-lengths).sum() > 1:
            lengths[int(np.argmax(2.0**-lengths))] += 1
        return np.asarray(lengths, np.uint8)
    least = max(1, int(np.ceil(np.log2(counts.size))))
    options = np.arange(least, _MAX_BITS + 1)
    costs = 2.0**-options * float((centroids**2).sum()) * exposure
    costs += lam * cells * float(counts.sum()) * options
    return np.full(counts.size, options[int(np.argmin(costs))], np.uint8)
