from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from wl_onnx.errors import InputError
from wl_onnx.graph import find_layers, load_model
from wl_onnx.runtime import stepwise
from wl_onnx.runtime.observe import observe_moments
from wl_onnx.runtime.part import PartSession
from wl_onnx.runtime.stepwise import StepwiseObserver

CONV = {"pads": [1, 1, 1, 1]}
NODES = [
    helper.make_node("Conv", ["x", "w0", "b0"], ["a0"], **CONV),
    helper.make_node("Relu", ["a0"], ["r0"]),
    helper.make_node("Conv", ["r0", "w1", "b1"], ["a1"], **CONV),
    helper.make_node("Relu", ["a1"], ["r1"]),
    helper.make_node("Transpose", ["w4"], ["w4_t"], perm=[1, 0]),
    helper.make_node("Conv", ["r1", "w2", "b2"], ["a2"], **CONV),
    helper.make_node("Conv", ["r0", "w3", "b3"], ["a3"]),
    helper.make_node("Add", ["a2", "a3"], ["s"]),
    helper.make_node("Relu", ["s"], ["r2"]),
    helper.make_node("GlobalAveragePool", ["r2"], ["g"]),
    helper.make_node("Flatten", ["g"], ["f"]),
    helper.make_node("Concat", ["f", "z"], ["c"], axis=1),
    helper.make_node("MatMul", ["c", "w4_t"], ["p"]),
    helper.make_node("Add", ["p", "b4"], ["y"]),
]
SHAPES = {
    "w0": (4, 3, 3, 3),
    "w1": (5, 4, 3, 3),
    "w2": (6, 5, 3, 3),
    "w3": (6, 4, 1, 1),
    "w4": (7, 8),
}


def make_model() -> onnx.ModelProto:
    """A residual block between two layers; the last reads a second input of the model too."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}
    arrays.update({f"b{i}": rng.standard_normal(SHAPES[f"w{i}"][0]) for i in range(5)})
    graph = helper.make_graph(
        NODES,
        "graph",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3, 6, 6]),
            helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, 2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a.astype(np.float32), n) for n, a in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def make_feeds() -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    shapes = {"x": (5, 3, 6, 6), "z": (5, 2)}
    return [
        {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
        for _ in range(3)
    ]


def round_weight(model: onnx.ModelProto, name: str) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == name:
            rounded = np.round(numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(rounded, name))


@pytest.fixture
def inputs_of_sessions(monkeypatch: pytest.MonkeyPatch) -> list[list[str] | None]:
    """What each session is given in place of the model's inputs."""
    seen: list[list[str] | None] = []

    class Spy(PartSession):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            given = settings["given"]
            seen.append(None if given is None else sorted(given))
            super().__init__(*arguments, **settings)

    monkeypatch.setattr(stepwise, "PartSession", Spy)
    return seen


def check(observer: StepwiseObserver, model: onnx.ModelProto, key: str) -> None:
    reference = load_model(make_model())
    (layer,) = (one for one in find_layers(reference) if one.site.key == key)
    moments = observer.observe(load_model(model), layer, max_places=7)
    ((_, expected),) = observe_moments(
        load_model(model), make_feeds(), layers=[layer], reference=reference, max_places=7
    )
    for name, array in vars(expected).items():
        if array is None:
            assert getattr(moments, name) is None
        else:
            np.testing.assert_allclose(getattr(moments, name), array, rtol=1e-4, atol=1e-5)


def make_observer(**settings: Any) -> StepwiseObserver:
    return StepwiseObserver(load_model(make_model()), make_feeds(), **settings)


def test_layer_after_layer_gives_what_the_whole_model_gives(
    inputs_of_sessions: list[list[str] | None],
) -> None:
    model = make_model()
    observer = make_observer()
    for _ in range(2):
        for key in SHAPES:
            check(observer, model, key)
            round_weight(model, key)
    # The last layer's turned weight stands early, but is not kept, for it is constant.
    steps = [["x", "z"], ["r0", "z"], ["r0", "r1", "z"], ["a2", "r0", "z"]]
    # Each for two models, in each of two passes.
    assert inputs_of_sessions == [one for one in [None, *steps] * 2 for _ in range(2)]


@pytest.mark.parametrize("changed", ["w0", "b0", "w1"])
def test_a_change_before_what_is_kept_is_seen(
    changed: str, inputs_of_sessions: list[list[str] | None]
) -> None:
    model = make_model()
    observer = make_observer()
    check(observer, model, "w2")
    round_weight(model, changed)
    check(observer, model, "w3")
    assert inputs_of_sessions[-2:] == [None, ["r0", "r1", "z"]]


def test_a_change_behind_what_is_kept_does_not_matter(
    inputs_of_sessions: list[list[str] | None],
) -> None:
    model = make_model()
    observer = make_observer()
    check(observer, model, "w2")
    for name in ("w2", "w3", "w4"):
        round_weight(model, name)
    check(observer, model, "w3")
    assert inputs_of_sessions[-2:] == [["r0", "r1", "z"]] * 2


def test_layers_in_any_order(inputs_of_sessions: list[list[str] | None]) -> None:
    observer = make_observer()
    for key in ("w4", "w1", "w3", "w2", "w0"):
        check(observer, make_model(), key)


def test_what_does_not_fit_is_not_kept(inputs_of_sessions: list[list[str] | None]) -> None:
    model = make_model()
    # r0 takes 3 batches x 5 x 4 x 6 x 6 x 4 bytes, all before the last layer much less.
    observer = make_observer(budget_bytes=2000)
    for key in ("w1", "w2", "w4", "w4"):
        check(observer, model, key)
    assert inputs_of_sessions[:6] == [None] * 6
    # Everything that the last layer needs was kept, so there is nothing left to run.
    assert len(inputs_of_sessions) == 6


def test_there_must_be_a_feed() -> None:
    with pytest.raises(InputError, match="there must be at least one feed, got none"):
        StepwiseObserver(load_model(make_model()), [])
