"""Which codec is the smallest at which sparsity, and how many false positives a filter must bear.

By itself it prints the table as Markdown: `python tests/bench/codec_choice.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx
from figures import Figure, require

from models import find_model
from wl_onnx.codecs import bloomier, palette
from wl_onnx.codecs.bounds import (
    epsilon,
    expected_false_positive_energy,
    information_bound_bits,
    lossless_bound_bits,
    prefix_plane_bits,
)
from wl_onnx.codecs.lengths import MAX_LENGTH, choose_lengths
from wl_onnx.simplify import cluster, prune, threshold_for_sparsity

__all__ = ["as_markdown", "measure"]

CLUSTERS = 16
SPARSITIES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
EPSILONS = (0.02, 0.1, 0.3, 1.0)
LAYOUTS = ("ribbon", "xor", "prefix")

_MAX_STANDARD_ERRORS = 6


@dataclasses.dataclass(frozen=True)
class Layer:
    """A pruned and clustered matrix.

    Attributes:
        shape: rows and columns.
        indices: int64 [n], the flat places of the weights that are not 0, ascending.
        assignments: uint16 [n], the centroid of each.
        codebook: float32 [c], the centroids as they are stored.
    """

    shape: tuple[int, int]
    indices: npt.NDArray[np.int64]
    assignments: npt.NDArray[np.uint16]
    codebook: npt.NDArray[np.float32]

    @property
    def num_weights(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def usage(self) -> npt.NDArray[np.int64]:
        return np.bincount(self.assignments, minlength=self.codebook.size)

    @property
    def energy(self) -> float:
        return float(self.usage @ self.codebook.astype(np.float64) ** 2)


@dataclasses.dataclass(frozen=True)
class Filter:
    """One layout of the filter whose false positives have at most a given energy.

    Attributes:
        layout: "ribbon", "xor" or "prefix".
        limit: energy of false positives over that of the weights that is allowed.
        reached: the one that is expected.
        bits: bits of a stored weight, on average.
        size_bytes: all of the blob; None where no cell is wide enough.
        bound_bytes: the information bound of these bits.
    """

    layout: str
    limit: float
    reached: float
    bits: float
    size_bytes: int | None
    bound_bytes: float


@dataclasses.dataclass(frozen=True)
class Choice:
    """What each codec takes at one sparsity; bytes of whole blobs."""

    sparsity: float
    num_weights: int
    bound_bytes: float
    palette_bytes: int
    filters: list[Filter]

    def best(self, limit: float) -> Filter | None:
        """The smallest filter at one energy of false positives."""
        fitting = [f for f in self.filters if f.limit == limit and f.size_bytes is not None]
        return min(fitting, key=lambda f: f.size_bytes or 0, default=None)


def measure(quick: bool) -> list[Figure]:
    sparsities = (0.9, 0.99) if quick else SPARSITIES
    return [figure for choice in _measure(sparsities) for figure in _as_figures(choice)]


def as_markdown(choices: Iterable[Choice]) -> str:
    """One row a sparsity: the lossless bound, the palette, the best filter at each epsilon."""
    columns = [
        "sparsity",
        "lossless bound",
        "palette",
        *(f"filter, {limit:g}" for limit in EPSILONS),
    ]
    lines = ["| " + " | ".join(columns) + " |", "| --- " + "| ---: " * (len(columns) - 1) + "|"]
    for choice in choices:
        filters = [choice.best(limit) for limit in EPSILONS]
        sizes = [choice.palette_bytes, *(f.size_bytes if f else None for f in filters)]
        least = min(size for size in sizes if size is not None)
        cells = ["-" if s is None else f"**{s:,}**" if s == least else f"{s:,}" for s in sizes]
        first = [f"{100 * choice.sparsity:g} %", f"{choice.bound_bytes:,.0f}"]
        lines.append("| " + " | ".join(first + cells) + " |")
    return "\n".join(lines)


def _measure(sparsities: Iterable[float]) -> list[Choice]:
    path = find_model("lenet5.onnx")
    require(path is not None, "lenet5.onnx is there", "no such file")
    weight = next(
        onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(path).graph.initializer
        if "fc1" in tensor.name and len(tensor.dims) == 2
    )
    return [_measure_one(weight, sparsity) for sparsity in sparsities]


def _measure_one(weight: npt.NDArray[np.float32], sparsity: float) -> Choice:
    values = weight.reshape(-1)
    pruned = prune(values, threshold_for_sparsity(values, sparsity))
    indices = np.flatnonzero(pruned)
    clusters = cluster(pruned[indices], CLUSTERS, codebook_type="float16")
    layer = Layer(weight.shape, indices, clusters.assignments, clusters.codebook)
    return Choice(
        sparsity,
        layer.num_weights,
        lossless_bound_bits(layer.num_weights, layer.usage) / 8,
        len(_encode_palette(layer)),
        [_measure_filter(layer, layout, limit) for limit in EPSILONS for layout in LAYOUTS],
    )


def _encode_palette(layer: Layer) -> bytes:
    codes = np.zeros(layer.num_weights, np.uint16)
    codes[layer.indices] = layer.assignments + 1
    codebook = np.concatenate([np.zeros(1, np.float32), layer.codebook])
    blob = palette.encode(codes, codebook=codebook, row_length=layer.shape[1])
    same = np.array_equal(palette.decode(blob), codebook[codes])
    require(same, "the palette decodes to every weight", "others")
    return blob


def _measure_filter(layer: Layer, layout: str, limit: float) -> Filter:
    bits = _choose_bits(layer, layout, limit)
    if bits is None:
        return Filter(layout, limit, np.nan, np.nan, None, np.nan)
    blob = bloomier.encode(
        layer.indices,
        layer.assignments,
        num_weights=layer.num_weights,
        codebook=layer.codebook,
        bits=bits,
        layout=layout,
    )
    lengths = np.broadcast_to(bits, layer.codebook.size)
    bound_bits = information_bound_bits(layer.usage, lengths)
    _check_filter(layer, blob, lengths, f"{layout}, epsilon {limit:g}")
    return Filter(
        layout,
        limit,
        epsilon(_expected_energy(layer, lengths), layer.energy),
        bound_bits / layer.indices.size,
        len(blob),
        bound_bits / 8,
    )


def _choose_bits(layer: Layer, layout: str, limit: float) -> int | npt.NDArray[np.uint8] | None:
    """The fewest bits that keep the false positives' energy, or None where 16 do not."""
    at_one = _expected_energy(layer, np.zeros(layer.codebook.size))
    least = max(0.0, float(np.log2(at_one / (limit * layer.energy))))
    if least > MAX_LENGTH:
        return None
    if layout == "prefix":
        plane_bits = prefix_plane_bits(layer.indices.size)
        return choose_lengths(layer.usage, layer.codebook, least, plane_bits=plane_bits)
    return max(int(np.ceil(least)), (layer.codebook.size - 1).bit_length())


