from __future__ import annotations

import copy

import onnx
import pytest
from onnx import TensorProto, helper

from tests.unit.graph import builders
from wl_onnx.errors import InputError
from wl_onnx.graph import (
    Replacement,
    find_decoders,
    find_weights,
    load_model,
    read_metadata,
    replace_weights,
    to_proto,
)


def decode_node(name: str, shape: list[int], blob: bytes, **kwargs) -> onnx.NodeProto:
    tensor = TensorProto(data_type=TensorProto.UINT8, dims=[len(blob)], raw_data=blob)
    return helper.make_node(
        "BloomierDecode",
        kwargs.pop("inputs", []),
        [name],
        name=f"{name}.decode",
        domain="com.wl_onnx",
        shape=shape,
        data_type=1,
        cache=1,
        summary="s",
        **({"blob": tensor} if kwargs.pop("inline", True) else {}),
        **kwargs,
    )


def by_name(node: onnx.NodeProto) -> onnx.NodeProto:
    ordered = copy.deepcopy(node)
    del ordered.attribute[:]
    ordered.attribute.extend(sorted(node.attribute, key=lambda a: a.name))
    return ordered


def marked(info: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    info.doc_string = "written by wl_onnx"
    return info


def rewritten(proto: onnx.ModelProto, keys: list[str], **kwargs) -> onnx.ModelProto:
    model = load_model(proto)
    replace_weights(model, {key: Replacement(key.encode(), "s") for key in keys}, **kwargs)
    return to_proto(model)


def assert_same(result: onnx.ModelProto, expected: onnx.ModelProto) -> None:
    for one in (result, expected):
        for graph in [one.graph, *one.functions]:
            nodes = [by_name(node) for node in graph.node]
            del graph.node[:]
            graph.node.extend(nodes)
    assert result == expected


def test_nothing_but_the_weight_changes():
    proto = builders.everything_rare()
    expected = copy.deepcopy(proto)
    node = decode_node("w1", [8, 16], b"w1", doc_string="the first weight")
    node.metadata_props.add(key="t", value="3")
    expected.graph.node.insert(0, node)
    del expected.graph.initializer[0]
    expected.graph.value_info.append(marked(builders.value("w1", 8, 16)))
    expected.opset_import.add(domain="com.wl_onnx", version=1)
    expected.metadata_props.add(key="com.wl_onnx.version", value="0.1.0")
    result = rewritten(proto, ["w1"], metadata={"version": "0.1.0"})
    assert_same(result, expected)
    assert bytes([0xAA, 0x06, 0x02, 0x68, 0x69]) in result.SerializeToString()


def test_decode_nodes_come_first_in_the_order_of_the_initializers():
    result = rewritten(builders.mlp(), ["w2", "w1"])
    assert [node.op_type for node in result.graph.node] == [
        "BloomierDecode", "BloomierDecode", "Gemm", "Relu", "Transpose", "MatMul",
    ]  # fmt: skip
    assert [node.output[0] for node in result.graph.node[:2]] == ["w1", "w2"]


def test_a_constant_node_is_replaced_where_it_stands():
    proto = builders.functions(ir_version=10)
    expected = copy.deepcopy(proto)
    function = expected.functions[0]
    function.node[1].CopyFrom(decode_node("own", [8, 8], b"local::Layer/own"))
    function.opset_import.add(domain="com.wl_onnx", version=1)
    function.value_info.append(marked(builders.value("own", 8, 8)))
    expected.opset_import.add(domain="com.wl_onnx", version=1)
    assert_same(rewritten(proto, ["local::Layer/own"]), expected)


def test_functions_get_no_value_info_before_ir_version_10():
    result = rewritten(builders.functions(ir_version=9), ["local::Layer/own"])
    assert not result.functions[0].value_info


def test_nodes_stay_in_the_scope_of_their_weight():
    result = rewritten(builders.branches(), ["choice/then_branch/w", "choice/else_branch/v"])
    branches = {a.name: a.g for a in result.graph.node[0].attribute}
    assert branches["then_branch"].node[0].output == ["w"]
    assert not branches["then_branch"].initializer
    assert branches["else_branch"].node[0].output == ["v"]
    assert [info.name for info in branches["else_branch"].value_info] == ["v"]
    assert not branches["else_branch"].value_info[0].doc_string
    assert [info.name for info in branches["then_branch"].value_info] == ["w"]


@pytest.mark.parametrize("ir_version", [3, 4, 8])
def test_a_weight_that_is_an_input_too_loses_the_input(ir_version):
    proto = builders.mlp(ir_version=3, opset=9)
    proto.ir_version = ir_version
    result = rewritten(proto, ["w1"])
    assert [info.name for info in result.graph.input] == ["x", "b1", "w2"]
    assert result.graph.value_info[-1] == proto.graph.input[1]


def test_incomplete_value_info_is_completed():
    proto = builders.mlp()
    proto.graph.value_info.append(builders.value("w1", "a", "b"))
    result = rewritten(proto, ["w1"])
    assert [i for i in result.graph.value_info if i.name == "w1"] == [builders.value("w1", 8, 16)]


@pytest.mark.parametrize("ir_version", [3, 8])
def test_blobs_can_be_initializers(ir_version):
    proto = builders.mlp(ir_version=ir_version, opset=9)
    proto.graph.node[1].output[0] = proto.graph.node[3].input[0] = "w1.blob"
    result = rewritten(proto, ["w1"], blobs="initializer")
    expected = TensorProto(name="w1.blob#2", data_type=2, dims=[2], raw_data=b"w1")
    assert result.graph.initializer[-1] == expected
    node = decode_node("w1", [8, 16], b"", inputs=["w1.blob#2"], inline=False)
    assert by_name(result.graph.node[0]) == by_name(node)
    assert ("w1.blob#2" in [i.name for i in result.graph.input]) == (ir_version < 4)


def test_blobs_of_functions_and_old_branches_are_constant_nodes():
    result = rewritten(builders.functions(), ["local::Layer/own"], blobs="initializer")
    assert [n.op_type for n in result.functions[0].node] == [
        "Relu", "Constant", "BloomierDecode", "MatMul", "MatMul",
    ]  # fmt: skip
    result = rewritten(builders.branches(ir_version=3), ["choice/then_branch/w"],
                       blobs="initializer")  # fmt: skip
    then = next(a.g for a in result.graph.node[0].attribute if a.name == "then_branch")
    assert not then.initializer
    assert [n.op_type for n in then.node][:2] == ["Constant", "BloomierDecode"]


def test_node_names_are_unique():
    proto = builders.mlp()
    proto.graph.node[0].name = "w1.decode"
    names = [node.name for node in rewritten(proto, ["w1"]).graph.node]
    assert names[:2] == ["w1.decode#2", "w1.decode"]


@pytest.mark.parametrize("key", ["b1", "nothing"])
def test_what_is_no_weight_is_refused(key):
    with pytest.raises(InputError, match=f"cannot replace {key}: .*got one that is none"):
        rewritten(builders.mlp(), [key])


def test_what_is_a_graph_output_is_refused():
    proto = builders.mlp()
    proto.graph.output.append(builders.value("w1", 8, 16))
    with pytest.raises(InputError, match="got one that is a graph output"):
        rewritten(proto, ["w1"])


@pytest.mark.parametrize("blobs", ["attribute", "initializer"])
def test_decoders_tell_what_was_put_in(blobs, compress):
    for build in (builders.mlp, builders.branches, builders.nested, builders.functions):
        model = load_model(build())
        sites = {site.key: site for site in find_weights(model)}
        compress(model, blobs, 500)
        decoders = find_decoders(load_model(to_proto(model)))
        assert {d.key for d in decoders} == set(sites)
        for d in decoders:
            site = sites[d.key]
            assert bytes(d.blob) == d.key.encode() * 500
            assert (d.shape, d.data_type, d.cache) == (site.shape, site.data_type, True)
            assert (d.name, d.scope, d.num_weights) == (site.name, site.scope, site.num_weights)
            assert d.summary == f"blob of {d.key}"
            assert d.blob_bytes == len(d.blob)
        assert read_metadata(model) == {"version": "0.1.0"}
