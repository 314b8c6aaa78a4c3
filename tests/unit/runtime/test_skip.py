"""Moments of what is added to a layer's output, and the weight that makes up for its change."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper, numpy_helper

from wl_onnx.graph import find_layers, load_model
from wl_onnx.runtime.moments import Moments
from wl_onnx.runtime.observe import observe_moments
from wl_onnx.simplify.compensate import center_moments, retarget


def make_model(
    nodes: list[onnx.NodeProto], shape: tuple[int, ...], values: list[str], **arrays: np.ndarray
) -> onnx.ModelProto:
    """A model with these values as outputs."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in values],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def floats(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def round_weight(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for tensor in changed.graph.initializer:
        if tensor.name == name:
            rounded = np.round(numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(rounded, name))
    return changed


def evaluate(model: onnx.ModelProto, x: np.ndarray, *values: str) -> list[np.ndarray]:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    for value in values:
        copy.graph.output.add(name=value)
    session = onnxruntime.InferenceSession(copy.SerializeToString())
    return [one.astype(np.float64) for one in session.run(list(values), {"x": x})]


def observe(
    model: onnx.ModelProto, reference: onnx.ModelProto, x: np.ndarray, key: str, **settings: Any
) -> Moments:
    half = len(x) // 2
    pairs = observe_moments(
        load_model(model),
        [{"x": x[:half]}, {"x": x[half:]}],
        reference=load_model(reference),
        **settings,
    )
    return next(moments for keys, moments in pairs if key in keys)


def find_target(moments: Moments, weight: np.ndarray) -> np.ndarray:
    assert moments.cross is not None
    assert moments.reference_mean is not None
    assert moments.skip_cross is not None
    assert moments.skip_shift is not None
    mean = moments.mean[:, None, :]
    return retarget(
        weight,
        center_moments(moments.second, moments.mean),
        moments.cross - moments.reference_mean[:, :, None] * mean,
        0.0,
        moments.skip_cross - moments.skip_shift[:, :, None] * mean,
    )


