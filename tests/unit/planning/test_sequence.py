"""Layers one after another, each making up for what was lost before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from onnx import helper, numpy_helper

from tests.classifiers import Classifier, make_mlp_classifier, run
from wl_onnx import Recipe
from wl_onnx.evaluation import load_feeds
from wl_onnx.graph import (
    CompressibleModel,
    assign_initializer,
    find_layers,
    load_model,
    to_proto,
)
from wl_onnx.planning.calibration import Calibration, CalibrationSettings, calibrate
from wl_onnx.planning.layer_problem import LayerSettings, decode_tensor
from wl_onnx.planning.sequence import CodedLayers, code_layers
from wl_onnx.runtime.opening import open_model

Array = np.ndarray


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return make_mlp_classifier(num_samples=1500)


def calibrate_on(
    classifier: Classifier, *, threads: int = 1, keys: Sequence[str] = ("w0", "w1")
) -> Calibration:
    """With all row weights 1: what is least is the squared error of each layer's output."""
    model = load_model(classifier.model)
    feeds = load_feeds({"x": classifier.x}, open_model(model).get_inputs())
    layers = [layer for layer in find_layers(model) if layer.site.key in keys]
    row_weights = {
        layer.site.key: np.ones(layer.view.matrix_shape[:2]) for layer in layers if layer.view
    }
    settings = CalibrationSettings(threads=threads)
    return Calibration(model, tuple(layers), feeds, row_weights, settings)


def put(calibration: Calibration, coded: CodedLayers) -> CompressibleModel:
    """The model with what was coded, without any node of ours."""
    model = load_model(calibration.model.proto)
    for layer in calibration.layers:
        key = layer.site.key
        if key in coded.layers:
            assert layer.view is not None
            assign_initializer(model, key, layer.view.from_matrices(coded.layers[key].values))
    for name, tensor in coded.biases.items():
        (shape,) = (t.dims for t in model.proto.graph.initializer if t.name == name)
        assign_initializer(model, name, decode_tensor(tensor).reshape(tuple(shape)))
    return model


def settings_of(lam: float, **codecs: str) -> dict[str, LayerSettings]:
    return {key: LayerSettings(codec=codecs.get(key, "palette"), lam=lam) for key in ("w0", "w1")}


def error_of(classifier: Classifier, model: CompressibleModel) -> float:
    before, now = run(classifier.model, classifier.x), run(to_proto(model), classifier.x)
    return float(np.square(now - before).mean())


@pytest.mark.parametrize("lam", [3e-3, 3e-2])
def test_later_layers_make_up_for_earlier_ones(classifier: Classifier, lam: float) -> None:
    calibration = calibrate_on(classifier)
    together = put(calibration, code_layers(calibration, settings_of(lam), Recipe()))
    alone = load_model(classifier.model)
    for key in ("w0", "w1"):
        one = calibrate_on(classifier, keys=[key])
        part = put(one, code_layers(one, settings_of(lam), Recipe()))
        for tensor in part.proto.graph.initializer:
            if tensor.name in (key, key.replace("w", "b")):
                assign_initializer(alone, tensor.name, numpy_helper.to_array(tensor))
    assert error_of(classifier, together) < 0.9 * error_of(classifier, alone)


def test_biases_keep_the_mean_of_every_layer(classifier: Classifier) -> None:
    calibration = calibrate_on(classifier)
    coded = code_layers(calibration, settings_of(1e-2), Recipe())
    model = put(calibration, coded)
    assert set(coded.biases) == {"b0", "b1"}
    seen = np.concatenate([feed["x"] for feed in calibration.observed_feeds])
    for output, name in (("q", "b0"), ("y", "b1")):
        before = run(classifier.model, seen, output).mean(axis=0)
        now = run(to_proto(model), seen, output).mean(axis=0)
        step = coded.biases[name].step
        assert step is not None
        # Up to the rounding of the bias.
        assert np.abs(now - before).max() <= 0.51 * step + 1e-5
    uncorrected = load_model(model.proto)
    for tensor in classifier.model.graph.initializer:
        if tensor.name.startswith("b"):
            assign_initializer(uncorrected, tensor.name, numpy_helper.to_array(tensor))
    assert error_of(classifier, model) < error_of(classifier, uncorrected)


