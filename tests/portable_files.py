"""What the tests of portable files share: what a stock onnxruntime makes of such a file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

OURS = "com.wl_onnx"
FUNCTIONS = "com.wl_onnx.portable"

_TYPES = {"tensor(bool)": bool, "tensor(float)": np.float32, "tensor(double)": np.float64}


def open_plain(model: onnx.ModelProto | Path, **options: object) -> onnxruntime.InferenceSession:
    """A session of a stock onnxruntime in which nothing is registered."""
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, one_thread(**options), ["CPUExecutionProvider"])


def one_thread(**options: object) -> onnxruntime.SessionOptions:
    """Options; the number of threads may decide about the last bits of a sum."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = 1
    for name, value in options.items():
        setattr(settings, name, value)
    return settings


def draw_feeds(session: onnxruntime.InferenceSession, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    feeds = {}
    for one in session.get_inputs():
        shape = [dim if isinstance(dim, int) else 2 for dim in one.shape]
        feeds[one.name] = rng.normal(size=shape).astype(_TYPES[one.type])
    return feeds


def fold(model: onnx.ModelProto, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Values of the main graph, of which nothing depends on an input, as onnxruntime gives them."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    infos = {info.name: info for info in copy.graph.value_info}
    names = list(names)
    copy.graph.output.extend(infos[name] for name in names)
    session = open_plain(copy)
    outputs = session.run(names, draw_feeds(session))
    return dict(zip(names, outputs, strict=True))


def optimize(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """What onnxruntime makes of a model before it fuses operators."""
    path = folder / "optimized.onnx"
    level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    open_plain(model, optimized_model_filepath=str(path), graph_optimization_level=level)
    return onnx.load(path)


def all_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes of the main graph, of all subgraphs and of all functions."""
    found: list[onnx.NodeProto] = []

    def visit(nodes: Iterable[onnx.NodeProto]) -> None:
        for node in nodes:
            found.append(node)
            for attribute in node.attribute:
                visit(attribute.g.node)

    for holder in (model.graph, *model.functions):
        visit(holder.node)
    return found


def all_arrays(model: onnx.ModelProto) -> dict[tuple[str, ...], np.ndarray]:
    """Initializers and Constant nodes, of subgraphs and functions too, by scope and name."""
    found: dict[tuple[str, ...], np.ndarray] = {}

    def visit(graph: onnx.GraphProto | onnx.FunctionProto, scope: tuple[str, ...]) -> None:
        for tensor in getattr(graph, "initializer", ()):
            found[(*scope, tensor.name)] = numpy_helper.to_array(tensor)
        for node in graph.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.HasField("t"):
                    found[(*scope, node.output[0])] = numpy_helper.to_array(attribute.t)
                if attribute.HasField("g"):
                    visit(attribute.g, (*scope, attribute.name))

    visit(model.graph, ())
    for function in model.functions:
        visit(function, (function.name,))
    return found


def blobs_by_weight(model: onnx.ModelProto) -> dict[str, bytes]:
    return {
        node.output[0]: helper.get_node_attr_value(node, "blob").raw_data
        for node in all_nodes(model)
        if node.domain == OURS
    }


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return (
        one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    )
