"""Nodes that decode several tensors: put in, read, taken out again."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.unit.graph import builders
from wl_onnx.errors import InputError, ModelError
from wl_onnx.graph import (
    Bundle,
    CompressibleModel,
    Replacement,
    externalize_weights,
    find_decoders,
    find_parameters,
    find_weights,
    is_compressed,
    load_model,
    replace_weights,
    restore_weights,
    set_cache,
    to_proto,
)

KEYS = ("w2", "b1")


def bundled(proto: onnx.ModelProto, keys: tuple[str, ...] = KEYS, **kwargs) -> CompressibleModel:
    model = load_model(proto)
    replace_weights(model, {}, bundles=[Bundle(b"blob", keys, "two of them")], **kwargs)
    return model


def halves(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with float16 initializers; it need not run."""
    for tensor in proto.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    return proto


def test_one_node_stands_for_several_tensors():
    proto = builders.mlp()
    result = to_proto(bundled(proto))
    expected = copy.deepcopy(proto)
    node = helper.make_node(
        "BundleDecode",
        [],
        ["w2", "b1"],
        name="bundle.decode",
        domain="com.wl_onnx",
    )
    for name, content in (
        ("shapes", [2, 4, 16, 1, 16]),
        ("data_type", 1),
        ("blob", TensorProto(data_type=TensorProto.UINT8, dims=[4], raw_data=b"blob")),
        ("cache", 1),
        ("summary", "two of them"),
    ):
        node.attribute.append(helper.make_attribute(name, content))
    expected.graph.node.insert(0, node)
    del expected.graph.initializer[1:]
    expected.opset_import.add(domain="com.wl_onnx", version=1)
    assert result == expected


def test_decoders_tell_what_was_put_in():
    model = bundled(builders.mlp())
    assert is_compressed(model)
    decoders = find_decoders(model)
    assert [(one.key, one.shape, one.index) for one in decoders] == [
        ("w2", (4, 16), 0),
        ("b1", (16,), 1),
    ]
    for one in decoders:
        assert (one.codec, one.data_type, one.summary) == ("bundle", 1, "two of them")
        assert one.bundle_shapes == ((4, 16), (16,))
        assert one.blob == b"blob"
        assert one.cache
    set_cache(model, False)
    assert not any(one.cache for one in find_decoders(model))


@pytest.mark.parametrize("blobs", ["attribute", "initializer"])
@pytest.mark.parametrize("ir_version", [3, 4, 8])
@pytest.mark.parametrize("is_input", [False, True])
@pytest.mark.parametrize("is_half", [False, True])
def test_a_round_trip_gives_the_same_model(ir_version, blobs, is_input, is_half):
    proto = builders.mlp(ir_version=ir_version)
    if is_half:
        proto = halves(proto)
    if is_input and ir_version >= 4:
        proto.graph.input.append(builders.value("b1", 16))
    model = bundled(proto, blobs=blobs, metadata={"version": "1"})
    result = to_proto(model)
    assert {"w2", "b1"}.isdisjoint(one.name for one in result.graph.input)
    assert {"w2", "b1"}.isdisjoint(one.name for one in result.graph.initializer)
    typed = {one.name for one in result.graph.value_info} & {"w2", "b1"}
    assert bool(typed) is (is_half or ir_version < 4)

    arrays = builders.arrays_of(proto)
    restore_weights(model, lambda decoder: arrays[decoder.name])
    restored = to_proto(model)
    assert [tensor.name for tensor in restored.graph.initializer] == ["w1", "w2", "b1"]
    for name, array in builders.arrays_of(restored).items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype == arrays[name].dtype
    assert restored.graph.node == proto.graph.node
    assert restored.opset_import == proto.opset_import
    if ir_version < 4:
        wanted = sorted(one.name for one in proto.graph.input)
        assert sorted(one.name for one in restored.graph.input) == wanted


def test_bundles_and_single_weights_stand_side_by_side():
    model = load_model(builders.mlp())
    bundles = [Bundle(b"one", ("b1",), "s"), Bundle(b"two", ("w2",), "s", cache=False)]
    replace_weights(model, {"w1": Replacement(b"three", "s")}, bundles=bundles)
    found = {one.key: (one.codec, bytes(one.blob), one.cache) for one in find_decoders(model)}
    assert found == {
        "b1": ("bundle", b"one", True),
        "w2": ("bundle", b"two", False),
        "w1": ("bloomier", b"three", True),
    }
    names = [node.name for node in model.proto.graph.node]
    assert len(set(names) & {"bundle.decode", "bundle.decode#2", "w1.decode"}) == 3
    onnx.checker.check_model(to_proto(model))


