"""A trained weight in a Bloomier filter, with its false positives."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from wl_onnx.codecs import bloomier, bounds
from wl_onnx.codecs.lengths import choose_lengths
from wl_onnx.evaluation.tensor_report import filter_fields
from wl_onnx.planning.encoding import encode_filter
from wl_onnx.recipe import MAX_BITS, Recipe

__all__ = ["FilteredWeight", "encode_levels", "measure_filter"]


@dataclasses.dataclass(frozen=True)
class FilteredWeight:
    """A weight as a filter holds it.

    Attributes:
        blob: the filter.
        codes: what it decodes to, int64 in the weight's shape: 0 for zeros, else one more than the
            index of the centroid.
        stored_counts: numbers `[num_centroids]`, how many weights of each were put in.
        num_false: zeros that decode to a centroid.
    """

    blob: bytes
    codes: npt.NDArray[np.int64]
    stored_counts: npt.NDArray[np.int64]
    num_false: int

    @property
    def codebook(self) -> npt.NDArray[np.float32]:
        """The centroids as they are stored."""
        return bloomier.inspect(self.blob).codebook

    @classmethod
    def of_blob(
        cls, blob: bytes, stored_counts: npt.ArrayLike, shape: tuple[int, ...]
    ) -> FilteredWeight:
        """What a blob was made of.

        Args:
            blob: the filter.
            stored_counts: see the attribute.
            shape: of the weight.
        """
        counts = np.asarray(stored_counts, np.int64)
        codes = bloomier.decode_codes(blob, threads=0).astype(np.int64)
        num_false = int(np.count_nonzero(codes)) - int(counts.sum())
        return cls(blob, codes.reshape(shape), counts, num_false)

    def with_codebook(self, codebook: npt.NDArray[np.floating[Any]]) -> FilteredWeight:
        """The same filter with other centroids."""
        return dataclasses.replace(self, blob=bloomier.with_codebook(self.blob, codebook))

    def describe(self) -> dict[str, Any]:
        """Those fields of a `TensorReport` that the filter decides."""
        info = bloomier.inspect(self.blob)
        energies = info.codebook.astype(np.float64) ** 2
        reached = np.bincount(self.codes.reshape(-1), minlength=info.num_clusters + 1)[1:]
        stored = float((self.stored_counts * energies).sum())
        false = float(((reached - self.stored_counts) * energies).sum())
        return {
            **filter_fields(info, self.stored_counts),
            "epsilon": bounds.epsilon(max(0.0, false), stored),
            "error_share": bounds.epsilon(max(0.0, false), stored),
        }


def encode_levels(
    name: str, levels: npt.NDArray[np.int64], step: float, *, share: float, recipe: Recipe
) -> FilteredWeight:
    """Puts the levels of a weight that are not 0 into a filter.

    Where the recipe leaves the bits open, they are the fewest at which the expected energy of the
    false positives is within a share of the weight's.

    Args:
        name: the weight's name, for messages.
        levels: integers in the weight's shape, some of them not 0.
        step: distance of levels.
        share: energy of false positives over that of the weight.
        recipe: bits, layout, hash, codebook, seed and threads are used.

    Raises:
        EncodeError: no filter exists for the keys with the hash that the recipe names.
    """
    blob, counts = _encode(name, levels, step, share, recipe)
    return FilteredWeight.of_blob(blob, counts, levels.shape)


def measure_filter(
    name: str, levels: npt.NDArray[np.int64], step: float, *, share: float, recipe: Recipe
) -> int:
    """Bits of the filter that `encode_levels` makes; sooner, since nothing is decoded.

    Args:
        name: the weight's name, for messages.
        levels: integers in the weight's shape, some of them not 0.
        step: distance of levels.
        share: energy of false positives over that of the weight.
        recipe: as of `encode_levels`.

    Raises:
        EncodeError: no filter exists for the keys with the hash that the recipe names.
    """
    return 8 * len(_encode(name, levels, step, share, recipe)[0])


def _encode(
    name: str, levels: npt.NDArray[np.int64], step: float, share: float, recipe: Recipe
) -> tuple[bytes, npt.NDArray[np.int64]]:
    """The filter, and how many weights of each centroid are in it."""
    flat = levels.reshape(-1)
    indices = np.flatnonzero(flat)
    used, assignments = np.unique(flat[indices], return_inverse=True)
    counts = np.bincount(assignments, minlength=used.size)
    codebook = used * np.float64(step)
    bits = (
        float(recipe.bits) if recipe.bits != "auto" else _choose_bits(flat, codebook, counts, share)
    )
    least = math.ceil(math.log2(max(2, used.size)))
    cell_bits: int | npt.NDArray[np.uint8] = min(MAX_BITS, max(least, math.ceil(bits)))
    if recipe.layout == "prefix":
        cell_bits = choose_lengths(
            counts,
            codebook,
            bits,
            plane_bits=bounds.prefix_plane_bits(indices.size),
            level_bits=bounds.prefix_level_bits(indices.size),
        )
    blob = encode_filter(
        name,
        recipe,
        recipe.threads,
        indices=indices.astype(np.uint32),
        values=assignments.astype(np.uint16),
        num_weights=flat.size,
        codebook=codebook,
        bits=cell_bits,
        codebook_type=recipe.codebook,
    )
    return blob, counts


def _choose_bits(
    flat: npt.NDArray[np.int64],
    codebook: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    share: float,
) -> float:
    """The common length t with zeros * 2**-t * sum c_j**2 = share * sum n_j c_j**2."""
    energies = codebook**2
    num_zeros = flat.size - int(counts.sum())
    wanted = share * float((counts * energies).sum())
    needed = num_zeros * float(energies.sum())
    return float(np.clip(math.log2(max(needed / wanted, 1.0)), 0.0, MAX_BITS))
