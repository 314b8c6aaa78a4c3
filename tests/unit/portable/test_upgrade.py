"""Raising a model to opset 18: what it computes and all that is no node stays."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.portable_files import draw_feeds, open_plain, same_bits
from wl_onnx.errors import ModelError
from wl_onnx.graph import load_model, to_proto
from wl_onnx.portable import upgrade_model

OLD = [7, 9, 11, 13, 17]


def raised(model: onnx.ModelProto | Path) -> onnx.ModelProto:
    loaded = load_model(model)
    upgrade_model(loaded)
    return to_proto(loaded)


def make_old(opset: int, ir_version: int = 4) -> onnx.ModelProto:
    """A small network of operators that changed on the way to opset 18."""
    rng = np.random.default_rng(1)
    tensors = {
        "w": rng.normal(size=(8, 3, 3, 3)),
        "scale": rng.normal(size=8),
        "shift": rng.normal(size=8),
        "mean": rng.normal(size=8),
        "var": rng.uniform(1, 2, size=8),
        "fc": rng.normal(size=(8, 64)),
    }
    axes: dict[str, object] = {"axes": [2, 3]}
    squeeze = helper.make_node("Squeeze", ["p"], ["s"], name="squeezed", **axes)
    if opset >= 13:
        squeeze = helper.make_node("Squeeze", ["p", "axes"], ["s"], name="squeezed")
        tensors["axes"] = np.array([2, 3])
    initializers = [
        numpy_helper.from_array(a if a.dtype == np.int64 else a.astype(np.float32), name)
        for name, a in tensors.items()
    ]
    normed = ["c", "scale", "shift", "mean", "var"]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", doc_string="the first"),
        helper.make_node("BatchNormalization", normed, ["n"], name="norm"),
        helper.make_node("GlobalAveragePool", ["n"], ["p"]),
        squeeze,
        helper.make_node("MatMul", ["s", "fc"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["y"], axis=1),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 6, 6])]
    if ir_version < 4:
        inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in initializers]
    graph = helper.make_graph(
        nodes,
        "old",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 64])],
        initializers,
        doc_string="a graph",
        value_info=[helper.make_tensor_value_info("logits", TensorProto.FLOAT, [2, 64])],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version
    )
    helper.set_model_props(model, {"author": "someone"})
    return model


@pytest.mark.parametrize("ir_version", [3, 4, 8])
@pytest.mark.parametrize("opset", OLD)
def test_what_a_model_computes_stays(
    opset: int, ir_version: int, caplog: pytest.LogCaptureFixture
) -> None:
    before = make_old(opset, ir_version)
    with caplog.at_level(logging.WARNING, "wl_onnx"):
        after = raised(before)
    assert f"opset {opset} to 18" in caplog.text
    assert (f"IR version {ir_version} to 8" in caplog.text) == (ir_version < 8)
    assert (after.ir_version, after.opset_import[0].version) == (8, 18)
    onnx.checker.check_model(after)
    first, second = open_plain(before), open_plain(after)
    assert [one.name for one in second.get_inputs()] == ["x"]
    feeds = draw_feeds(second)
    assert same_bits(second.run(None, feeds)[0], first.run(None, feeds)[0])


@pytest.mark.parametrize("opset", OLD)
def test_all_but_the_nodes_that_changed_stays(opset: int) -> None:
    before = make_old(opset)
    after = raised(before)
    kept = {tensor.name: tensor for tensor in after.graph.initializer}
    for tensor in before.graph.initializer:
        assert kept[tensor.name] == tensor
    for field in ("input", "output", "value_info"):
        assert list(getattr(after.graph, field)) == list(getattr(before.graph, field))
    assert after.graph.doc_string == "a graph"
    assert after.metadata_props == before.metadata_props
    assert next(n for n in after.graph.node if n.name == "conv") == before.graph.node[0]


@pytest.mark.parametrize("opset", [18, 19, 21])
def test_a_model_that_is_new_enough_is_not_touched(
    opset: int, caplog: pytest.LogCaptureFixture
) -> None:
    model = make_old(17, 10)
    model.opset_import[0].version = opset
    assert raised(model) == model
    assert not caplog.text


def test_external_data_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "old.onnx"
    onnx.save_model(
        make_old(9), path, save_as_external_data=True, location="old.bin", size_threshold=0
    )
    assert same_weights(raised(path), make_old(9))


def same_weights(one: onnx.ModelProto, other: onnx.ModelProto) -> bool:
    first, second = (
        {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        for model in (one, other)
    )
    return all(same_bits(first[name], second[name]) for name in second)


def test_weights_of_constant_nodes_stay() -> None:
    model = make_old(9)
    tensor = model.graph.initializer.pop()
    model.graph.node.insert(0, helper.make_node("Constant", [], ["fc"], "kept", value=tensor))
    after = raised(model)
    assert after.graph.node[0] == model.graph.node[0]
    feeds = draw_feeds(open_plain(model))
    first, second = open_plain(model).run(None, feeds), open_plain(after).run(None, feeds)
    assert same_bits(first[0], second[0])


def test_other_domains_stay_as_they_are() -> None:
    model = make_old(11)
    gelu = helper.make_node("Gelu", ["y"], ["z"], domain="com.microsoft", name="gelu")
    model.graph.node.append(gelu)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.output[0].name = "z"
    after = raised(model)
    assert gelu in after.graph.node
    feeds = draw_feeds(open_plain(model))
    first, second = open_plain(model).run(None, feeds), open_plain(after).run(None, feeds)
    assert same_bits(first[0], second[0])


def make_one(opset: int, node: onnx.NodeProto, scales: list[float] | None) -> onnx.ModelProto:
    """A model of one node, whose output has no shape."""
    tensors = [] if scales is None else [numpy_helper.from_array(np.array(scales, "f4"), "scales")]
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 5, 7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=6)


SCALES = [[1, 1, 2, 2], [1, 1, 1.5, 2.5], [1, 1, 0.5, 0.6], [1, 1, 1, 0.3]]


RESIZES = [
    (operator, opset, mode, scales)
    for operator, opset in (("Upsample", 7), ("Upsample", 9), ("Resize", 10))
    for mode in ("nearest", "linear")
    for scales in SCALES
    if operator == "Resize" or min(scales) >= 1
]


@pytest.mark.parametrize(("operator", "opset", "mode", "scales"), RESIZES)
def test_images_are_resized_as_before(
    operator: str, opset: int, mode: str, scales: list[float]
) -> None:
    if opset == 7:
        attributes = {"mode": mode, "scales": [float(scale) for scale in scales]}
        model = make_one(opset, helper.make_node(operator, ["x"], ["y"], **attributes), None)
    else:
        node = helper.make_node(operator, ["x", "scales"], ["y"], mode=mode)
        model = make_one(opset, node, scales)
    first, second = open_plain(model), open_plain(raised(model))
    feeds = draw_feeds(first)
    assert same_bits(second.run(None, feeds)[0], first.run(None, feeds)[0])


def test_what_the_converter_would_change_is_refused() -> None:
    hardmax = helper.make_node("Hardmax", ["x"], ["y"], "hard")
    with pytest.raises(ModelError, match="must convert exactly, got Hardmax hard whose axis"):
        raised(make_one(11, hardmax, None))
    resize = helper.make_node("Resize", ["x", "scales"], ["y"], "resized", mode="nearest")
    with pytest.raises(ModelError, match="Resize resized to opset 18: to the nearest sample its"):
        raised(make_one(10, resize, [1, 1, 0.7, 2]))
    model = make_one(10, resize, [1, 1, 2, 2])
    model.graph.node[0].input[1] = "computed"
    model.graph.node.insert(0, helper.make_node("Identity", ["scales"], ["computed"]))
    with pytest.raises(ModelError, match="got others"):
        raised(model)


def test_subgraphs_are_refused() -> None:
    model = make_old(11)
    branch = helper.make_graph(
        [helper.make_node("Identity", ["y"], ["b"])],
        "branch",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)],
    )
    model.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    model.graph.node.append(
        helper.make_node("If", ["c"], ["z"], "choice", then_branch=branch, else_branch=branch)
    )
    with pytest.raises(ModelError, match="must have no subgraphs, got If choice; export"):
        raised(model)


def test_functions_are_refused() -> None:
    model = make_old(11)
    model.ir_version = 8
    node = helper.make_node("Relu", ["a"], ["b"])
    model.functions.append(
        helper.make_function("local", "Layer", ["a"], ["b"], [node], model.opset_import)
    )
    with pytest.raises(ModelError, match="no model-local functions, got local::Layer; export"):
        raised(model)


def test_a_node_that_the_converter_does_not_know_is_named() -> None:
    model = make_old(11)
    model.graph.node[4].op_type = "MatMulOfMine"
    model.graph.node[4].name = "mine"
    with pytest.raises(
        ModelError, match="from opset 11 to 18 at MatMulOfMine mine: onnx's version converter must"
    ):
        raised(model)


@pytest.mark.parametrize("name", ["lenet300", "lenet5", "resnet20", "slim-320"])
def test_trained_models_compute_the_same(find_model: Callable[[str], Path], name: str) -> None:
    path = find_model(name)
    first, second = open_plain(path), open_plain(raised(path))
    feeds = draw_feeds(first)
    for expected, got in zip(first.run(None, feeds), second.run(None, feeds), strict=True):
        assert same_bits(got, expected)
