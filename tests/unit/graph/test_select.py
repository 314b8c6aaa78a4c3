from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnxruntime.capi.onnxruntime_pybind11_state as ort_state
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.unit.graph import builders
from wl_onnx.graph import find_weights, load_model
from wl_onnx.graph.weight_positions import _WEIGHT_POSITIONS

NAMES_OF_WEIGHTS = {
    "W",
    "R",
    "B",
    "A",
    "C",
    "weight",
    "weights",
    "QW",
    "MW",
    "AW",
    "data",
    "q_weight",
    "kv_weight",
    "global_weight",
    "bias_table",
    "word_embedding",
    "position_embedding",
    "segment_embedding",
    "fc1_experts_weights",
    "fc2_experts_weights",
    "fc3_experts_weights",
}


def sites_of(proto: onnx.ModelProto) -> dict[str, tuple[str, tuple[str, ...], str | None]]:
    return {s.key: (s.kind, s.op_types, s.skip_reason) for s in find_weights(load_model(proto))}


def single(nodes: list[onnx.NodeProto], *initializers: TensorProto, **kwargs) -> onnx.ModelProto:
    inputs = kwargs.pop("inputs", [builders.value("x", 2, 8)])
    outputs = kwargs.pop("outputs", [builders.value("y", 2, 8)])
    return builders.model(helper.make_graph(nodes, "g", inputs, outputs, list(initializers)))


def test_directly_used_and_transposed_weights_are_found_and_biases_are_not():
    assert sites_of(builders.mlp()) == {
        "w1": ("initializer", ("Gemm",), None),
        "w2": ("initializer", ("MatMul",), None),
    }


def test_weights_of_branches_are_found_with_their_scope():
    assert sites_of(builders.branches()) == {
        "outer": ("initializer", ("MatMul",), None),
        "choice/then_branch/w": ("initializer", ("MatMul",), None),
        "choice/else_branch/v": ("constant", ("MatMul",), None),
    }


def test_a_weight_used_two_scopes_further_in_is_found_where_it_is_declared():
    assert sites_of(builders.nested()) == {
        "If/then_branch/w": ("initializer", ("MatMul",), None),
    }


def test_weights_inside_functions_and_passed_to_them_are_found_once():
    assert sites_of(builders.functions()) == {
        "w": ("initializer", ("MatMul",), None),
        "local::Layer/own": ("constant", ("MatMul",), None),
    }


def test_a_shared_initializer_appears_once_with_all_its_operators():
    nodes = [
        helper.make_node("Gather", ["w", "i"], ["e"]),
        helper.make_node("Identity", ["w"], ["w_same"]),
        helper.make_node("Gemm", ["e", "w_same"], ["y"]),
    ]
    proto = single(
        nodes,
        builders.weight("w", 8, 8),
        inputs=[builders.value("i", 2, data_type=TensorProto.INT64)],
    )
    assert sites_of(proto) == {"w": ("initializer", ("Gather", "Gemm"), None)}


@pytest.mark.parametrize("data_type", [np.float32, np.float16, np.float64, ml_dtypes.bfloat16])
def test_float_weights_are_read_in_their_own_type(data_type):
    values = np.arange(64, dtype=np.float32).astype(data_type).reshape(8, 8)
    raw = TensorProto(
        name="w",
        dims=[8, 8],
        data_type=helper.np_dtype_to_tensor_dtype(np.dtype(data_type)),
        raw_data=values.tobytes(),
    )
    site = find_weights(load_model(single([helper.make_node("MatMul", ["x", "w"], ["y"])], raw)))[0]
    assert site.numpy().dtype == np.dtype(data_type)
    assert site.numpy().tobytes() == values.tobytes()
    assert (site.num_weights, site.size_bytes, site.shape) == (64, values.nbytes, (8, 8))


@pytest.mark.parametrize(
    ("data_type", "field"),
    [
        (TensorProto.FLOAT, "float_data"),
        (TensorProto.FLOAT16, "int32_data"),
        (TensorProto.BFLOAT16, "int32_data"),
        (TensorProto.DOUBLE, "double_data"),
    ],
)
def test_typed_fields_are_read_as_onnx_reads_them(data_type, field):
    tensor = helper.make_tensor("w", data_type, [8, 8], np.linspace(-2, 2, 64))
    assert getattr(tensor, field)
    proto = single([helper.make_node("MatMul", ["x", "w"], ["y"])], tensor)
    read = find_weights(load_model(proto))[0].numpy()
    expected = numpy_helper.to_array(tensor)
    assert read.shape == (8, 8)
    np.testing.assert_array_equal(read.astype(np.float64), expected.astype(np.float64))


