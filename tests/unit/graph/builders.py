"""Small models that hold every form in which a weight can stand in an ONNX file."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def weight(name: str, *shape: int, dtype: object = np.float32) -> TensorProto:
    seed = sum(map(ord, name))
    values = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    return numpy_helper.from_array(values, name)


def constant(name: str, *shape: int) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=weight(name, *shape))


def value(name: str, *shape: int | str, data_type: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, data_type, list(shape))


def model(graph: onnx.GraphProto, *, ir_version: int = 8, **kwargs: object) -> onnx.ModelProto:
    kwargs.setdefault("opset_imports", [helper.make_opsetid("", 17)])
    return helper.make_model(graph, ir_version=ir_version, producer_name="test", **kwargs)


def mlp(*, ir_version: int = 8, opset: int = 17) -> onnx.ModelProto:
    """Two layers, the second through a Transpose, with a bias and everything that may get lost."""
    inputs = [value("x", "n", 8)]
    initializers = [weight("w1", 8, 16), weight("b1", 16), weight("w2", 4, 16)]
    if ir_version < 4:
        inputs += [value("w1", 8, 16), value("b1", 16), value("w2", 4, 16)]
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="first", doc_string="layer"),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("Transpose", ["w2"], ["w2_t"], perm=[1, 0]),
            helper.make_node("MatMul", ["r", "w2_t"], ["y"], name="second"),
        ],
        "mlp",
        inputs,
        [value("y", "n", 4)],
        initializers,
        doc_string="a graph",
        value_info=[value("h", "n", 16), value("r", "n", 16)],
    )
    proto = model(
        graph,
        ir_version=ir_version,
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)],
        doc_string="a model",
    )
    helper.set_model_props(proto, {"author": "someone"})
    proto.graph.quantization_annotation.add(tensor_name="w1").quant_parameter_tensor_names.add(
        key="SCALE_TENSOR", value="b1"
    )
    return proto


def everything_rare() -> onnx.ModelProto:
    """An MLP with sparse initializers, training information and fields of a later ONNX."""
    proto = mlp(ir_version=10)
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.ones(2, np.float32), "sparse"),
        numpy_helper.from_array(np.array([1, 3]), "sparse_indices"),
        [5],
    )
    proto.graph.sparse_initializer.append(sparse)
    proto.graph.metadata_props.add(key="g", value="1")
    proto.graph.node[0].metadata_props.add(key="n", value="2")
    proto.graph.initializer[0].metadata_props.add(key="t", value="3")
    proto.graph.initializer[0].doc_string = "the first weight"
    info = proto.training_info.add()
    info.algorithm.name = "algorithm"
    info.update_binding.add(key="b1", value="b1_new")
    proto.MergeFromString(bytes([0xAA, 0x06, 0x02, 0x68, 0x69]))  # field 101, "hi"
    return proto


def branches(*, ir_version: int = 8) -> onnx.ModelProto:
    """An If whose branches hold an initializer, a Constant, and use the outer graph's weight."""
    then_initializers = [weight("w", 8, 8)] if ir_version >= 4 else []
    then_nodes = [] if ir_version >= 4 else [constant("w", 8, 8)]
    then = helper.make_graph(
        [
            *then_nodes,
            helper.make_node("MatMul", ["x", "w"], ["t"]),
            helper.make_node("MatMul", ["t", "outer"], ["then_out"]),
        ],
        "then",
        [],
        [value("then_out", 2, 8)],
        then_initializers,
    )
    other = helper.make_graph(
        [
            constant("v", 8, 8),
            helper.make_node("MatMul", ["x", "v"], ["else_out"]),
        ],
        "else",
        [],
        [value("else_out", 2, 8)],
        value_info=[value("v", 8, 8)],
    )
    listed = [value("outer", 8, 8)] if ir_version < 4 else []
    graph = helper.make_graph(
        [
            helper.make_node(
                "If", ["c"], ["y"], name="choice", then_branch=then, else_branch=other
            ),
        ],
        "branches",
        [value("x", 2, 8), helper.make_tensor_value_info("c", TensorProto.BOOL, []), *listed],
        [value("y", 2, 8)],
        [weight("outer", 8, 8)],
    )
    opset = [helper.make_opsetid("", 17 if ir_version >= 8 else 8)]
    return model(graph, ir_version=ir_version, opset_imports=opset)


def nested() -> onnx.ModelProto:
    """A Loop in an If; its body uses a weight of the If's branch."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["h", "w"], ["h_next"]),
            helper.make_node("Identity", ["go"], ["go_next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            value("h", 2, 8),
        ],
        [helper.make_tensor_value_info("go_next", TensorProto.BOOL, []), value("h_next", 2, 8)],
    )
    then = helper.make_graph(
        [helper.make_node("Loop", ["trips", "c", "x"], ["then_out"], body=body)],
        "then",
        [],
        [value("then_out", 2, 8)],
        [weight("w", 8, 8), numpy_helper.from_array(np.array(2), "trips")],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["else_out"])], "else", [], [value("else_out", 2, 8)]
    )
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)],
        "nested",
        [value("x", 2, 8), helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [value("y", 2, 8)],
    )
    return model(graph)


def functions(*, ir_version: int = 8) -> onnx.ModelProto:
    """A function with a weight of its own and one that is passed to it, called twice."""
    opsets = [helper.make_opsetid("", 17)]
    layer = helper.make_function(
        "local",
        "Layer",
        ["a", "passed"],
        ["b"],
        [
            helper.make_node("Relu", ["a"], ["r"]),
            constant("own", 8, 8),
            helper.make_node("MatMul", ["r", "own"], ["m"]),
            helper.make_node("MatMul", ["m", "passed"], ["b"]),
        ],
        opsets,
    )
    graph = helper.make_graph(
        [
            helper.make_node("Layer", ["x", "w"], ["h"], domain="local"),
            helper.make_node("Layer", ["h", "w"], ["y"], domain="local"),
        ],
        "functions",
        [value("x", 2, 8)],
        [value("y", 2, 8)],
        [weight("w", 8, 8)],
    )
    return model(
        graph,
        ir_version=ir_version,
        functions=[layer],
        opset_imports=[*opsets, helper.make_opsetid("local", 1)],
    )


def arrays_of(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    """All initializers of the main graph, read by onnx itself."""
    return {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
