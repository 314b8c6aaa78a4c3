"""Draws the picture of the README: sizes, measured here, and decode times that run.py wrote."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import onnx
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from onnx import numpy_helper
from tensors import LAYOUTS

from wl_onnx.codecs import bloomier
from wl_onnx.codecs.bounds import false_positive_rate, lossless_bound_bits
from wl_onnx.simplify import cluster, prune, threshold_for_sparsity

_CLUSTERS = 16
_BITS = (6, 8, 9, 12)
_DENSITIES = (0.01, 0.015, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5)
_COLORS = {"ribbon": "#1f5fbf", "xor": "#e07b00", "lossless": "#222222", "bound": "#7f8fa6"}
_TARGETS = {"avx512": "AVX-512", "avx2": "AVX2", "baseline": "plain x86-64", "neon": "NEON"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", type=Path, help="JSON that run.py wrote")
    parser.add_argument("output", type=Path, help="SVG to write")
    options = parser.parse_args()
    report = json.loads(options.figures.read_text(encoding="utf-8"))
    mpl.rcParams.update(
        {"font.size": 9, "svg.hashsalt": "wl_onnx", "axes.spines.top": False}
        | {"axes.spines.right": False, "axes.titlesize": 10, "axes.titleweight": "bold"}
    )
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9.2, 4.4), width_ratios=(1.5, 1), layout="constrained"
    )
    _draw_sizes(left, _fc1())
    _draw_decoding(right, report)
    figure.savefig(options.output, facecolor="white", metadata={"Date": None})


def _fc1() -> npt.NDArray[np.float32]:
    path = Path(__file__).parents[2] / "models" / "lenet5.onnx"
    tensors = {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}
    return numpy_helper.to_array(max(tensors.values(), key=lambda t: np.prod(t.dims))).ravel()


def _draw_sizes(axes: Axes, weights: npt.NDArray[np.float32]) -> None:
    sizes: dict[tuple[str, int], list[float]] = {}
    lossless = []
    for density in _DENSITIES:
        pruned = prune(weights, threshold_for_sparsity(weights, 1 - density))
        indices = np.flatnonzero(pruned).astype(np.uint32)
        clustering = cluster(pruned[indices], _CLUSTERS, codebook_type="float16")
        counts = np.bincount(clustering.assignments)
        lossless.append(lossless_bound_bits(weights.size, counts) / indices.size)
        for layout in LAYOUTS:
            for bits in _BITS:
                blob = bloomier.encode(
                    indices,
                    clustering.assignments,
                    num_weights=weights.size,
                    codebook=clustering.codebook,
                    bits=bits,
                    layout=layout,
                )
                sizes.setdefault((layout, bits), []).append(8 * len(blob) / indices.size)
    percent = [100 * density for density in _DENSITIES]
    for bits in _BITS:
        axes.axhline(bits, color=_COLORS["bound"], linewidth=1, linestyle=(0, (1, 2)))
        axes.plot(percent, sizes["xor", bits], color=_COLORS["xor"], linestyle="--", linewidth=1.4)
        axes.plot(percent, sizes["ribbon", bits], color=_COLORS["ribbon"], linewidth=1.8)
        rate = 100 * false_positive_rate(_CLUSTERS, bits)
        for layout, weight in (("ribbon", "bold"), ("xor", "normal")):
            text = f"{layout}, t = {bits}" + (f": {rate:.2g} %" if layout == "ribbon" else "")
            place = (percent[-1], sizes[layout, bits][-1])
            axes.annotate(
                text,
                place,
                xytext=(5, -1 if layout == "ribbon" else 1),
                textcoords="offset points",
                color=_COLORS[layout],
                fontweight=weight,
                va="center",
                fontsize=8.5,
            )
    axes.plot(percent, lossless, color=_COLORS["lossless"], linewidth=2.2)
    for text, place, align, name in (
        ("lossless bound: where, and which centroid", (43, 4.75), "right", "lossless"),
        ("dotted: t bits, the least for a filter", (1.03, 5.55), "left", "bound"),
        ("zeros that become\na centroid:", (55, 13.25), "left", "ribbon"),
    ):
        axes.text(*place, text, color=_COLORS[name], ha=align, fontsize=8.5)
    axes.set(
        xscale="log",
        xlim=(percent[0], percent[-1] * 1.02),
        ylim=(4, 16),
        xlabel="weights kept, %",
        ylabel="bits of the blob a kept weight",
    )
    axes.set_title("Size: LeNet-5's fc1, 400,000 weights, 16 centroids", loc="left")
    ticks = [1, 2, 5, 10, 20, 50]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(axis="y", color="#eeeeee")
    axes.set_axisbelow(True)


def _draw_decoding(axes: Axes, report: dict[str, Any]) -> None:
    times: dict[str, dict[str, float]] = {}
    for figure in report["parts"]["decode_speed"]:
        if figure["what"] == "decode / np.copyto":
            *_, layout, hash_, target = figure["on"].split(", ")
            if hash_ == "tabulation":
                times.setdefault(target, {})[layout] = figure["value"]
    for row, by_layout in enumerate(times.values()):
        for layout, value in by_layout.items():
            place = row + (-0.19 if layout == "xor" else 0.19)
            axes.barh(place, value, color=_COLORS[layout], height=0.36)
            axes.annotate(
                f"{layout} {value:.1f}",
                (value, place),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
                color=_COLORS[layout],
            )
    axes.axvline(1, color=_COLORS["lossless"], linewidth=1.2)
    axes.annotate(
        "copying the tensor = 1",
        (1, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, -1),
        textcoords="offset points",
        va="top",
        fontsize=8.5,
    )
    highest = max(max(by_layout.values()) for by_layout in times.values())
    axes.set(
        xlim=(0, highest * 1.45),
        ylim=(len(times) - 0.5, -0.75),
        xlabel="time / np.copyto, 1 thread",
    )
    axes.set_title("Decoding: 16M weights, 5 % kept, t = 9", loc="right")
    axes.set_yticks(range(len(times)), [_TARGETS.get(name, name) for name in times])
    axes.tick_params(axis="y", length=0)


if __name__ == "__main__":
    main()
