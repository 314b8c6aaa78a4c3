"""How long a run of AnalogRead takes, beside as many draws of NumPy and beside copying."""

from __future__ import annotations

import itertools

import numpy as np
import onnxruntime
from figures import Figure, ratio_figure, require
from noise_speed import PCM_RECORD
from onnx import ModelProto, TensorProto, helper
from timing import interleave

from wl_onnx.codecs import cells
from wl_onnx.codecs.cells import CellTensor, Symbol
from wl_onnx.runtime.library import get_library_path

__all__ = ["measure"]

_DAY_S = 86400.0
_SPARSITY = 0.9


class _Read:
    """A tensor in cells, read by stock onnxruntime into an array that stays."""

    def __init__(self, blob: bytes, side: int) -> None:
        self.blob = blob
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        options.register_custom_ops_library(get_library_path())
        self._session = onnxruntime.InferenceSession(
            _model(blob, side).SerializeToString(), options, ["CPUExecutionProvider"]
        )
        self.weights = np.zeros((side, side), np.float32)
        self._value = onnxruntime.OrtValue.ortvalue_from_numpy(self.weights)
        self._seeds = itertools.count()

    def run(self, write_seed: int = 1, read_seed: int = -1) -> None:
        """One noisy read, of other noise at each call."""
        binding = self._session.io_binding()
        binding.bind_cpu_input("wl_write_seed", np.array(write_seed))
        binding.bind_cpu_input("wl_read_seed", np.array(read_seed))
        binding.bind_cpu_input("wl_time_s", np.array(_DAY_S, np.float32))
        binding.bind_ortvalue_output("w", self._value)
        self._session.run_with_iobinding(binding)

    def write_and_run(self) -> None:
        """One read of cells that are programmed and drift for it."""
        self.run(write_seed=next(self._seeds))

    def check(self, label: str) -> None:
        """The operator gives what the binding gives."""
        self.run(write_seed=3, read_seed=4)
        expected = cells.read(self.blob, write_seed=3, read_seed=4, time_s=_DAY_S)
        found = self._value.numpy().reshape(-1)
        require(np.array_equal(found, expected), f"{label} is what the binding reads", "another")


def measure(quick: bool) -> list[Figure]:
    """The first ratio is the issue's, of one cell a weight; the others stand beside it."""
    side = 1024 if quick else 4096
    rng = np.random.default_rng(1)
    blobs = _blobs(rng, side * side)
    reads = {label: _Read(blob, side) for label, blob in blobs.items()}
    written = {label: _Read(blob, side) for label, blob in blobs.items()}  # keeps no write
    drawn = np.zeros(side * side, np.float32)
    source = np.ones(side * side, np.float32)
    calls = {
        "numpy": lambda: rng.standard_normal(drawn.size, np.float32, out=drawn),
        "copyto": lambda: np.copyto(drawn, source),
    }
    for label, read in reads.items():
        calls[label] = read.run
        calls[f"{label}, written too"] = written[label].write_and_run
    times = interleave(calls, rounds=3 if quick else 7)
    for label, read in reads.items():
        read.check(label)
    figures = []
    for label in reads:
        on = f"{side} x {side}, 1 thread, {label}"
        per_weight = {kind: one.per(drawn.size).median * 1e9 for kind, one in times.items()}
        figures += [
            ratio_figure(
                "AnalogRead run / NumPy's standard_normal", on, times, label, "numpy",
                limit=0.7, note=f"{per_weight[label]:.2f} ns a weight",
            ),
            ratio_figure("AnalogRead run / np.copyto", on, times, label, "copyto"),
            Figure(
                "AnalogRead run with another write", on, per_weight[f"{label}, written too"],
                unit="ns a weight",
            ),
        ]  # fmt: skip
    return figures


def _blobs(rng: np.random.Generator, num_weights: int) -> dict[str, bytes]:
    """One cell for each weight; with a digital sign; zeros without cells."""
    signs = rng.integers(0, 2, num_weights)
    sparse = np.where(rng.random(num_weights) < _SPARSITY, 0, 1 + signs)
    plus, minus = Symbol(0.0, 1.0), Symbol(0.0, -1.0)
    return {
        "one cell": _encode(rng, [Symbol(-1.0, 1.0)], None, num_weights),
        "digital sign": _encode(rng, [plus, minus], signs, num_weights),
        f"{_SPARSITY:.0%} zeros": _encode(
            rng, [Symbol(0.0, 0.0, cells=0), plus, minus], sparse, num_weights
        ),
    }


def _encode(
    rng: np.random.Generator,
    symbols: list[Symbol],
    labels: np.ndarray | None,
    num_weights: int,
) -> bytes:
    counts = np.array([symbol.cells for symbol in symbols])
    num_stored = num_weights if labels is None else int((counts[labels] > 0).sum())
    return cells.encode(
        CellTensor(
            num_weights=num_weights,
            symbols=symbols,
            labels=labels,
            levels=rng.integers(0, 256, num_stored, np.uint16),
            device_record=PCM_RECORD,
            compensates_drift=True,
        )
    )


def _model(blob: bytes, side: int) -> ModelProto:
    inputs = {"wl_write_seed": 7, "wl_read_seed": 7, "wl_time_s": 1}
    node = helper.make_node(
        "AnalogRead", list(inputs), ["w"], name="read_w", domain="com.wl_onnx",
        shape=[side, side], data_type=TensorProto.FLOAT,
        blob=helper.make_tensor("", TensorProto.UINT8, [len(blob)], blob, raw=True),
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "read",
        [helper.make_tensor_value_info(name, kind, []) for name, kind in inputs.items()],
        [helper.make_tensor_value_info("w", TensorProto.FLOAT, [side, side])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.wl_onnx", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)
