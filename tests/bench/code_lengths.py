"""What codes of different length save, and what reading them costs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from figures import Figure, ratio_figure, require
from timing import interleave

from models import find_model
from wl_onnx.codecs import bloomier
from wl_onnx.codecs.bounds import (
    expected_false_positive_energy,
    information_bound_bits,
    prefix_level_bits,
    prefix_plane_bits,
)
from wl_onnx.codecs.lengths import choose_lengths
from wl_onnx.kernels.native import core
from wl_onnx.simplify import cluster, prune, threshold_for_sparsity

__all__ = ["measure"]

BITS = 9
CLUSTERS = 16
SPARSITY = 0.95
MEBI = 1 << 20


def measure(quick: bool) -> list[Figure]:
    path = find_model("lenet5.onnx")
    require(path is not None, "lenet5.onnx is there", "no such file")
    model = onnx.load(path)
    weight = next(
        onnx.numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if "fc1" in tensor.name and len(tensor.dims) == 2
    )
    figures = _measure_size(weight.reshape(-1), "lenet5's fc1, 95 % sparse")
    normal = np.random.default_rng(0).standard_normal((1 if quick else 16) * MEBI, np.float32)
    return figures + _measure_speed(normal, 5 if quick else 15)


def _encode(values: npt.NDArray[np.float32]) -> tuple[dict[str, bytes], npt.NDArray[np.int64]]:
    """Blobs of three layouts at one error energy, and how often each centroid is stored."""
    pruned = prune(values, threshold_for_sparsity(values, SPARSITY))
    indices = np.flatnonzero(pruned)
    clusters = cluster(pruned[indices], CLUSTERS, codebook_type="float16")
    usage = np.bincount(clusters.assignments, minlength=CLUSTERS)
    lengths = choose_lengths(
        usage,
        clusters.codebook,
        BITS,
        plane_bits=prefix_plane_bits(indices.size),
        level_bits=prefix_level_bits(indices.size),
    )
    blobs = {
        layout: bloomier.encode(
            indices,
            clusters.assignments,
            num_weights=values.size,
            codebook=clusters.codebook,
            bits=lengths if layout == "prefix" else BITS,
            layout=layout,
            threads=0,
        )
        for layout in ("ribbon", "xor", "prefix")
    }
    for layout, blob in blobs.items():
        weights = bloomier.decode(blob)
        wrong = int((weights[indices] != clusters.codebook[clusters.assignments]).sum())
        require(wrong == 0, f"{layout}: every stored key decodes to its value", f"{wrong} wrong")
    return blobs, usage


def _measure_size(values: npt.NDArray[np.float32], on: str) -> list[Figure]:
    blobs, usage = _encode(values)
    infos = {layout: bloomier.inspect(blob) for layout, blob in blobs.items()}
    energies = {
        layout: expected_false_positive_energy(
            info.num_weights, info.num_keys, info.codebook, info.lengths
        )
        for layout, info in infos.items()
    }
    bound = information_bound_bits(usage, infos["prefix"].lengths)
    mean = bound / infos["prefix"].num_keys
    figures = [
        Figure(
            f"size, prefix / {layout}",
            on,
            len(blobs["prefix"]) / len(blobs[layout]),
            limit=limit,
            note=f"{len(blobs['prefix'])} bytes against {len(blobs[layout])}",
        )
        for layout, limit in (("ribbon", 0.88), ("xor", 0.73))
    ]
    return [
        *figures,
        Figure(
            "error energy, prefix / ribbon", on, energies["prefix"] / energies["ribbon"], limit=1.0
        ),
        Figure(
            "size / information bound",
            f"{on}, prefix",
            8 * len(blobs["prefix"]) / bound,
            limit=1.025,
            note=f"{mean:.2f} bits a key where one length has {BITS}",
        ),
    ]


def _measure_speed(values: npt.NDArray[np.float32], rounds: int) -> list[Figure]:
    blobs, _ = _encode(values)
    out = np.zeros(values.size, np.float32)
    on = f"{values.size // MEBI}M normal weights, 95 % sparse, 1 thread"
    chosen = core().current_target()
    figures = []
    try:
        for target in [chosen, *(name for name in core().available_targets() if name != chosen)]:
            require(core().set_target(target), f"CPU target {target} is available", "a refusal")
            calls = {
                layout: lambda blob=blobs[layout]: bloomier.decode(blob, out=out)
                for layout in ("prefix", "ribbon")
            }
            figures.append(
                ratio_figure(
                    f"decode, prefix / ribbon, {target}",
                    on,
                    interleave(calls, rounds=rounds),
                    "prefix",
                    "ribbon",
                    limit=1.0 if target == chosen else None,
                )
            )
    finally:
        core().set_target(chosen)
    return figures
