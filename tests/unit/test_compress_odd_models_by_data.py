"""By data: weights in odd places, of odd types and scales, and inputs that say little."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import wl_onnx
from tests.classifiers import (
    Classifier,
    accuracy,
    form_model,
    make_lstm,
    make_mlp_classifier,
    run,
    snr_db,
)
from tests.compressions import tensors_of


def decode(result: wl_onnx.Result) -> onnx.ModelProto:
    return wl_onnx.decompress(result.model)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return make_mlp_classifier()


@pytest.mark.parametrize("constants", [("w0", "b1"), ("b0",)])
def test_constant_nodes_hold_weights_and_biases(constants: tuple[str, ...]) -> None:
    plain, other = make_mlp_classifier(), make_mlp_classifier(constants=constants)
    expected, found = (
        decode(wl_onnx.compress(one.model, data=one.data, min_snr=20.0, max_trials=4))
        for one in (plain, other)
    )
    np.testing.assert_array_equal(run(found, plain.x), run(expected, plain.x))


def test_weights_that_cannot_be_observed_stay_close() -> None:
    model, feeds = make_lstm()
    result = wl_onnx.compress(model, data=feeds, min_snr=15.0, max_trials=4)
    assert {name: one["codec"] for name, one in tensors_of(result).items()} == {
        "W": "palette", "R": "palette", "B": "bundle",
    }  # fmt: skip
    x = np.concatenate([feed["x"] for feed in feeds], axis=1)
    assert snr_db(run(model, x), run(decode(result), x)) > 15


def test_weights_in_subgraphs() -> None:
    rng = np.random.default_rng(0)
    branches = {}
    for name in ("a", "b"):
        weight = rng.standard_normal((24, 40)).astype(np.float32)
        out = helper.make_tensor_value_info(f"y{name}", TensorProto.FLOAT, ["n", 40])
        node = helper.make_node("MatMul", ["h", name], [f"y{name}"])
        tensors = [numpy_helper.from_array(weight, name)]
        branches[name] = helper.make_graph([node], name, [], [out], tensors)
    x = rng.standard_normal((40, 24)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branches["a"], else_branch=branches["b"]),
    ]
    model = form_model(nodes, x, w=rng.standard_normal((24, 24)).astype(np.float32))
    model.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    feeds = [{"x": x[at : at + 5], "c": np.array(at % 2 == 0)} for at in range(0, 40, 5)]
    tensors = tensors_of(wl_onnx.compress(model, data=feeds, min_snr=15.0, max_trials=4))
    assert [one["codec"] for one in tensors.values()] == ["bundle", "palette", "palette"]


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_element_types(dtype: type) -> None:
    classifier = make_mlp_classifier(dtype=dtype)
    result = wl_onnx.compress(classifier.model, data=classifier.data, max_drop=1.0, max_trials=4)
    assert result.report["search"]["drop"] <= 1.0
    assert result.report["weights"]["ratio"] > np.dtype(dtype).itemsize
    plain = decode(result)
    assert {t.data_type for t in plain.graph.initializer} == {
        helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    }
    logits = [run(model, classifier.x) for model in (classifier.model, plain)]
    drop = accuracy(logits[0], classifier.labels) - accuracy(logits[1], classifier.labels)
    assert drop <= 3


def test_a_model_without_any_bias() -> None:
    classifier = make_mlp_classifier(has_bias=False)
    result = wl_onnx.compress(classifier.model, data=classifier.data, min_snr=15.0, max_trials=6)
    assert set(tensors_of(result)) == {"w0", "w1"}
    assert snr_db(run(classifier.model, classifier.x), run(decode(result), classifier.x)) > 12


@pytest.mark.parametrize("scale", [1e-12, 1e-5, 1e6])
def test_weights_of_any_scale(scale: float) -> None:
    classifier = make_mlp_classifier(scale=scale)
    result = wl_onnx.compress(classifier.model, data=classifier.data, min_snr=20.0, max_trials=10)
    assert result.report["weights"]["ratio"] > 4
    assert snr_db(run(classifier.model, classifier.x), run(decode(result), classifier.x)) > 17


@pytest.mark.parametrize("batch", [7, 200])
def test_batches_of_a_fixed_size(batch: int) -> None:
    classifier = make_mlp_classifier(batch=batch, num_samples=56 if batch == 7 else 400)
    wl_onnx.compress(classifier.model, data=classifier.data, min_snr=10.0, max_trials=3)


def test_inputs_that_never_change(classifier: Classifier) -> None:
    x = classifier.x.copy()
    x[:, ::2] = 0
    x[:, 1] = 3
    result = wl_onnx.compress(classifier.model, data={"x": x}, min_snr=20.0, max_trials=6)
    assert snr_db(run(classifier.model, x), run(decode(result), x)) > 18


def test_data_of_one_sample_and_of_nothing_but_zeros(
    classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    wl_onnx.compress(classifier.model, data={"x": classifier.x[:1]}, min_snr=10.0, max_trials=3)
    assert "the data is one batch" in caplog.text
    zeros = {"x": np.zeros_like(classifier.x)}
    wl_onnx.compress(classifier.model, data=zeros, min_snr=10.0, max_trials=3)
