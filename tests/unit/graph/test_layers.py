from __future__ import annotations

import onnx
from onnx import helper

from tests.unit.graph.builders import branches, model, value, weight
from wl_onnx.graph import find_layers, load_model


def keys_of(proto: onnx.ModelProto) -> list[str]:
    return [layer.site.key for layer in find_layers(load_model(proto))]


def test_layers_come_in_the_order_of_the_nodes_that_use_them() -> None:
    nodes = [
        # Runs late, although what turns its weight around stands first.
        helper.make_node("Transpose", ["late"], ["late_t"]),
        helper.make_node("MatMul", ["x", "first"], ["a"]),
        helper.make_node("MatMul", ["a", "again"], ["b"]),
        helper.make_node("MatMul", ["b", "third"], ["c"]),
        helper.make_node("MatMul", ["c", "again"], ["d"]),
        helper.make_node("MatMul", ["d", "late_t"], ["y"]),
    ]
    names = ["late", "third", "again", "first"]
    graph = helper.make_graph(
        nodes,
        "graph",
        [value("x", 2, 8)],
        [value("y", 2, 8)],
        [weight(name, 8, 8) for name in names],
    )
    assert keys_of(model(graph)) == ["first", "again", "third", "late"]


def test_weights_that_no_node_of_the_main_graph_uses_come_last() -> None:
    proto = branches()
    proto.graph.initializer.append(weight("after", 8, 8))
    proto.graph.node.append(helper.make_node("MatMul", ["y", "after"], ["z"]))
    proto.graph.output[0].name = "z"
    assert keys_of(proto) == ["after", "outer", "choice/else_branch/v", "choice/then_branch/w"]