def test_integers_quantised_weights_and_list_constants_are_left():
    nodes = [
        helper.make_node("QuantizeLinear", ["fake", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("MatMul", ["x", "d"], ["h"]),
        helper.make_node("DequantizeLinear", ["int8", "s", "z"], ["e"]),
        helper.make_node("MatMul", ["h", "e"], ["m"]),
        helper.make_node("Constant", [], ["listed"], value_floats=[1.0] * 8),
        helper.make_node("MatMul", ["m", "listed"], ["y"]),
    ]
    proto = single(
        nodes,
        builders.weight("fake", 8, 8),
        numpy_helper.from_array(np.ones((8, 8), np.int8), "int8"),
        numpy_helper.from_array(np.float32(0.1), "s"),
        numpy_helper.from_array(np.int8(0), "z"),
        outputs=[builders.value("y", 2)],
    )
    assert sites_of(proto) == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda g: g.output.append(builders.value("w1", 8, 16)), "is a graph output"),
        (lambda g: g.initializer[0].CopyFrom(builders.weight("w1")), "is a scalar"),
        (lambda g: g.initializer[0].CopyFrom(builders.weight("w1", 0, 16)), "is empty"),
        (
            lambda g: g.node.append(helper.make_node("Resize", ["x", "", "w1"], ["z"])),
            "must be constant for Resize",
        ),
    ],
)
def test_what_cannot_be_replaced_says_why(change, reason):
    proto = builders.mlp()
    change(proto.graph)
    assert sites_of(proto)["w1"][2] == reason


def test_a_weight_that_training_updates_is_left():
    proto = builders.mlp()
    proto.training_info.add().update_binding.add(key="w2", value="w2_next")
    assert sites_of(proto)["w2"][2] == "is updated by training_info"
    assert sites_of(proto)["w1"][2] is None


def test_a_tensor_of_two_to_the_32_elements_is_too_large(tmp_path):
    tensor = TensorProto(name="w", dims=[2**16, 2**16], data_type=TensorProto.FLOAT16)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="huge.bin")
    with (tmp_path / "huge.bin").open("wb") as file:
        file.truncate(2**33)
    proto = single([helper.make_node("MatMul", ["x", "w"], ["y"])], tensor)
    site = find_weights(load_model(proto, folder=tmp_path))[0]
    assert site.skip_reason == "has more than 4294967295 elements"


def test_keys_stay_unique_where_a_name_looks_like_a_scope():
    proto = builders.branches()
    proto.graph.initializer.append(builders.weight("choice/else_branch/v", 8, 8))
    proto.graph.node.append(helper.make_node("MatMul", ["x", "choice/else_branch/v"], ["z"]))
    keys = [site.key for site in find_weights(load_model(proto))]
    assert len(set(keys)) == len(keys) == 4
    assert "choice/else_branch/v" in keys


def test_two_nodes_of_one_name_give_two_scopes():
    proto = builders.branches()
    twin = proto.graph.node.add()
    twin.CopyFrom(proto.graph.node[0])
    twin.output[0] = "y2"
    keys = [site.key for site in find_weights(load_model(proto))]
    assert len(set(keys)) == 5


def test_a_cast_between_floats_leads_on_and_one_to_integers_does_not():
    nodes = [
        helper.make_node("Cast", ["w"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "f"], ["h"]),
        helper.make_node("Cast", ["v"], ["i"], to=TensorProto.INT32),
        helper.make_node("Gather", ["i", "i"], ["y"]),
    ]
    half = builders.weight("w", 8, 8, dtype=np.float16)
    assert list(sites_of(single(nodes, half, builders.weight("v", 8)))) == ["w"]


def schema_inputs(domain: str, operator: str) -> list[tuple[str, str]]:
    schemas = [
        s for s in ort_state.get_all_operator_schema() if (s.domain, s.name) == (domain, operator)
    ]
    if not schemas:
        pytest.skip(f"this onnxruntime does not have {domain} {operator}")
    newest = max(schemas, key=lambda s: s.since_version)
    return [(p.name, p.typeStr) for p in newest.inputs]


@pytest.mark.parametrize(("domain", "operator"), sorted(_WEIGHT_POSITIONS))
def test_positions_are_weights_by_the_schemas_of_onnxruntime(domain, operator):
    two_matrices = ("A", "B")
    inputs = schema_inputs(domain, operator)
    for index in _WEIGHT_POSITIONS[domain, operator]:
        name = inputs[index][0]
        assert name in NAMES_OF_WEIGHTS, (operator, index, name)
        if name in ("A", "B"):
            assert tuple(n for n, _ in inputs[:2]) == two_matrices
        assert not inputs[index][1].startswith("tensor(int")
