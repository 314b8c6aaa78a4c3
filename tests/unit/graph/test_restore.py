from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.unit.graph import builders
from wl_onnx import graph
from wl_onnx.errors import InputError
from wl_onnx.graph import restore as restore_module

FEEDS = {"x": np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)}


def run(proto: onnx.ModelProto, c: bool = True) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    feeds = dict(FEEDS)
    if any(i.name == "c" for i in session.get_inputs()):
        feeds["c"] = np.array(c)
    return session.run(None, feeds)


def round_trip(proto, compress, blobs="attribute") -> onnx.ModelProto:
    model = graph.load_model(proto)
    arrays = compress(model, blobs, 500)
    model = graph.load_model(graph.to_proto(model))
    graph.restore_weights(model, lambda decoder: arrays[decoder.key])
    return graph.to_proto(model)


@pytest.mark.parametrize("blobs", ["attribute", "initializer"])
@pytest.mark.parametrize(
    "build", [builders.mlp, builders.nested, builders.everything_rare, lambda: builders.mlp(
        ir_version=3, opset=9)]
)  # fmt: skip
def test_a_round_trip_gives_the_same_model_but_for_the_order_of_initializers(
    build, blobs, compress
):
    proto = build()
    result = round_trip(proto, compress, blobs)
    for one in (proto, result):
        for field in (one.graph.initializer, one.graph.input):
            items = sorted(field, key=lambda item: item.name)
            del field[:]
            field.extend(items)
    if proto.graph.name == "nested":
        for one in (proto, result):
            then = next(a.g for a in one.graph.node[0].attribute if a.name == "then_branch")
            items = sorted(then.initializer, key=lambda item: item.name)
            del then.initializer[:]
            then.initializer.extend(items)
    assert result == proto
    assert result.SerializeToString(deterministic=True) == proto.SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize("blobs", ["attribute", "initializer"])
@pytest.mark.parametrize("ir_version", [3, 8])
def test_constants_of_branches_come_back_as_initializers_where_they_may(
    blobs, ir_version, compress
):
    proto = builders.branches(ir_version=ir_version)
    result = round_trip(proto, compress, blobs)
    onnx.checker.check_model(result, full_check=True)
    branch = next(a.g for a in result.graph.node[0].attribute if a.name == "else_branch")
    if ir_version < 4:
        assert [n.op_type for n in branch.node] == ["Constant", "MatMul"]
    else:
        assert [t.name for t in branch.initializer] == ["v"]
        assert [n.op_type for n in branch.node] == ["MatMul"]
    for c in (True, False):
        np.testing.assert_array_equal(run(result, c)[0], run(proto, c)[0])


@pytest.mark.parametrize("blobs", ["attribute", "initializer"])
@pytest.mark.parametrize("ir_version", [8, 10])
def test_functions_come_back_as_they_were(blobs, ir_version, compress):
    proto = builders.functions(ir_version=ir_version)
    result = round_trip(proto, compress, blobs)
    onnx.checker.check_model(result, full_check=True)
    original = proto.functions[0]
    original.node[1].attribute[0].t.name = "own"
    assert list(result.functions[0].node) == list(original.node)
    assert list(result.functions[0].opset_import) == list(original.opset_import)
    np.testing.assert_array_equal(run(result)[0], run(proto)[0])


def test_old_models_list_their_initializers_again(compress):
    proto = builders.mlp(ir_version=3, opset=9)
    result = round_trip(proto, compress, "initializer")
    onnx.checker.check_model(result, full_check=True)
    assert {i.name for i in result.graph.input} == {"x", "w1", "b1", "w2"}
    np.testing.assert_array_equal(run(result)[0], run(proto)[0])


def test_a_model_that_is_not_compressed_stays_as_it_is():
    model = graph.load_model(builders.mlp())
    graph.restore_weights(model, lambda decoder: np.zeros(0))
    assert model.proto == builders.mlp()


@pytest.mark.parametrize("wrong", [np.zeros((8, 16)), np.zeros(128, np.float32)])
def test_weights_of_another_shape_or_type_are_refused(wrong, compress):
    model = graph.load_model(builders.mlp())
    compress(model)
    with pytest.raises(InputError, match=r"cannot restore w1: .* float32 of shape \[8, 16\]"):
        graph.restore_weights(model, lambda decoder: wrong)


def test_large_weights_are_decoded_one_by_one_when_the_model_is_saved(
    tmp_path, compress, monkeypatch
):
    proto = builders.mlp()
    proto.graph.initializer[0].CopyFrom(builders.weight("w1", 8, 1600))
    model = graph.load_model(proto)
    arrays = compress(model)
    monkeypatch.setattr(restore_module, "INLINE_LIMIT_BYTES", 2000)
    decoded = []

    def decode(decoder: graph.Decoder) -> np.ndarray:
        decoded.append(decoder.key)
        return arrays[decoder.key]

    graph.restore_weights(model, decode)
    assert decoded == ["w2"]
    graph.save_model(model, tmp_path / "dense.onnx")
    assert decoded == ["w2", "w1"]
    assert (tmp_path / "dense.onnx.data").stat().st_size == 8 * 1600 * 4
    loaded = onnx.load(tmp_path / "dense.onnx")
    np.testing.assert_array_equal(builders.arrays_of(loaded)["w1"], arrays["w1"])
