"""Networks with dead units, and what is left of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from tests.unit.graph.builders import value
from wl_onnx.graph import RemovedUnits, load_model, remove_dead_units, to_proto

Array = np.ndarray
node = helper.make_node


def draw(*shape: int) -> Array:
    values = np.random.default_rng(sum(shape)).uniform(0.25, 1, shape)
    return values.astype(np.float32)


def network(
    nodes: list[onnx.NodeProto],
    x: list[int | str],
    *,
    ir_version: int = 8,
    opset: int = 17,
    **tensors: Array,
) -> onnx.ModelProto:
    """A model from x to y, all of whose tensors are initializers."""
    inputs = [value("x", *x)]
    given = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    if ir_version < 4:
        inputs += [value(t.name, *t.dims, data_type=t.data_type) for t in given]
    y = ["n", *[None] * (3 if nodes[-1].op_type == "Conv" else 1)]
    graph = helper.make_graph(nodes, "network", inputs, [value("y", *y)], given)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def run(proto: onnx.ModelProto | Path, x: Array) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    source = str(proto) if isinstance(proto, Path) else proto.SerializeToString()
    session = onnxruntime.InferenceSession(source, options, ["CPUExecutionProvider"])
    outputs: list[Array] = session.run(None, {"x": x})
    return outputs


def remove(proto: onnx.ModelProto, *shape: int) -> tuple[onnx.ModelProto, RemovedUnits]:
    """The smaller model, whose outputs for inputs of a shape are those of the given one."""
    model = load_model(proto)
    report = remove_dead_units(model)
    smaller = to_proto(model)
    onnx.checker.check_model(smaller, full_check=True)
    x = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    for before, after in zip(run(proto, x), run(smaller, x), strict=True):
        assert before.shape == after.shape
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-6 * np.abs(before).max())
    return smaller, report


def units(report: RemovedUnits) -> dict[str, int]:
    return {layer.name: layer.units_after for layer in report.layers}


def why(report: RemovedUnits, name: str) -> str | None:
    return next(layer.reason for layer in report.layers if layer.name == name)


def dead_mlp(**kwargs: int) -> onnx.ModelProto:
    """Six hidden units: the second is not read, the fifth has no input and gives relu(0.5)."""
    first, second = draw(4, 6), draw(6, 3)
    second[1] = 0
    first[:, 4] = 0
    bias = np.array([1, 2, 3, 4, 0.5, 6], np.float32)
    return network(
        [
            node("Gemm", ["x", "w1", "b1"], ["h"]),
            node("Relu", ["h"], ["r"]),
            node("Gemm", ["r", "w2", "b2"], ["y"]),
        ],
        ["n", 4],
        w1=first,
        b1=bias,
        w2=second,
        b2=draw(3),
        **kwargs,
    )
