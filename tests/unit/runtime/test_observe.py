from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.unit.runtime.convolutions import CONVOLUTIONS, make_model
from wl_onnx.errors import InputError
from wl_onnx.graph import find_layers, load_model
from wl_onnx.runtime.measure import run_session
from wl_onnx.runtime.moments import Moments
from wl_onnx.runtime.observe import observe_moments

RNG = np.random.default_rng(0)


def observe(model: onnx.ModelProto, *feeds: np.ndarray, **settings: Any) -> dict[str, Moments]:
    pairs = observe_moments(load_model(model), [{"x": x} for x in feeds], **settings)
    return {key: moments for keys, moments in pairs for key in keys}


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def assert_predicts_output(model: onnx.ModelProto, x: np.ndarray, name: str = "w") -> None:
    """The moments and the view give the energy of the model's output, which is linear in w."""
    moments = observe(model, x)[name]
    session = onnxruntime.InferenceSession(model.SerializeToString())
    y = session.run(None, {"x": x})[0].astype(np.float64)
    (layer,) = (one for one in find_layers(load_model(model)) if one.site.key == name)
    assert layer.view is not None
    weight = layer.site.numpy()
    matrices = layer.view.to_matrices(weight).astype(np.float64)
    assert matrices.shape == layer.view.matrix_shape
    np.testing.assert_array_equal(layer.view.from_matrices(matrices), weight)
    if moments.is_diagonal:
        energy = np.einsum("gri,gi,gri->", matrices, moments.second, matrices)
    else:
        energy = np.einsum("gri,gij,grj->", matrices, moments.second, matrices)
    total = np.einsum("gri,gi->", matrices, moments.mean)
    assert energy * moments.num_samples == pytest.approx((y**2).sum(), rel=1e-5)
    assert total * moments.num_samples == pytest.approx(y.sum(), rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("name", sorted(CONVOLUTIONS))
def test_convolutions(name: str) -> None:
    x_shape, w_shape, attributes = CONVOLUTIONS[name]
    x, w = floats(*x_shape), floats(*w_shape)
    model = make_model([helper.make_node("Conv", ["x", "w"], ["y"], **attributes)], x, w=w)
    assert_predicts_output(model, x)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 3], "pads": [1, 0, 1, 2]},
        {"strides": [2, 2], "dilations": [2, 1], "group": 2, "output_padding": [1, 1]},
        {"pads": [3, 3, 2, 2]},
    ],
)
def test_transposed_convolutions(attributes: dict[str, Any]) -> None:
    x, w = floats(2, 4, 5, 6), floats(4, 3, 3, 3)
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], **attributes)
    model = make_model([node], x, w=w)
    assert_predicts_output(model, x)


def test_patches_equal_a_plain_loop() -> None:
    x, w = floats(2, 4, 6, 7), floats(6, 2, 3, 2)
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], group=2, strides=[2, 1], dilations=[1, 2], pads=[1, 0, 1, 2]
    )
    moments = observe(make_model([node], x, w=w), x)["w"]
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (0, 2)]).astype(np.float64)
    for group in range(2):
        rows = [
            padded[n, 2 * group : 2 * group + 2, i : i + 3, j : j + 3 : 2].reshape(-1)
            for n, i, j in itertools.product(range(2), range(0, 6, 2), range(7))
        ]
        expected = np.array(rows)
        assert moments.num_samples == len(expected)
        np.testing.assert_allclose(
            moments.second[group], expected.T @ expected / len(expected), atol=1e-5
        )
        np.testing.assert_allclose(moments.mean[group], expected.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("transposed", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("weight_first", [False, True])
def test_gemm(transposed: tuple[int, int], weight_first: bool) -> None:
    sides = [(5, 7), (7, 4)]
    shapes = [s[::-1] if t else s for s, t in zip(sides, transposed, strict=True)]
    x, w = floats(*shapes[weight_first]), floats(*shapes[not weight_first])
    node = helper.make_node(
        "Gemm",
        ["w", "x"] if weight_first else ["x", "w"],
        ["y"],
        transA=transposed[0],
        transB=transposed[1],
        alpha=0.5,
    )
    assert_predicts_output(make_model([node], x, w=w), x)


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "weight_first"),
    [
        ((5, 7), (7, 4), False),
        ((2, 3, 5, 7), (7, 4), False),
        ((2, 5, 7), (1, 7, 4), False),
        ((7,), (7, 4), False),
        ((5, 7), (7,), False),
        ((7, 4), (5, 7), True),
        ((2, 7, 4), (5, 7), True),
        ((7,), (5, 7), True),
    ],
)
def test_matmul(x_shape: tuple[int, ...], w_shape: tuple[int, ...], weight_first: bool) -> None:
    x, w = floats(*x_shape), floats(*w_shape)
    node = helper.make_node("MatMul", ["w", "x"] if weight_first else ["x", "w"], ["y"])
    assert_predicts_output(make_model([node], x, w=w), x)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_counts_indices(axis: int) -> None:
    w = floats(6, 5, 4)
    x = RNG.integers(-w.shape[axis], w.shape[axis], (3, 8))
    model = make_model([helper.make_node("Gather", ["w", "x"], ["y"], axis=axis)], x, w=w)
    assert_predicts_output(model, x)
    moments = observe(model, x)["w"]
    assert moments.is_diagonal
    assert (moments.second * moments.num_samples).sum() == pytest.approx(24)


