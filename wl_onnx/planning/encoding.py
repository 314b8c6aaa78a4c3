"""One weight tensor into one blob: prune, cluster, encode, and refit around the false positives."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wl_onnx.codecs import bloomier, bounds
from wl_onnx.codecs.lengths import choose_lengths
from wl_onnx.errors import EncodeError
from wl_onnx.evaluation.tensor_report import filter_fields
from wl_onnx.planning.auto import choose
from wl_onnx.simplify import Threshold, cluster, prune, threshold_for_sparsity

if TYPE_CHECKING:
    from wl_onnx.recipe import Recipe

__all__ = ["EncodedWeight", "encode_filter", "encode_weight"]

_log = logging.getLogger(__name__)

# How often a choice whose measured error is over the share is made again, and by how much more
# than in proportion the budget shrinks.
_MAX_CHOICES = 6
_TIGHTENING = 0.97


@dataclasses.dataclass(frozen=True)
class EncodedWeight:
    """A blob and what it does to the tensor.

    Attributes:
        blob: the encoded weights.
        fields: those fields of `TensorReport` that the encoding decides.
        codec: "bloomier" or "palette".
        portable_bytes: what the weight takes in a portable file, with nodes and record; None where
            the file is none.
    """

    blob: bytes
    fields: dict[str, Any]
    codec: str = "bloomier"
    portable_bytes: int | None = None

    @property
    def size_bytes(self) -> int:
        """What the weight takes in the file, as far as codecs differ in it."""
        return len(self.blob) if self.portable_bytes is None else self.portable_bytes


def encode_weight(
    name: str,
    values: npt.NDArray[np.float32],
    recipe: Recipe,
    *,
    threshold: Threshold | None = None,
    threads: int = 1,
) -> EncodedWeight:
    """Encodes a tensor as a recipe says.

    Args:
        name: the weight's name, for messages.
        values: float32 [num_weights], finite.
        recipe: sparsity, clusters, bits, error_share, layout, hash, codebook and seed are used.
        threshold: what to prune instead of the recipe's sparsity.
        threads: threads to use; 0 means one for each core. The result does not depend on it.

    Raises:
        EncodeError: no filter exists for the tensor's keys with the hash that the recipe names.
    """
    if "auto" not in (recipe.sparsity, recipe.bits):
        return _encode_as_given(name, values, recipe, float(recipe.bits), threshold, threads)
    if threshold is not None:
        zeros = np.count_nonzero(prune(values, threshold) == 0) / values.size
        recipe = dataclasses.replace(recipe, sparsity=min(zeros, float(np.nextafter(1, 0))))
    wanted = recipe.error_share
    budget = wanted
    for _ in range(_MAX_CHOICES):
        choice = choose(values, dataclasses.replace(recipe, error_share=budget), threads=threads)
        clusters = recipe.clusters
        if recipe.table_layout != "prefix":
            # Few bits are chosen where few values differ, which need no more centroids than this.
            clusters = min(clusters, 2 ** int(choice.bits))
        chosen = dataclasses.replace(recipe, sparsity=choice.sparsity, clusters=clusters)
        encoded = _encode_as_given(name, values, chosen, choice.bits, threshold, threads)
        error_share = encoded.fields["error_share"]
        encoded.fields["meets_share"] = error_share <= wanted
        if error_share <= wanted or not choice.meets_share:
            break
        # Where false positives fall is chance: few large ones can cost more than predicted.
        budget *= _TIGHTENING * wanted / error_share
    return encoded


def _encode_as_given(
    name: str,
    values: npt.NDArray[np.float32],
    recipe: Recipe,
    bits: float,
    threshold: Threshold | None,
    threads: int,
) -> EncodedWeight:
    """Encodes with the recipe's sparsity and these bits, whatever its own are."""
    if threshold is None:
        threshold = threshold_for_sparsity(values, float(recipe.sparsity), threads=threads)
    pruned = prune(values, threshold)
    indices = np.flatnonzero(pruned).astype(np.uint32)
    clustering = cluster(
        pruned[indices], recipe.clusters, codebook_type=recipe.codebook, threads=threads
    )
    stored_counts = np.bincount(clustering.assignments, minlength=len(clustering.codebook))
    cell_bits: int | npt.NDArray[np.uint8] = int(bits)
    if recipe.table_layout == "prefix":
        cell_bits = choose_lengths(
            stored_counts,
            clustering.codebook,
            bits,
            plane_bits=bounds.prefix_plane_bits(indices.size),
            level_bits=bounds.prefix_level_bits(indices.size),
        )
    blob = encode_filter(
        name,
        recipe,
        threads,
        indices=indices,
        values=clustering.assignments,
        num_weights=values.size,
        codebook=clustering.codebook,
        bits=cell_bits,
        codebook_type=clustering.codebook_type,
    )
    refitted, errors = _refit(blob, values, stored_counts, threads)
    return EncodedWeight(
        refitted,
        {**filter_fields(bloomier.inspect(refitted), stored_counts), **errors, "meets_share": None},
    )


def encode_filter(name: str, recipe: Recipe, threads: int, **arguments: Any) -> bytes:
    """A filter with the recipe's layout, hash and seed.

    Args:
        name: the weight's name, for messages.
        recipe: layout, hash and seed are used.
        threads: threads to use; 0 means one for each core.
        **arguments: the others of `bloomier.encode`.

    Raises:
        EncodeError: no filter exists for the keys with the hash that the recipe names.
    """
    first = "tabulation" if recipe.hash == "auto" else recipe.hash
    options: dict[str, Any] = {
        "layout": recipe.table_layout,
        "seed": recipe.seed,
        "threads": threads,
        **arguments,
    }
    try:
        return bloomier.encode(hash=first, **options)
    except EncodeError as error:
        if recipe.hash != "auto":
            raise EncodeError(f"{error} (weight {name})") from error
        _log.warning("%s: its indices defeat tabulation hashing; murmur3 is used instead", name)
        return bloomier.encode(hash="murmur3", **options)


def _refit(
    blob: bytes,
    values: npt.NDArray[np.float32],
    stored_counts: npt.NDArray[np.int64],
    threads: int,
) -> tuple[bytes, dict[str, float]]:
    """Moves each centroid to the mean of all weights that decode to it, false positives included.

    That is the least-squares fit of the tensor, since the places of the false positives are known.
    """
    codes = bloomier.decode_codes(blob, threads=threads)
    info = bloomier.inspect(blob)
    counts = np.bincount(codes, minlength=info.num_clusters + 1)[1:].astype(np.float64)
    sums = np.bincount(codes, weights=values, minlength=info.num_clusters + 1)[1:]
    codebook = np.where(counts > 0, sums / np.maximum(counts, 1), info.codebook)
    blob = bloomier.with_codebook(blob, codebook)
    stored = bloomier.inspect(blob).codebook.astype(np.float64)
    weight_energy = _energy(values)
    # Over the weights that decode to c: sum (w - c)^2 = sum w^2 - 2 c sum w + n c^2.
    error_energy = weight_energy - float((2 * stored * sums - counts * stored**2).sum())
    false_positive_energy = float(((counts - stored_counts) * stored**2).sum())
    return blob, {
        "error_share": bounds.epsilon(max(0.0, error_energy), weight_energy),
        "epsilon": bounds.epsilon(max(0.0, false_positive_energy), weight_energy),
    }


def _energy(values: npt.NDArray[np.float32]) -> float:
    chunks = (values[at : at + (1 << 20)] for at in range(0, values.size, 1 << 20))
    return float(sum(np.square(chunk, dtype=np.float64).sum() for chunk in chunks))
