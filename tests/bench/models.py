"""The models that sessions are measured on, original, compressed and decompressed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from figures import require
from onnx import TensorProto, helper, numpy_helper

import wl_onnx
from wl_onnx.evaluation.data import load_feeds
from wl_onnx.runtime.measure import Candidate, open_session, run_session

__all__ = ["SPARSE", "ModelFiles", "build_mlp", "find_model", "prepare"]

SPARSE = wl_onnx.Recipe(sparsity=0.95, clusters=16, bits=9)
_MODES = ("materialize", "cached", "streaming")
_ROOT = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class ModelFiles:
    """One model as three files, and one sample of its inputs."""

    name: str
    original: Path
    compressed: Path
    decompressed: Path
    sample: dict[str, Any]

    def candidates(self) -> dict[str, Candidate]:
        modes = {mode: Candidate(self.compressed, mode) for mode in _MODES}
        return {"original": Candidate(self.original), **modes}

    def check(self) -> None:
        """Raises unless every mode gives what the decompressed model gives in onnxruntime."""
        plain = open_session(Candidate(self.decompressed), threads=1)
        expected = run_session(plain, self.sample)
        for mode in _MODES:
            session = open_session(Candidate(self.compressed, mode), threads=1)
            outputs = run_session(session, self.sample)
            for name, output in outputs.items():
                what = f"{self.name}, {mode}: output {name} is that of the decompressed model"
                if mode == "materialize":
                    require(np.array_equal(output, expected[name]), what, "another")
                else:
                    # Weights that are not constants take other kernels: other roundings.
                    size = max(float(np.abs(expected[name]).max()), 1e-30)
                    error = float(np.abs(output - expected[name]).max()) / size
                    require(error < 1e-4, what, f"a difference of {error:.2g} of its size")


def find_model(name: str) -> Path | None:
    """A model's file: among those shared by developers, or among those of the repository."""
    places = (_ROOT.parent / "shared" / "models", _ROOT / "models")
    return next((path / name for path in places if (path / name).is_file()), None)


def prepare(original: Path, folder: Path, recipe: wl_onnx.Recipe) -> ModelFiles:
    compressed = folder / f"{original.stem}.compressed.onnx"
    decompressed = folder / f"{original.stem}.decompressed.onnx"
    wl_onnx.compress(original, compressed, recipe=recipe, force=True)
    wl_onnx.decompress(compressed, decompressed, force=True)
    session = open_session(Candidate(original), threads=1)
    sample = load_feeds(None, session.get_inputs(), seed=0).sample
    files = ModelFiles(original.stem, original, compressed, decompressed, dict(sample))
    files.check()
    return files


def build_mlp(path: Path, *, layers: int = 4, width: int = 2048, seed: int = 0) -> Path:
    """Gemm and ReLU in turn, as PyTorch writes them, with normal weights [width, width]."""
    rng = np.random.default_rng(seed)
    scale = np.float32((2 / width) ** 0.5)
    nodes, tensors = [], []
    value = "input"
    for layer in range(layers):
        weight = rng.standard_normal((width, width), np.float32) * scale
        bias = rng.standard_normal(width, np.float32) * scale
        tensors.append(numpy_helper.from_array(weight, f"fc{layer}.weight"))
        tensors.append(numpy_helper.from_array(bias, f"fc{layer}.bias"))
        inputs = [value, f"fc{layer}.weight", f"fc{layer}.bias"]
        last = layer == layers - 1
        value = "output" if last else f"fc{layer}"
        nodes.append(helper.make_node("Gemm", inputs, [value], transB=1, name=f"Gemm{layer}"))
        if not last:
            nodes.append(helper.make_node("Relu", [value], [f"relu{layer}"]))
            value = f"relu{layer}"
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "mlp",
        [info("input", TensorProto.FLOAT, [1, width])],
        [info("output", TensorProto.FLOAT, [1, width])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path