def test_the_predicted_damage_is_that_of_the_first_layer(classifier: Classifier) -> None:
    calibration = calibrate_on(classifier, keys=["w0"])
    coded = code_layers(calibration, settings_of(1e-2), Recipe())
    model = put(calibration, coded)
    seen = np.concatenate([feed["x"] for feed in calibration.observed_feeds])
    before, now = (run(one, seen, "p") for one in (classifier.model, to_proto(model)))
    expected = (now - before).var(axis=0).sum()
    assert coded.layers["w0"].damage == pytest.approx(expected, rel=1e-3)
    assert coded.damage == coded.layers["w0"].damage
    assert coded.size_bits("w0") == coded.layers["w0"].size_bits
    assert coded.size_bits("w1") == 0


def test_a_layer_that_is_left_is_not_touched(classifier: Classifier) -> None:
    calibration = calibrate_on(classifier)
    coded = code_layers(calibration, settings_of(1e-2, w0="none"), Recipe())
    assert set(coded.layers) == {"w1"}
    assert set(coded.biases) == {"b1"}


@pytest.mark.parametrize("codec", ["palette", "bloomier"])
def test_the_same_bytes_with_any_threads(classifier: Classifier, codec: str) -> None:
    settings = settings_of(1e-3, w0=codec, w1=codec)
    found = [
        code_layers(calibrate_on(classifier, threads=threads), settings, Recipe())
        for threads in (1, 1, 2)
    ]
    for one in found[1:]:
        for key, layer in one.layers.items():
            assert layer.blob == found[0].layers[key].blob
            np.testing.assert_array_equal(layer.values, found[0].layers[key].values)
        for name, tensor in one.biases.items():
            np.testing.assert_array_equal(tensor.levels, found[0].biases[name].levels)


def test_progress_is_told(classifier: Classifier) -> None:
    told: list[tuple[int, str]] = []
    code_layers(
        calibrate_on(classifier), settings_of(1e-2), Recipe(),
        progress=lambda index, key: told.append((index, key)),
    )  # fmt: skip
    assert told == [(0, "w0"), (1, "w1")]


def test_the_model_is_left_as_it_was(classifier: Classifier) -> None:
    calibration = calibrate_on(classifier)
    before = calibration.model.proto.SerializeToString()
    code_layers(calibration, settings_of(1e-2, w0="bloomier"), Recipe())
    assert calibration.model.proto.SerializeToString() == before


def test_residual_sums_are_kept() -> None:
    """What is added to a layer's output comes from a layer that was coded before."""
    classifier = make_mlp_classifier(num_samples=1500)
    model = load_model(classifier.model).proto
    rng = np.random.default_rng(0)
    extra = rng.standard_normal((24, 5)).astype(np.float32) / 5
    model.graph.initializer.append(numpy_helper.from_array(extra, "ws"))
    for node in model.graph.node:
        node.output[:] = ["t" if name == "y" else name for name in node.output]
    model.graph.node.insert(0, helper.make_node("MatMul", ["x", "ws"], ["skip"]))
    model.graph.node.append(helper.make_node("Add", ["t", "skip"], ["y"]))
    residual = dataclasses.replace(classifier, model=model)
    calibration = calibrate_on(residual, keys=("ws", "w0", "w1"))
    settings = {key: LayerSettings(codec="palette", lam=1e-2) for key in ("ws", "w0", "w1")}
    coded = code_layers(calibration, settings, Recipe())
    together = put(calibration, coded)
    alone = load_model(model)
    for key in settings:
        one = calibrate_on(residual, keys=[key])
        part = put(one, code_layers(one, settings, Recipe()))
        for tensor in part.proto.graph.initializer:
            if tensor.name in (key, key.replace("w", "b")):
                assign_initializer(alone, tensor.name, numpy_helper.to_array(tensor))
    assert error_of(residual, together) < error_of(residual, alone)


def test_outputs_that_matter_weigh_more() -> None:
    """Calibrated, the weights of an output that nothing reads count nothing."""
    classifier = make_mlp_classifier(num_samples=300)
    model = load_model(classifier.model)
    w1 = numpy_helper.to_array(
        next(t for t in model.proto.graph.initializer if t.name == "w1")
    ).copy()
    w1[:10] = 0
    assign_initializer(model, "w1", w1)
    feeds = load_feeds({"x": classifier.x}, open_model(model).get_inputs())
    told: list[str] = []
    calibration = calibrate(
        model, feeds, find_layers(model), temperature=1.0,
        progress=lambda what, done, total: told.append(f"{what} {done}/{total}"),
    )  # fmt: skip
    assert not calibration.row_weights["w0"][0, :10].any()
    assert (calibration.row_weights["w0"][0, 10:] > 0).all()
    assert (calibration.row_weights["w1"] > 0).all()
    assert told == ["sensitivity of w0 0/2", "sensitivity of w1 1/2"]
