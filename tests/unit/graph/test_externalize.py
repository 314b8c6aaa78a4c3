from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from tests.unit.graph import builders
from wl_onnx import graph

X = np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)


def run(data: bytes, c: bool, names=(), values=()) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    if names:
        options.add_external_initializers(list(names), list(values))
    session = onnxruntime.InferenceSession(data, options)
    feeds = {"x": X}
    if any(i.name == "c" for i in session.get_inputs()):
        feeds["c"] = np.array(c)
    return session.run(None, feeds)[0]


def run_externalized(model: graph.CompressibleModel, arrays, c: bool) -> np.ndarray:
    result = graph.externalize_weights(model, lambda decoder: arrays[decoder.key])
    arrays = [(name, arrays[decoder.key]) for name, decoder in result.weights]
    arrays += [(name, array) for name, _, array in result.dense]
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for _, array in arrays]
    return run(result.proto.SerializeToString(), c, [name for name, _ in arrays], values)


def returned_weight() -> onnx.ModelProto:
    """A branch that gives its weight, scaled by nothing, as its output too."""
    proto = builders.branches()
    branch = next(a.g for a in proto.graph.node[0].attribute if a.name == "then_branch")
    branch.node[1].input[1] = "w"
    return proto


@pytest.mark.parametrize("c", [True, False])
@pytest.mark.parametrize("blobs", ["attribute", "initializer"])
@pytest.mark.parametrize(
    "build",
    [
        builders.mlp,
        lambda: builders.mlp(ir_version=3, opset=9),
        builders.branches,
        lambda: builders.branches(ir_version=3),
        builders.nested,
        builders.functions,
        lambda: builders.functions(ir_version=10),
        returned_weight,
    ],
)
def test_weights_handed_over_give_the_outputs_of_the_original(build, blobs, c, compress):
    proto = build()
    model = graph.load_model(proto)
    arrays = compress(model, blobs, 500)
    model = graph.load_model(graph.to_proto(model))
    result = run_externalized(model, arrays, c)
    np.testing.assert_array_equal(result, run(proto.SerializeToString(), c))


def test_initializers_are_declared_as_onnxruntime_wants_them(compress):
    model = graph.load_model(builders.mlp())
    compress(model)
    result = graph.externalize_weights(model, lambda decoder: np.zeros(0))
    assert [(name, d.key) for name, d in result.weights] == [("w1", "w1"), ("w2", "w2")]
    tensor = result.proto.graph.initializer[-2]
    assert (tensor.name, tuple(tensor.dims), tensor.data_type) == ("w1", (8, 16), 1)
    assert tensor.data_location == onnx.TensorProto.EXTERNAL
    assert not tensor.HasField("raw_data")
    entries = {entry.key: entry.value for entry in tensor.external_data}
    assert (entries["offset"], entries["length"]) == ("0", "512")
    assert not any(o.domain == "com.wl_onnx" for o in result.proto.opset_import)


def test_weights_of_branches_move_to_the_main_graph_under_names_of_their_own(compress):
    model = graph.load_model(builders.branches())
    compress(model)
    result = graph.externalize_weights(model, lambda decoder: np.zeros(0))
    assert {name for name, _ in result.weights} == {
        "outer", "choice/then_branch/w", "choice/else_branch/v",
    }  # fmt: skip
    assert {t.name for t in result.proto.graph.initializer} == {n for n, _ in result.weights}


def test_a_hoisted_weight_that_its_branch_returns_goes_through_an_identity(compress):
    model = graph.load_model(builders.branches())
    arrays = compress(model)
    branch = next(a.g for a in model.proto.graph.node[-1].attribute if a.name == "else_branch")
    branch.output[0].name = "v"
    del branch.node[1:]
    result = run_externalized(model, arrays, c=False)
    np.testing.assert_array_equal(result, arrays["choice/else_branch/v"])


def test_external_data_that_stays_dense_is_handed_over_mapped(external_model, compress):
    model = graph.load_model(external_model)
    arrays = compress(model)
    result = graph.externalize_weights(model, lambda decoder: np.zeros(0))
    assert [(name, data_type) for name, data_type, _ in result.dense] == [("b1", 1)]
    assert isinstance(result.dense[0][2].base, np.memmap)
    fresh = graph.load_model(external_model)
    compress(fresh)
    output = run_externalized(fresh, arrays, c=True)
    np.testing.assert_array_equal(output, run(builders.mlp().SerializeToString(), c=True))


def test_external_constants_and_initializers_of_branches_are_hoisted(tmp_path, compress):
    proto = builders.branches()
    expected = run(proto.SerializeToString(), True), run(proto.SerializeToString(), False)
    branches = {a.name: a.g for a in proto.graph.node[0].attribute}
    tensors = [
        branches["then_branch"].initializer[0],
        branches["else_branch"].node[0].attribute[0].t,
    ]
    for index, tensor in enumerate(tensors):
        (tmp_path / f"{index}.bin").write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=f"{index}.bin")
    for c, output in zip((True, False), expected, strict=True):
        model = graph.load_model(proto, folder=tmp_path)
        np.testing.assert_array_equal(run_externalized(model, {}, c), output)


def test_external_constants_of_functions_are_read_in(tmp_path, compress):
    proto = builders.functions()
    expected = run(proto.SerializeToString(), True)
    tensor = proto.functions[0].node[1].attribute[0].t
    (tmp_path / "own.bin").write_bytes(numpy_helper.to_array(tensor).tobytes())
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="own.bin")
    model = graph.load_model(proto, folder=tmp_path)
    np.testing.assert_array_equal(run_externalized(model, {}, True), expected)


def test_a_model_with_nothing_of_ours_stays_as_it_is():
    proto = builders.mlp()
    result = graph.externalize_weights(graph.load_model(proto), lambda decoder: np.zeros(0))
    assert (result.proto, result.weights, result.dense) == (proto, [], [])


def test_names_taken_by_others_are_not_given_to_hoisted_weights(compress):
    proto = builders.branches()
    proto.graph.node.append(helper.make_node("Identity", ["x"], ["choice/then_branch/w"]))
    model = graph.load_model(proto)
    arrays = compress(model)
    np.testing.assert_array_equal(
        run_externalized(model, arrays, True), run(proto.SerializeToString(), True)
    )
