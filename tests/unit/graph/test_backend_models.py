"""Every model of onnx's own backend tests that has a weight, there and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import numpy_helper

from wl_onnx import graph
from wl_onnx.graph.weight_positions import _WEIGHT_POSITIONS

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
MODELS = sorted(
    path
    for folder in ("light", "pytorch-converted", "pytorch-operator", "simple")
    for path in (DATA / folder).rglob("*.onnx")
)
FLOATS = (1, 10, 11, 16)
WITH_WEIGHTS = [path for path in MODELS if graph.find_weights(graph.load_model(path))]


def weights_by_onnx_ir(proto: onnx.ModelProto) -> set[str]:
    """Float initializers and Constants of the main graph that are inputs in a weight's place."""
    model = onnx_ir.from_proto(proto)
    values = list(model.graph.initializers.values())
    values += [
        node.outputs[0]
        for node in model.graph
        if node.op_type == "Constant" and "value" in node.attributes
    ]
    return {
        value.name
        for value in values
        if any(
            index in _WEIGHT_POSITIONS.get((node.domain, node.op_type), ())
            for node, index in value.uses()
        )
        and is_float(value)
    }


def is_float(value: onnx_ir.Value) -> bool:
    tensor = value.const_value or value.producer().attributes["value"].as_tensor()
    return tensor.dtype.value in FLOATS


def ordered(items) -> list[bytes]:
    return sorted(item.SerializeToString() for item in items)


@pytest.mark.parametrize("path", MODELS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_the_weights_found_are_those_that_onnx_ir_sees_in_use(path):
    proto = onnx.load(path)
    found = {site.key for site in graph.find_weights(graph.load_model(path))}
    assert weights_by_onnx_ir(proto) <= found
    forwarded = found - weights_by_onnx_ir(proto)
    uses = {name: node.op_type for node in proto.graph.node for name in node.input}
    assert all(uses[name] in ("Transpose", "Reshape", "Identity") for name in forwarded)


def test_enough_models_have_weights():
    assert len(WITH_WEIGHTS) >= 10


@pytest.mark.parametrize("blobs", ["attribute", "initializer"])
@pytest.mark.parametrize("path", WITH_WEIGHTS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_round_trip_gives_the_model_back(path, blobs, tmp_path, compress):
    proto = onnx.load(path)
    model = graph.load_model(path)
    arrays = compress(model, blobs, 300)
    graph.save_model(model, tmp_path / "small.onnx")
    model = graph.load_model(tmp_path / "small.onnx")
    decoders = {d.key: d for d in graph.find_decoders(model)}
    assert decoders.keys() == arrays.keys()
    graph.restore_weights(model, lambda decoder: arrays[decoder.key])
    graph.save_model(model, tmp_path / "dense.onnx")

    result = onnx.load(tmp_path / "dense.onnx")
    onnx.checker.check_model(result)
    constants = {n.output[0]: n for n in proto.graph.node if n.op_type == "Constant"}
    moved = constants.keys() & arrays.keys()
    nodes = [n for n in proto.graph.node if not moved.intersection(n.output)]
    assert list(result.graph.node) == nodes
    before = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    after = {t.name: numpy_helper.to_array(t) for t in result.graph.initializer}
    assert after.keys() == before.keys() | moved
    for name, array in before.items():
        assert after[name].dtype == array.dtype
        np.testing.assert_array_equal(after[name], array)
    inputs = [i for i in result.graph.input if i.name not in arrays]
    assert inputs == [i for i in proto.graph.input if i.name not in arrays]
    if proto.ir_version < 4:
        assert {i.name for i in result.graph.input} == {i.name for i in proto.graph.input} | moved
        assert [i for i in ordered(proto.graph.input) if i not in ordered(result.graph.input)] == []
    assert list(result.graph.output) == list(proto.graph.output)
    infos = [i for i in result.graph.value_info if i.name not in arrays]
    assert infos == [i for i in proto.graph.value_info if i.name not in arrays]
    assert list(result.opset_import) == list(proto.opset_import)
    assert list(result.metadata_props) == list(proto.metadata_props)
    assert list(result.functions) == list(proto.functions)
    assert (result.ir_version, result.producer_name) == (proto.ir_version, proto.producer_name)