def test_weights_through_other_nodes() -> None:
    x, w = floats(9, 6), floats(3, 2, 8)
    nodes = [
        helper.make_node("Transpose", ["w"], ["a"], perm=[2, 0, 1]),
        helper.make_node("Unsqueeze", ["a", "axes"], ["b"]),
        helper.make_node("Squeeze", ["b"], ["c"]),
        helper.make_node("Reshape", ["c", "shape"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"], axis=1),
        helper.make_node("Cast", ["e"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Gemm", ["x", "f"], ["y"], transB=1),
    ]
    extra = {"axes": np.array([1]), "shape": np.array([0, -1, 2])}
    assert_predicts_output(make_model(nodes, x, w=w, **extra), x)


def two_layers(x: np.ndarray) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["p"]),
        helper.make_node("Add", ["p", "c"], ["q"]),
        helper.make_node("MatMul", ["r", "u"], ["s"]),
        helper.make_node("Add", ["q", "s"], ["y"]),
    ]
    return make_model(
        nodes, x, w=floats(6, 8), b=floats(8), v=floats(8, 3), c=floats(3), u=floats(8, 3)
    )


def test_several_feeds_and_runs_give_the_same_as_one() -> None:
    x = floats(40, 6)
    model = two_layers(x[:10])
    calls: list[tuple[int, int]] = []
    feeds = [x[i : i + 10] for i in range(0, 40, 10)]
    at_once = observe(model, *feeds)
    alone = observe(model, *feeds, budget_bytes=1, progress=lambda *c: calls.append(c))
    assert calls == [(0, 2), (1, 2), (2, 2)]
    assert sorted(alone) == sorted(at_once) == ["u", "v", "w"]
    weights = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
    hidden = np.maximum(x @ weights["w"] + weights["b"], 0)
    for key, rows in (("w", x.astype(np.float64)), ("u", hidden), ("v", hidden)):
        for moments in (at_once[key], alone[key]):
            np.testing.assert_allclose(moments.second[0], rows.T @ rows / 40, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(moments.mean[0], rows.mean(axis=0), rtol=1e-4, atol=1e-5)
            assert moments.num_samples == 40
    assert at_once["u"] is at_once["v"]


def test_biases_are_found() -> None:
    layers = find_layers(load_model(two_layers(floats(10, 6))))
    assert {one.site.key: one.bias for one in layers} == {"w": "b", "v": "c", "u": None}


def test_cross_moments_are_of_both_models() -> None:
    x = floats(30, 6)
    reference = two_layers(x)
    model = onnx.ModelProto()
    model.CopyFrom(reference)
    values = {t.name: numpy_helper.to_array(t) for t in reference.graph.initializer}
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.round(values["w"]), "w"))
    pairs = observe_moments(load_model(model), [{"x": x}], reference=load_model(reference))
    moments = {key: one for keys, one in pairs for key in keys}["v"]
    ours = np.maximum(x @ np.round(values["w"]) + values["b"], 0).astype(np.float64)
    theirs = np.maximum(x @ values["w"] + values["b"], 0).astype(np.float64)
    assert moments.cross is not None
    assert moments.reference_mean is not None
    np.testing.assert_allclose(moments.second[0], ours.T @ ours / 30, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(moments.cross[0], theirs.T @ ours / 30, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(moments.reference_mean[0], theirs.mean(axis=0), atol=1e-5)


def test_drawn_places_estimate_all_of_them() -> None:
    x, w = floats(64, 2, 16, 16), floats(4, 2, 3, 3)
    model = make_model([helper.make_node("Conv", ["x", "w"], ["y"])], x, w=w)
    drawn, again, whole = (
        observe(model, x, max_places=50)["w"],
        observe(model, x, max_places=50)["w"],
        observe(model, x, max_places=1000)["w"],
    )
    np.testing.assert_array_equal(drawn.second, again.second)
    assert drawn.num_samples == 64 * 50
    assert whole.num_samples == 64 * 14 * 14
    # The variance of a square of a normal is 2, of a product 1; five standard errors.
    assert np.abs(drawn.second - whole.second).max() < 5 * np.sqrt(2 / drawn.num_samples)


def test_inputs_that_do_not_fit_their_layer() -> None:
    """What a layer reads is checked here, for the layer itself does not run."""
    wide = helper.make_node("MatMul", ["x", "w"], ["y"])
    sliding = helper.make_node("Conv", ["x", "w"], ["y"])
    for node, shape, w_shape in (
        (wide, (4, 7), (6, 3)),
        (sliding, (2, 3, 2, 9), (4, 3, 3, 3)),
        (sliding, (2, 4, 9, 9), (4, 3, 3, 3)),
        (sliding, (2, 3, 9), (4, 3, 3, 3)),
    ):
        model = make_model([node], floats(*shape), w=floats(*w_shape))
        del model.graph.input[0].type.tensor_type.shape.dim[:]
        model.graph.input[0].type.tensor_type.ClearField("shape")
        with pytest.raises(InputError, match=r"cannot calibrate w: .* got x of shape \["):
            observe(model, floats(*shape))


def test_reasons_why_an_input_is_not_observed(find_reason: Callable[..., str]) -> None:
    x = floats(2, 3, 4)
    batch = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    assert find_reason(batch, x, floats(2, 4, 5)) == "is a batch of matrices"
    twice = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("MatMul", ["w", "h"], ["y"]),
    ]
    assert find_reason(twice, floats(4, 4), floats(4, 4)) == "is used as different matrices"
    recurrent = [helper.make_node("RNN", ["x", "w", "w"], ["y"], hidden_size=4)]
    assert "RNN, whose inputs are not observed" in find_reason(recurrent, x, floats(1, 4, 4))


@pytest.fixture
def find_reason() -> Callable[..., str]:
    def find(nodes: list[onnx.NodeProto], x: np.ndarray, w: np.ndarray) -> str:
        (layer,) = find_layers(load_model(make_model(nodes, x, w=w)))
        assert layer.view is None
        assert layer.reason is not None
        return layer.reason

    return find


def test_bad_feeds() -> None:
    x = floats(10, 6)
    model = two_layers(x)
    with pytest.raises(InputError, match="there must be at least one feed in each of 1 runs"):
        observe(model)
    with pytest.raises(InputError, match="the inputs must fit the model, got"):
        observe(model, floats(10, 7))
    with pytest.raises(InputError, match="must be finite, got NaN or infinity"):
        observe(model, np.full((10, 6), np.nan, np.float32))


def test_nothing_runs_behind_the_last_layer_that_is_observed() -> None:
    x = floats(4, 6)
    model = two_layers(x)
    shape = numpy_helper.from_array(np.array([5, 5]), "shape")
    model.graph.initializer.append(shape)
    model.graph.node[-1].output[0] = "z"
    model.graph.node.append(helper.make_node("Reshape", ["z", "shape"], ["y"]))  # 12 into 25
    with pytest.raises(InputError, match="cannot run"):
        run_session(onnxruntime.InferenceSession(model.SerializeToString()), {"x": x})
    assert sorted(observe(model, x)) == ["u", "v", "w"]


def test_a_model_that_was_changed_after_it_was_read_is_run_as_it_is_now(tmp_path: Path) -> None:
    x = floats(10, 6)
    path = tmp_path / "model.onnx"
    onnx.save(two_layers(x), path)
    model = load_model(path)
    values = {t.name: numpy_helper.to_array(t) for t in model.proto.graph.initializer}
    model.proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(2 * values["w"], "w"))
    moments = {key: one for keys, one in observe_moments(model, [{"x": x}]) for key in keys}
    hidden = np.maximum(x @ (2 * values["w"]) + values["b"], 0)
    np.testing.assert_allclose(moments["v"].mean[0], hidden.mean(axis=0), rtol=1e-4, atol=1e-5)