def _expected_energy(layer: Layer, bits: npt.ArrayLike) -> float:
    return expected_false_positive_energy(
        layer.num_weights, layer.indices.size, layer.codebook, bits
    )


def _check_filter(layer: Layer, blob: bytes, lengths: npt.NDArray[np.uint8], what: str) -> None:
    """Raises unless stored weights are right and the others have the energy that was promised."""
    weights = bloomier.decode(blob)
    wrong = int((weights[layer.indices] != layer.codebook[layer.assignments]).sum())
    require(wrong == 0, f"{what}: every stored weight decodes to its centroid", f"{wrong} wrong")
    weights[layer.indices] = 0
    energy = float((weights.astype(np.float64) ** 2).sum())
    expected = _expected_energy(layer, lengths)
    # Places are independent: the energy of one is c_j**2 with probability 2**-t_j.
    shares, squares = 2.0 ** -lengths.astype(np.float64), layer.codebook.astype(np.float64) ** 2
    variance = float(shares @ squares**2) - float(shares @ squares) ** 2
    error = (variance * (layer.num_weights - layer.indices.size)) ** 0.5
    near = abs(energy - expected) <= _MAX_STANDARD_ERRORS * error
    require(near, f"{what}: false positives' energy is near {expected:.4g}", f"{energy:.4g}")


def _as_figures(choice: Choice) -> list[Figure]:
    on = f"lenet5's fc1, {100 * choice.sparsity:g} % sparse"
    figures = [
        Figure(
            "palette",
            on,
            8 * choice.palette_bytes / choice.num_weights,
            unit="bits/weight",
            note=f"{choice.palette_bytes} bytes, lossless bound {choice.bound_bytes:.0f} "
            "without what rows and columns tell",
        )
    ]
    for limit in EPSILONS:
        best = choice.best(limit)
        for one in choice.filters:
            if one.limit != limit:
                continue
            what = f"{one.layout}, epsilon {limit:g}"
            if one.size_bytes is None:
                figures.append(Figure(what, on, None, note=f"needs more than {MAX_LENGTH} bits"))
                continue
            note = (
                f"{one.size_bytes} bytes, information bound {one.bound_bytes:.0f} of "
                f"{one.bits:.2f} bits a key; epsilon {one.reached:.3g}"
            )
            if one is best:
                note += f"; {_describe_winner(one.size_bytes, choice.palette_bytes)}"
            size = 8 * one.size_bytes / choice.num_weights
            figures.append(Figure(what, on, size, unit="bits/weight", note=note))
    return figures


def _describe_winner(filter_bytes: int, palette_bytes: int) -> str:
    if filter_bytes < palette_bytes:
        return f"filter wins, {100 * (1 - filter_bytes / palette_bytes):.1f} % smaller"
    return f"palette wins, {100 * (1 - palette_bytes / filter_bytes):.1f} % smaller"


if __name__ == "__main__":
    print(as_markdown(_measure(SPARSITIES)))
