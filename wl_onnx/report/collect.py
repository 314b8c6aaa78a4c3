"""Gathering a report's numbers: what the models hold, how they compare, what they cost."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, numpy_helper

from wl_onnx import evaluation
from wl_onnx.errors import InputError
from wl_onnx.evaluation.cell_count import cells_per_weight
from wl_onnx.graph import (
    ANALOG_INPUTS,
    CompressibleModel,
    Decoder,
    find_stored,
    hash_source,
    is_compressed,
    is_portable,
    load_model,
    measure_tensors,
    read_metadata,
    to_proto,
)
from wl_onnx.portable import restore_operators
from wl_onnx.report.facts import FileFacts, Histogram, Report, TensorFacts, WeightMap
from wl_onnx.report.histograms import count_values
from wl_onnx.report.sweep_facts import read_sweep
from wl_onnx.report.tensor_facts import Dense, describe_tensors, find_dense, find_nonzero_codes
from wl_onnx.report.weight_map import draw_error, draw_filter
from wl_onnx.runtime.weights import WeightReader
from wl_onnx.version import __version__

__all__ = ["Progress", "collect_report"]

NUM_HISTOGRAMS = 6
_MIN_HISTOGRAM_WEIGHTS = 64

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, steps done, steps in all)."""


def collect_report(
    original: Path,
    compressed: Path,
    data: Any,
    sweep: Path | None,
    *,
    seed: int,
    threads: int,
    progress: Progress,
) -> Report:
    """Everything that a report tells of two models.

    Args:
        original: the model before.
        compressed: the model after.
        data: see `wl_onnx.evaluation.load_feeds`.
        sweep: a folder of `wl-onnx sweep`, or None.
        seed: of drawn inputs, and of the one read of analog cells.
        threads: of onnxruntime.
        progress: told what is being done.

    Raises:
        InputError: the two do not belong together, the data do not fit, or there is no sweep of
            the model in the folder.
        ModelError: a model is damaged.
        BlobError: a blob is damaged.
    """
    progress("read models", 0, 1)
    before, after = load_model(original), load_model(compressed)
    sha256 = _check_pair(before, after)
    swept = None if sweep is None else read_sweep(sweep, after)
    contents = evaluation.inspect(compressed)
    dense = find_dense(before)
    if "source_sha256" not in contents["metadata"]:
        _check_shared(contents["tensors"], dense, before.name, after.name)
    has_standard_nodes = is_portable(after)
    decoders = _find_decoders(compressed)
    comparison = evaluation.compare(
        original,
        _fix_reads(after, seed) if any(one.codec == "analog" for one in decoders) else compressed,
        data,
        seed=seed,
        threads=threads,
        progress=progress,
    )
    progress("look at weights", 0, 1)
    tensors = describe_tensors(contents["tensors"], decoders, dense, is_portable=has_standard_nodes)
    weights = _Weights(decoders, dense, seed)
    histograms = _count_largest(tensors, weights)
    weight_map = _draw_largest(tensors, weights)
    progress("look at weights", 1, 1)
    return Report(
        original=FileFacts(original.name, _file_bytes(before), measure_tensors(before), sha256),
        compressed=FileFacts(
            compressed.name, _file_bytes(after), measure_tensors(after), hash_source(after)
        ),
        file_parts={
            name: contents["file"][name]
            for name in ("blob_bytes", "initializer_bytes", "graph_bytes")
        },
        tensors=tensors,
        cells_per_weight=cells_per_weight(after),
        histograms=histograms,
        weight_map=weight_map,
        comparison=comparison,
        data_name=_name_data(data),
        seed=seed,
        sweep=swept,
        metadata=contents["metadata"],
        is_portable=has_standard_nodes,
        versions={
            "wl-onnx": __version__,
            **{name: version(name) for name in ("onnx", "onnxruntime", "numpy")},
            "Python": platform.python_version(),
        },
        machine=_describe_machine(),
    )


def _find_decoders(compressed: Path) -> list[Decoder]:
    """All of a compressed model; of a portable one, those of the operators that it came from."""
    model = load_model(compressed)
    if is_portable(model):
        restore_operators(model)
    return find_stored(model)


