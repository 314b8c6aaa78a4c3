"""What NNCodec (ISO/IEC 15938-17, DeepCABAC) makes of a model within the same limits as wl-onnx.

It is no part of `run.py`: NNCodec (`pip install nncodec`) brings PyTorch and numpy 1 along.

    python tests/bench/nncodec_peer.py model.onnx --data val.npz --min-snr 25 --test test.npz
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from nncodec_search import Problem, Settings, Trial, search_steps, sweep_options
from onnx import numpy_helper

from wl_onnx.evaluation import Accumulator, load_npz, top1

Arrays = dict[str, npt.NDArray[np.float32]]

_SEARCHER_OPTIONS = ("steps", "bias_offset", "blocks")


class Codec:
    """The float32 initializers of a model, through NNCodec and back."""

    def __init__(self, model: onnx.ModelProto) -> None:
        try:
            from nncodec import nnc
        except ImportError as error:
            raise SystemExit(
                f"cannot measure NNCodec: it must be installed, got: {error}; pip install nncodec"
            ) from error
        self._nnc = nnc
        floats = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
        # The bitstream holds names, which short ones keep from counting against the codec.
        self.names = {t.name: str(index) for index, t in enumerate(floats)}
        self.arrays = {self.names[t.name]: numpy_helper.to_array(t).copy() for t in floats}
        self.biases = frozenset(name for name, array in self.arrays.items() if array.ndim < 2)
        self._blocks = self._find_blocks(model)

    @property
    def num_bytes(self) -> int:
        return sum(array.nbytes for array in self.arrays.values())

    def encode(self, settings: Settings, only: str | None = None) -> bytes:
        """The bitstream of all tensors, or of one."""
        options = {k: v for k, v in settings.items() if k not in _SEARCHER_OPTIONS}
        if "steps" in settings:
            options["qp_per_tensor"] = {k: np.int32(v) for k, v in settings["steps"].items()}
        else:
            options["nonweight_qp"] = settings["qp"] + settings["bias_offset"]
        arrays = self.arrays if only is None else {only: self.arrays[only]}
        if settings["blocks"] and only is None:
            options["block_id_and_param_type"] = self._blocks
        with contextlib.redirect_stdout(io.StringIO()):
            return bytes(
                self._nnc.compress(arrays, bitstream_path=None, return_bitstream=True, **options)
            )

    def decode(self, bitstream: bytes) -> Arrays:
        """The tensors by their names in the model."""
        with contextlib.redirect_stdout(io.StringIO()):
            decoded = self._nnc.decompress(bytearray(bitstream))
        return {name: decoded[short] for name, short in self.names.items() if short in decoded}

    def _find_blocks(self, model: onnx.ModelProto) -> dict[str, dict[str, str]]:
        """Weights with the biases of the same operator, which NNCodec stores as one unit."""
        types = {name: "bias" if name in self.biases else "weight" for name in self.arrays}
        blocks: dict[str, str] = {}
        for index, node in enumerate(model.graph.node):
            pair = [self.names.get(name, "") for name in node.input[1:3]]
            if len(pair) < 2 or "" in pair or any(name in blocks for name in pair):
                continue
            weight, bias = (self.arrays[name].shape for name in pair)
            if len(weight) > 1 and bias == weight[:1]:
                blocks.update(dict.fromkeys(pair, str(index)))
        return {"block_identifier": blocks, "parameter_type": types}


class Judge:
    """How far a model's outputs are from the original's on some samples."""

    def __init__(self, model: onnx.ModelProto, data: Path, limits: argparse.Namespace) -> None:
        self._model = model
        self._limits = limits
        session = self._open({})
        self._feeds = load_npz(data, session.get_inputs())
        self.outputs = [output.name for output in session.get_outputs()]
        self._reference = [session.run(None, feed) for feed in self._feeds.batches]
        if limits.max_drop is not None and self._feeds.labels is None:
            raise SystemExit(f"cannot limit the drop: {data} must hold labels, got none")
        self._accuracy = self._count_right(self._reference)

    def measure(self, arrays: Arrays) -> dict[str, Any]:
        """SNR of each output in dB, noise, its inverse as a ratio, and the drop in points."""
        session = self._open(arrays)
        results = [session.run(None, feed) for feed in self._feeds.batches]
        sums = [Accumulator() for _ in self.outputs]
        for reference, result in zip(self._reference, results, strict=True):
            for one, r, v in zip(sums, reference, result, strict=True):
                one.add(r, v)
        accuracy = self._count_right(results)
        return {
            "snr_db": {name: one.snr_db for name, one in zip(self.outputs, sums, strict=True)},
            "noise": np.array([one.relative_l2**2 for one in sums]),
            "drop": None if accuracy is None else self._accuracy - accuracy,
        }

    def excess(self, measured: Mapping[str, Any]) -> float:
        if self._limits.max_drop is not None:
            return float(measured["drop"] - self._limits.max_drop)
        return float(self._limits.min_snr - min(measured["snr_db"].values()))

    def _count_right(self, results: list[Any]) -> float | None:
        """Accuracy of the first output in percent."""
        if self._feeds.labels is None:
            return None
        logits = np.concatenate([result[0] for result in results])
        return 100 * top1(logits, self._feeds.labels) / len(logits)

    def _open(self, arrays: Arrays) -> onnxruntime.InferenceSession:
        changed = onnx.ModelProto()
        changed.CopyFrom(self._model)
        for tensor in changed.graph.initializer:
            if tensor.name in arrays:
                tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name], tensor.name))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(
            changed.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="npz that the search looks at")
    parser.add_argument("--test", type=Path, help="npz that it does not look at")
    limit = parser.add_mutually_exclusive_group(required=True)
    limit.add_argument("--min-snr", type=float, metavar="DB", help="of the worst output")
    limit.add_argument("--max-drop", type=float, metavar="POINTS", help="of top-1 accuracy")
    parser.add_argument("--budget", type=float, default=900, metavar="S", help="of the search")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()

    model = onnx.load(options.model)
    codec = Codec(model)
    judge = Judge(model, options.data, options)
    test = Judge(model, options.test, options) if options.test else None
    began = time.monotonic()

    def attempt(settings: Settings, only: str | None) -> Trial:
        bitstream = codec.encode(settings, only)
        measured = judge.measure(codec.decode(bitstream))
        return Trial(settings, len(bitstream), judge.excess(measured), measured["noise"])

    def report(what: str, trial: Trial) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {what}: {trial.size_bytes} bytes", flush=True)

    sizes = [array.size for array in codec.arrays.values()]
    problem = Problem(list(codec.arrays), sizes, codec.biases, attempt, report)
    results = {}
    single = sweep_options(problem)
    results["one step"] = _describe(codec, judge, test, single)
    each = search_steps(problem, single, budget_s=options.budget)
    results["a step for each tensor"] = _describe(codec, judge, test, each)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + os.linesep, encoding="utf-8")


def _describe(codec: Codec, judge: Judge, test: Judge | None, trial: Trial) -> dict[str, Any]:
    bitstream = codec.encode(trial.settings)
    arrays = codec.decode(bitstream)
    result: dict[str, Any] = {
        "settings": dict(trial.settings),
        "bytes": len(bitstream),
        "ratio": codec.num_bytes / len(bitstream),
    }
    for label, one in (("data", judge), ("test", test)):
        if one is not None:
            measured = one.measure(arrays)
            result[label] = {"snr_db": measured["snr_db"], "drop": measured["drop"]}
    print(json.dumps({k: v for k, v in result.items() if k != "settings"}, indent=2))
    print({k: v for k, v in trial.settings.items() if k != "steps"})
    return result


if __name__ == "__main__":
    main()