def solve(inputs: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Rows of the matrix that leads from inputs to what is wanted, beside a constant."""
    with_one = np.column_stack([inputs, np.ones(len(inputs))])
    return np.linalg.lstsq(with_one, wanted, rcond=None)[0][:-1].T


LINEAR = [
    helper.make_node("MatMul", ["x", "w"], ["a"]),
    helper.make_node("Relu", ["a"], ["s"]),
    helper.make_node("MatMul", ["s", "v"], ["b"]),
    helper.make_node("Relu", ["b"], ["r"]),
    helper.make_node("MatMul", ["r", "u"], ["p"]),
    helper.make_node("Add", ["bias", "p"], ["q"]),
    helper.make_node("Add", ["q", "s"], ["y"]),
]


def linear() -> onnx.ModelProto:
    arrays = {"w": floats(0, 5, 6), "v": floats(1, 6, 7), "u": floats(2, 7, 6)}
    return make_model(LINEAR, (None, None, 5), ["y"], bias=floats(3, 6), **arrays)


def test_the_target_is_the_regression_of_the_sum_on_what_the_layer_reads() -> None:
    reference = linear()
    model = round_weight(reference, "w")
    x = floats(4, 2, 150, 5)
    moments = observe(model, reference, x, "u")
    now, skip_now = evaluate(model, x, "r", "s")
    before, skip_before = evaluate(reference, x, "r", "s")
    weight = floats(2, 7, 6).astype(np.float64).T
    wanted = before.reshape(-1, 7) @ weight.T + (skip_before - skip_now).reshape(-1, 6)
    expected = solve(now.reshape(-1, 7), wanted)
    target = find_target(moments, weight[None])[0]
    np.testing.assert_allclose(target, expected, rtol=1e-3, atol=1e-4)
    assert np.abs(target - solve(now.reshape(-1, 7), before.reshape(-1, 7) @ weight.T)).max() > 0.01
    assert moments.skip_shift is not None
    shift = (skip_before - skip_now).mean(axis=(0, 1))
    np.testing.assert_allclose(moments.skip_shift[0], shift, atol=1e-5)


@pytest.mark.parametrize("operator", ["Add", "Sum"])
def test_convolutions_with_groups_and_strides(operator: str) -> None:
    settings = {"group": 2, "strides": [2, 1], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["r"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["r", "v", "c"], ["p"], **settings),
        helper.make_node("MaxPool", ["r"], ["h"], kernel_shape=[1, 1], strides=[2, 1]),
        helper.make_node(operator, ["h", "p"], ["y"]),
    ]
    arrays = {"w": floats(0, 4, 3, 3, 3), "b": floats(1, 4), "c": floats(3, 4)}
    reference = make_model(nodes, (None, 3, 8, 6), ["y"], v=floats(2, 4, 2, 3, 3), **arrays)
    model = round_weight(reference, "w")
    x = floats(4, 8, 3, 8, 6)
    now, skip_now = evaluate(model, x, "r", "h")
    before, skip_before = evaluate(reference, x, "r", "h")
    weight = floats(2, 4, 2, 3, 3).astype(np.float64).reshape(2, 2, 18)

    def cut(array: np.ndarray, group: int) -> np.ndarray:
        padded = np.pad(array, [(0, 0), (0, 0), (1, 1), (1, 1)])[:, 2 * group : 2 * group + 2]
        patches = sliding_window_view(padded, (3, 3), (2, 3))[:, :, ::2]
        return patches.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 18)

    target = find_target(observe(model, reference, x, "v"), weight)
    for group in range(2):
        change = (skip_before - skip_now)[:, 2 * group : 2 * group + 2]
        wanted = cut(before, group) @ weight[group].T
        wanted += change.transpose(0, 2, 3, 1).reshape(-1, 2)
        expected = solve(cut(now, group), wanted)
        np.testing.assert_allclose(target[group], expected, rtol=1e-3, atol=1e-3)


def test_drawn_places_of_the_skip_value_are_those_of_the_input() -> None:
    """With the layer's own input beside it, the change of the skip value is that of the input."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["r"]),
        helper.make_node("Conv", ["r", "v"], ["p"]),
        helper.make_node("Add", ["p", "r"], ["y"]),
    ]
    arrays = {"w": floats(0, 3, 2, 3, 3), "v": floats(1, 3, 3, 1, 1)}
    reference = make_model(nodes, (None, 2, 9, 9), ["y"], **arrays)
    model = round_weight(reference, "w")
    moments = observe(model, reference, floats(2, 10, 2, 9, 9), "v", max_places=5)
    assert moments.num_samples == 50
    assert moments.cross is not None
    assert moments.skip_cross is not None
    assert moments.skip_shift is not None
    np.testing.assert_allclose(moments.skip_cross, moments.cross - moments.second, atol=1e-3)
    np.testing.assert_allclose(moments.skip_shift, moments.reference_mean - moments.mean, atol=1e-4)


@pytest.mark.parametrize(
    ("nodes", "is_first", "is_fit"),
    [
        ([helper.make_node("Gemm", ["r", "v", "c"], ["p"])], False, True),
        ([helper.make_node("Gemm", ["r", "v"], ["p"], transA=1, alpha=0.5)], False, True),
        ([helper.make_node("Gemm", ["v", "r"], ["p"], transB=1)], True, True),
        ([helper.make_node("MatMul", ["v", "r"], ["p"])], True, True),
        ([helper.make_node("MatMul", ["r", "o"], ["p"])], False, False),
    ],
)
def test_sides_and_axes(nodes: list[onnx.NodeProto], is_first: bool, is_fit: bool) -> None:
    """W x + s is linear in both, whichever way the operator lays out samples."""
    before = [helper.make_node("MatMul", ["x", "w"], ["r"])]
    after = [
        helper.make_node("MatMul", ["r", "k"], ["n"]),
        helper.make_node("Add", ["p", "n"], ["y"]),
    ]
    arrays = {"w": floats(0, 6, 6), "v": floats(1, 6, 6), "k": floats(2, 6, 6), "c": floats(3, 6)}
    reference = make_model([*before, *nodes, *after], (6, 6), ["y"], o=floats(5, 6), **arrays)
    model = round_weight(reference, "w")
    x = floats(4, 6, 6)
    key = "v" if is_fit else "o"
    layer = next(one for one in find_layers(load_model(reference)) if one.site.key == key)
    assert layer.skip == "n"
    pairs = observe_moments(
        load_model(model), [{"x": x}], reference=load_model(reference), layers=[layer]
    )
    ((_, moments),) = pairs
    if not is_fit:
        assert moments.skip_cross is None
        assert moments.skip_shift is None
        assert moments.cross is not None
        return
    rows, skip = evaluate(model, x, "r", "n")
    change = evaluate(reference, x, "n")[0] - skip
    change = change.T if is_first else change
    attributes = {a.name: helper.get_attribute_value(a) for a in nodes[0].attribute}
    if attributes.get("transA") or nodes[0].op_type == "MatMul":
        rows = rows.T
    rows *= attributes.get("alpha", 1)
    assert moments.skip_cross is not None
    np.testing.assert_allclose(moments.skip_cross[0], change.T @ rows / 6, rtol=1e-3, atol=1e-3)