def _check_pair(original: CompressibleModel, compressed: CompressibleModel) -> str:
    """The original's checksum, after a check that the other was made from it."""
    if is_compressed(original) or is_portable(original):
        raise InputError(
            f"cannot report on {compressed.name}: its original must not be compressed, got "
            f"{original.name}, which is; give the model that it was made from"
        )
    sha256 = hash_source(original)
    source = read_metadata(compressed).get("source_sha256", sha256)
    if source != sha256:
        raise InputError(
            f"cannot report on {compressed.name}: its original must have the sha256 {source}, got "
            f"{original.name} with {sha256}"
        )
    return sha256


def _check_shared(
    tensors: Sequence[Mapping[str, Any]], dense: Mapping[str, Dense], before: str, after: str
) -> None:
    """Refuses a model of other weights, where only these tell what it was made from."""
    shapes = {name: tuple(site.shape) for name, site in dense.items()}
    if tensors and not any(shapes.get(one["name"]) == tuple(one["shape"]) for one in tensors):
        raise InputError(
            f"cannot report on {after}: it must share a weight with {before}, by name and shape, "
            "as it does not say what it was made from, got none; give its original"
        )


def _fix_reads(model: CompressibleModel, seed: int) -> ModelProto:
    """The model with reads of analog cells that are the same at every run."""
    proto = to_proto(model)
    read_seed = ANALOG_INPUTS[1]
    for tensor in proto.graph.initializer:
        if tensor.name == read_seed:
            tensor.CopyFrom(numpy_helper.from_array(np.array(seed, np.int64), read_seed))
    return proto


class _Weights:
    """The weights of both models by key, as float32; analog cells are read with one seed."""

    def __init__(self, decoders: list[Decoder], dense: Mapping[str, Dense], seed: int) -> None:
        self.decoders = {decoder.key: decoder for decoder in decoders}
        self._dense = dense
        self._reader = WeightReader(None, seed, None, threads=0)

    def before(self, name: str) -> npt.NDArray[np.float32] | None:
        site = self._dense.get(name)
        return None if site is None else site.numpy().astype(np.float32)

    def after(self, name: str) -> npt.NDArray[np.float32]:
        return self._reader(self.decoders[name]).astype(np.float32)


def _count_largest(tensors: tuple[TensorFacts, ...], weights: _Weights) -> tuple[Histogram, ...]:
    chosen = [
        tensor
        for tensor in sorted(tensors, key=lambda one: (-one.num_weights, one.name))
        if tensor.codec != "none" and tensor.num_weights >= _MIN_HISTOGRAM_WEIGHTS
    ]
    return tuple(
        count_values(one.name, one.codec, weights.before(one.name), weights.after(one.name))
        for one in chosen[:NUM_HISTOGRAMS]
    )


def _draw_largest(tensors: tuple[TensorFacts, ...], weights: _Weights) -> WeightMap | None:
    """The largest layer in a filter; without filters, the error of the largest layer."""
    largest = sorted(tensors, key=lambda one: (-one.num_weights, one.name))
    for tensor in largest:
        if tensor.codec == "bloomier":
            decoder = weights.decoders[tensor.name]
            before = weights.before(tensor.name)
            has_same_shape = before is not None and before.shape == tensor.shape
            return draw_filter(
                tensor.name,
                tensor.shape,
                find_nonzero_codes(decoder),
                tensor.num_nonzero or 0,
                before.ravel() if before is not None and has_same_shape else None,
            )
    for tensor in largest:
        before = None if tensor.codec == "none" else weights.before(tensor.name)
        if before is not None and before.shape == tensor.shape:
            return draw_error(tensor.name, tensor.codec, before, weights.after(tensor.name))
    return None


def _file_bytes(model: CompressibleModel) -> int:
    paths = {path for path in (model.path, *model.external_paths) if path is not None}
    return sum(path.stat().st_size for path in paths)


def _name_data(data: Any) -> str | None:
    if data is None:
        return None
    return Path(data).name if isinstance(data, str | os.PathLike) else "inputs given in Python"


def _describe_machine() -> str:
    cores = os.cpu_count() or 1
    return f"{_read_processor()}, {cores} {'core' if cores == 1 else 'cores'}, {platform.system()}"


def _read_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return (names or [platform.processor() or platform.machine() or "unknown processor"])[0]