def test_constants_of_the_main_graph_can_be_bundled():
    graph = helper.make_graph(
        [
            builders.constant("w", 8, 8),
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("MatMul", ["h", "v"], ["y"]),
        ],
        "g",
        [builders.value("x", 2, 8)],
        [builders.value("y", 2, 8)],
        [builders.weight("v", 8, 8)],
    )
    result = to_proto(bundled(builders.model(graph), ("w", "v")))
    assert [node.op_type for node in result.graph.node] == ["BundleDecode", "MatMul", "MatMul"]
    assert not result.graph.initializer


def test_a_tensor_that_a_branch_uses_can_be_bundled():
    model = bundled(builders.branches(), ("outer",))
    arrays = builders.arrays_of(builders.branches())
    external = externalize_weights(model, lambda decoder: arrays[decoder.name])
    assert [(name, one.key) for name, one in external.weights] == [("outer", "outer")]


@pytest.mark.parametrize(
    ("build", "keys", "message"),
    [
        (builders.mlp, ("nothing",), "cannot replace nothing: .*got one that is none"),
        (builders.mlp, ("b1", "b1"), "cannot replace b1: it must be replaced once"),
        (builders.mlp, (), "cannot bundle nothing: tensors must be of one element type"),
        (builders.branches, ("choice/then_branch/w",), "it must lie in the main graph, got choi"),
    ],
)
def test_what_cannot_be_bundled_is_refused(build, keys, message):
    with pytest.raises(InputError, match=message):
        bundled(build(), keys)


def test_several_types_are_refused():
    proto = builders.mlp()
    half = builders.weight("w2", 4, 16, dtype=np.float16)
    proto.graph.initializer[2].CopyFrom(half)
    with pytest.raises(InputError, match=r"cannot bundle w2, b1: .*one element type, got \[1, 10"):
        bundled(proto)


def test_a_tensor_is_not_replaced_twice():
    model = load_model(builders.mlp())
    with pytest.raises(InputError, match="cannot replace w2: it must be replaced once"):
        replace_weights(model, {"w2": Replacement(b"", "s")}, bundles=[Bundle(b"", ("w2",), "s")])
    assert not is_compressed(model)


def attribute(model: CompressibleModel, name: str) -> onnx.AttributeProto:
    return next(a for a in model.proto.graph.node[0].attribute if a.name == name)


def changed(name: str, content: object):
    def change(model: CompressibleModel) -> None:
        attribute(model, name).CopyFrom(helper.make_attribute(name, content))

    return change


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (changed("shapes", 3), "attribute shapes must be of type INTS, got INT"),
        (changed("shapes", [1]), "its shapes must each follow their rank"),
        (changed("shapes", [2, 4, 16, 2, 16]), "its shapes must each follow their rank"),
        (changed("shapes", [-1, 4]), "its shapes must each follow their rank"),
        (changed("shapes", [2**40, 4]), "its shapes must each follow their rank"),
        (changed("shapes", [1, 4]), "an output for each of its shapes, got 2 and 1"),
        (changed("shapes", [1, 4, 1, 2, 1, 1]), "an output for each of its shapes, got 2 and 3"),
        (changed("shapes", [1, -4, 1, 2]), "its shape must not be negative, got [-4]"),
        (changed("shapes", [1, 2**32, 0]), "fewer than 2**32 weights, got 4294967296"),
        (changed("data_type", 10), "its data_type must be 1, got 10"),
        (changed("data_type", 7), "must be 1, 10, 11 or 16, got 7"),
        (lambda m: m.proto.graph.node[0].output.append("z"), "each of its shapes, got 3 and 2"),
        (lambda m: m.proto.graph.node[0].output.append(""), "each of its shapes, got 2 and 2"),
        (lambda m: attribute(m, "shapes").Clear(), "attribute shapes must be of type INTS"),
    ],
)
def test_a_malformed_node_is_named(change, part):
    model = bundled(builders.mlp())
    change(model)
    with pytest.raises(ModelError) as caught:
        find_decoders(model)
    assert str(caught.value).startswith("cannot read node bundle.decode: ")
    assert part in str(caught.value)


def test_everything_small_of_a_real_model_fits_one_node(find_model):
    model = load_model(find_model("slim-320"))
    keys = [one.key for one in (*find_parameters(model), *find_weights(model))]
    replace_weights(model, {}, bundles=[Bundle(b"blob", tuple(keys), "all")])
    assert [one.key for one in find_decoders(model)] == keys
    assert {tensor.data_type for tensor in model.proto.graph.initializer} == {TensorProto.INT64}
    onnx.checker.check_model(to_proto(model))
