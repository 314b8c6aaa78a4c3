"""How many megabytes of float32 weights are compressed in a second."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path

from figures import Figure, require
from timing import Times

import wl_onnx
from models import SPARSE, build_mlp

__all__ = ["measure"]


def measure(quick: bool) -> list[Figure]:
    recipes = {
        "sparsity 0.95, 16 clusters, 9 bits": SPARSE,
        "sparsity and bits auto": wl_onnx.Recipe(),
    }
    figures = []
    with tempfile.TemporaryDirectory(prefix="wl_onnx-") as name:
        model = build_mlp(Path(name) / "mlp.onnx", width=512 if quick else 2048)
        num_bytes = model.stat().st_size
        for label, recipe in recipes.items():
            for threads in (1, 0):
                used = dataclasses.replace(recipe, threads=threads)
                seconds = []
                for _ in range(1 if quick else 3):
                    output = Path(name) / "compressed.onnx"
                    begin = time.perf_counter()
                    result = wl_onnx.compress(model, output, recipe=used, force=True)
                    seconds.append(time.perf_counter() - begin)
                    codecs = {tensor["codec"] for tensor in result.report["tensors"]}
                    require("bloomier" in codecs, "weights are compressed", codecs)
                figures.append(
                    Figure(
                        "compression, file to file",
                        f"{label}, {'all cores' if threads == 0 else '1 thread'}",
                        num_bytes / Times(seconds).median / 1e6,
                        unit="MB/s",
                        note=f"{num_bytes / 1e6:.0f} MB of float32, "
                        f"{num_bytes / output.stat().st_size:.1f}x smaller",
                    )
                )
    return figures
