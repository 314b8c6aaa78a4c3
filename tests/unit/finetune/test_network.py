"""A network through its stages: what is packed is what trained, bit for bit."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from tests.unit.finetune import perceptron
from wl_onnx import decompress
from wl_onnx.graph import load_model, to_proto
from wl_onnx.recipe import Recipe

torch = pytest.importorskip("torch", reason="torch is not installed")

from wl_onnx.finetune import packing  # noqa: E402
from wl_onnx.finetune.network import Network  # noqa: E402  needs torch

CODING = Recipe(codec="bloomier", layout="prefix", clusters=1)


def make(recipe: Recipe = CODING) -> Network:
    return Network(perceptron.trained(), recipe)


def quantize(network: Network) -> None:
    network.quantize(ratio=0.5, dead_zone=0.3, limits={})


def compressed(network: Network) -> onnx.ModelProto:
    proto, assembly = network.pack()
    loaded = load_model(proto)
    assembly.apply(loaded)
    return to_proto(loaded)


def weights_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}


def test_weights_and_biases_are_found() -> None:
    network = make()
    assert [(one.key, one.is_weight) for one in network.tensors] == [
        ("fc1.weight", True),
        ("fc2.weight", True),
        ("fc1.bias", False),
        ("fc2.bias", False),
    ]
    selected = make(Recipe(clusters=1, include=("fc2.*",)))
    assert [one.key for one in selected.tensors] == ["fc2.weight", "fc2.bias"]
    alone = make(Recipe(clusters=1, include=("fc1.weight",)))
    assert [one.key for one in alone.tensors] == ["fc1.weight"]
    quantize(alone)
    plain = weights_of(perceptron.trained())
    stored = weights_of(compressed(alone))
    for name in ("fc1.bias", "fc2.weight", "fc2.bias"):
        np.testing.assert_array_equal(stored[name], plain[name])


@pytest.mark.parametrize("num_filters", [0, 1, 2])
def test_what_is_packed_is_what_trained(num_filters: int) -> None:
    network = make()
    quantize(network)
    for one in network.find_filterable(1)[:num_filters]:
        network.put_into_filter(one, share=0.3)
    model = compressed(network)
    used = {one.key: one.read_values() for one in network.tensors}
    plain = weights_of(decompress(model))
    assert plain.keys() == used.keys()
    for key, values in used.items():
        np.testing.assert_array_equal(plain[key], values)
    x = perceptron.draw_samples(50, seed=3).inputs["x"]
    session = onnxruntime.InferenceSession(decompress(model).SerializeToString())
    with torch.no_grad():
        expected = network.module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, atol=1e-5)


def test_bytes_that_are_told_are_those_that_are_stored() -> None:
    network = make()
    quantize(network)
    told = network.measure_bytes()
    (blob,) = [
        attribute.t.raw_data
        for node in compressed(network).graph.node
        for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.TENSOR
    ]
    assert told == len(blob)


def test_large_models_become_palettes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_MAX_BUNDLED", 1000)
    network = make()
    quantize(network)
    bits = network.measure_bits()
    model = compressed(network)
    used = {one.key: one.read_values() for one in network.tensors}
    for name, values in weights_of(decompress(model)).items():
        np.testing.assert_array_equal(values, used[name])
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("PaletteDecode") == 2
    assert kinds.count("BundleDecode") == 1
    blobs = {
        node.output[0]: len(attribute.t.raw_data)
        for node in model.graph.node
        for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.TENSOR
    }
    fields = network.pack()[1].fields
    for key in ("fc1.weight", "fc2.weight"):
        assert bits[key] == 8 * blobs[key]
        assert fields[key]["num_nonzero"] == np.count_nonzero(used[key])


def test_filters_are_made_of_large_weights_that_are_not_zero_the_largest_first() -> None:
    network = make()
    quantize(network)
    assert [one.key for one in network.find_filterable(1)] == ["fc1.weight", "fc2.weight"]
    assert [one.key for one in network.find_filterable(1000)] == ["fc1.weight"]
    predicted = network.predict_bytes(1000, share=0.3)
    network.put_into_filter(network.find_filterable(1000)[0], share=0.3)
    assert network.find_filterable(1000) == []
    assert abs(network.measure_bytes() - predicted) < 20  # the rest is coded by itself
    with torch.no_grad():
        next(one for one in network.tensors if one.key == "fc2.weight").original.zero_()
    assert network.find_filterable(1) == []


def test_centroids_of_filters_are_trained_and_stored() -> None:
    network = make()
    quantize(network)
    (one,) = [one for one in network.tensors if one.key == "fc1.weight"]
    filtered = network.put_into_filter(one, share=0.3)
    with torch.no_grad():
        one.original.mul_(1.5)
    plain = weights_of(decompress(compressed(network)))
    table = np.concatenate([[0.0], 1.5 * filtered.codebook.astype(np.float64)])
    np.testing.assert_allclose(plain["fc1.weight"], table[filtered.codes], rtol=2**-10)


def test_dead_units_go_and_nothing_else_changes() -> None:
    network = make()
    with torch.no_grad():
        fc1 = next(one for one in network.tensors if one.key == "fc1.weight")
        fc1.original[10:30] = 0.0
    x = torch.from_numpy(perceptron.draw_samples(50, seed=3).inputs["x"])
    with torch.no_grad():
        before = network.module(x).numpy()
    removed = network.remove_dead_units()
    assert removed == 20 * (perceptron.NUM_FEATURES + 1 + perceptron.NUM_CLASSES)
    with torch.no_grad():
        np.testing.assert_allclose(network.module(x).numpy(), before, atol=1e-5)


def test_small_values_become_zero_where_there_is_a_limit() -> None:
    network = make()
    before = {one.key: one.read_values() for one in network.tensors}
    network.zero_small({"fc1.weight": 0.1})
    for one in network.tensors:
        wanted = before[one.key]
        if one.key == "fc1.weight":
            wanted = np.where(np.abs(wanted) < np.float32(0.1), 0, wanted)
        np.testing.assert_array_equal(one.read_values(), wanted)


def test_a_network_comes_back_from_its_state() -> None:
    network = make()
    quantize(network)
    network.put_into_filter(network.find_filterable(1)[0], share=0.3)
    again = Network.from_state(network.get_state(), CODING)
    assert again.measure_bits() == network.measure_bits()
    assert again.lossless_bits == network.lossless_bits
    wanted = compressed(network).SerializeToString(deterministic=True)
    assert compressed(again).SerializeToString(deterministic=True) == wanted
