from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from tests.unit.graph import builders
from wl_onnx.errors import ModelError
from wl_onnx.graph import find_decoders, load_model, set_cache


def compressed(compress, blobs: str = "attribute"):
    model = load_model(builders.mlp())
    compress(model, blobs)
    return model


def attribute(model, name: str):
    return next(a for a in model.proto.graph.node[0].attribute if a.name == name)


def without(name: str):
    def change(model) -> None:
        node = model.proto.graph.node[0]
        node.attribute.remove(attribute(model, name))

    return change


def changed(name: str, value: object):
    def change(model) -> None:
        attribute(model, name).CopyFrom(helper.make_attribute(name, value))

    return change


def add_input(model) -> None:
    model.proto.graph.node[0].input.append("b1")


def take_float_blob(model) -> None:
    add_input(model)
    without("blob")(model)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (without("shape"), "attribute shape must be of type INTS, got none"),
        (without("data_type"), "attribute data_type must be of type INT, got none"),
        (without("blob"), "attribute blob must be of type TENSOR, got none"),
        (changed("shape", 3), "attribute shape must be of type INTS, got INT"),
        (changed("shape", [2, -1]), "its shape must not be negative, got [2, -1]"),
        (changed("shape", [2**16, 2**16]), "fewer than 2**32 weights, got 4294967296"),
        (changed("data_type", 7), "must be 1, 10, 11 or 16, got 7"),
        (changed("cache", "yes"), "attribute cache must be of type INT, got STRING"),
        (changed("summary", 1), "attribute summary must be of type STRING, got INT"),
        (changed("blob", b"x"), "attribute blob must be of type TENSOR, got STRING"),
        (
            changed("blob", helper.make_tensor("b", TensorProto.INT32, [1], [1])),
            "must be a uint8 tensor with one dimension, got element type 6 and shape [1]",
        ),
        (
            changed("blob", helper.make_tensor("b", TensorProto.UINT8, [1, 1], [1])),
            "must be a uint8 tensor with one dimension, got element type 2 and shape [1, 1]",
        ),
        (add_input, "it must have a blob as attribute or as input, got both"),
        (take_float_blob, "must be a uint8 tensor with one dimension, got element type 1"),
        (
            lambda m: setattr(m.proto.graph.node[0], "op_type", "Later"),
            "its operator must be one of AnalogRead, BloomierDecode, BundleDecode, Palette",
        ),
        (lambda m: m.proto.graph.node[0].output.append("z"), "must have one output, got 2"),
    ],
)
def test_a_malformed_node_is_named(change, part, compress):
    model = compressed(compress)
    change(model)
    with pytest.raises(ModelError) as caught:
        find_decoders(model)
    assert str(caught.value).startswith("cannot read node w1.decode: ")
    assert part in str(caught.value)


@pytest.mark.parametrize("name", ["x", "h"])
def test_a_blob_that_is_computed_is_refused(name, compress):
    model = compressed(compress, "initializer")
    model.proto.graph.node[0].input[0] = name
    with pytest.raises(ModelError, match=f"its blob's input must be an initializer, got {name}"):
        find_decoders(model)


def test_a_later_operator_set_is_refused(compress):
    model = compressed(compress)
    model.proto.opset_import[-1].version = 2
    with pytest.raises(ModelError, match="must be at most 1, got 2; install a newer wl-onnx"):
        find_decoders(model)


def test_cache_is_set_on_every_node_wherever_it_lies(compress):
    for build in (builders.mlp, builders.nested, builders.functions):
        model = load_model(build())
        compress(model)
        set_cache(model, False)
        assert not any(decoder.cache for decoder in find_decoders(model))
        set_cache(model, True)
        assert all(decoder.cache for decoder in find_decoders(model))


def test_a_missing_cache_attribute_means_cached(compress):
    model = compressed(compress)
    without("cache")(model)
    assert find_decoders(model)[0].cache
    set_cache(model, False)
    assert not find_decoders(model)[0].cache


def test_blobs_in_typed_fields_are_read(compress):
    model = compressed(compress)
    attribute(model, "blob").t.CopyFrom(
        TensorProto(data_type=TensorProto.UINT8, dims=[3], int32_data=[1, 2, 255])
    )
    assert bytes(find_decoders(model)[0].blob) == b"\x01\x02\xff"