def skip_of(nodes: list[onnx.NodeProto], key: str = "v", outputs: tuple[str, ...] = ("y",)) -> Any:
    arrays = {"w": floats(0, 4, 4), "v": floats(1, 4, 4), "c": floats(2, 4)}
    model = load_model(make_model(nodes, (3, 4), list(outputs), **arrays))
    return next(layer.skip for layer in find_layers(model) if layer.site.key == key)


def test_what_is_a_skip_value() -> None:
    product = helper.make_node("MatMul", ["x", "v"], ["p"])
    bias = helper.make_node("Add", ["p", "c"], ["q"])
    assert skip_of([product, helper.make_node("Add", ["x", "p"], ["y"])]) == "x"
    assert skip_of([product, bias, helper.make_node("Sum", ["q", "x"], ["y"])]) == "x"
    last = helper.make_node("Sum", ["p", "x", "x"], ["y"])
    assert skip_of([product, last]) is None
    assert skip_of([product, helper.make_node("Mul", ["p", "x"], ["y"])]) is None
    assert skip_of([product, helper.make_node("Add", ["p", "p"], ["y"])]) is None
    assert skip_of([product, helper.make_node("Add", ["p", "c"], ["y"])]) is None
    added = helper.make_node("Add", ["x", "p"], ["y"])
    assert skip_of([product, added], outputs=("y", "p")) is None
    assert skip_of([product, added, helper.make_node("Relu", ["p"], ["z"])]) is None
    constant = helper.make_node("Constant", [], ["k"], value_floats=[1.0] * 4)
    assert skip_of([constant, product, helper.make_node("Add", ["k", "p"], ["y"])]) is None
    twice = [
        product,
        helper.make_node("MatMul", ["p", "v"], ["q"]),
        helper.make_node("Add", ["q", "x"], ["y"]),
    ]
    assert skip_of(twice) is None


def test_a_value_that_is_broadcast_is_no_skip_value() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["r"]),
        helper.make_node("ReduceMean", ["r"], ["m"], axes=[0]),
        helper.make_node("MatMul", ["r", "v"], ["p"]),
        helper.make_node("Add", ["p", "m"], ["y"]),
    ]
    reference = make_model(nodes, (None, 4), ["y"], w=floats(0, 4, 4), v=floats(1, 4, 4))
    moments = observe(round_weight(reference, "w"), reference, floats(2, 20, 4), "v")
    assert moments.cross is not None
    assert moments.skip_cross is None
    assert moments.skip_shift is None


def test_layers_share_an_input_only_where_they_share_what_is_added() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["p"]),
        helper.make_node("Add", ["p", "r"], ["q"]),
        helper.make_node("MatMul", ["r", "u"], ["s"]),
        helper.make_node("Mul", ["q", "s"], ["y"]),
    ]
    arrays = {name: floats(i, 4, 4) for i, name in enumerate("wvu")}
    model = load_model(make_model(nodes, (5, 4), ["y"], **arrays))
    feeds = [{"x": floats(4, 5, 4)}]
    alone = [keys for keys, _ in observe_moments(model, feeds)]
    assert sorted(alone) == [("v", "u"), ("w",)]
    pairs = dict(observe_moments(model, feeds, reference=model))
    assert sorted(pairs) == [("u",), ("v",), ("w",)]
    assert pairs["u",].skip_cross is None
    assert pairs["v",].skip_cross is not None
