"""Coded layers and other parameters, put into a model."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.classifiers import form_model
from tests.unit.planning.problems import pose
from wl_onnx import Recipe, decompress
from wl_onnx.codecs import bundle
from wl_onnx.codecs.bundle import BundleTensor
from wl_onnx.graph import CompressibleModel, find_layers, load_model, to_proto
from wl_onnx.planning import assembly as assembly_module
from wl_onnx.planning.assembly import Assembly, assemble
from wl_onnx.planning.layer_coding import code_layer
from wl_onnx.planning.layer_problem import LayerProblem, LayerSettings
from wl_onnx.planning.sequence import CodedLayers
from wl_onnx.recipe import Rule

Array = np.ndarray

SETTINGS = LayerSettings(codec="palette", lam=1e-3)


def make_model(dtype: type = np.float32, size: int = 16) -> onnx.ModelProto:
    """Two layers with biases, a normalisation and a slope between them."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gemm", ["x", "w0", "b0"], ["h"]),
        helper.make_node("BatchNormalization", ["h", "scale", "shift", "mean", "variance"], ["n"]),
        helper.make_node("PRelu", ["n", "slope"], ["r"]),
        helper.make_node("Gemm", ["r", "w1", "b1"], ["y"]),
    ]
    tensors = {
        "w0": rng.standard_normal((size, size)),
        "b0": rng.standard_normal(size),
        "scale": rng.uniform(0.5, 2, size),
        "shift": rng.standard_normal(size),
        "mean": rng.standard_normal(size),
        "variance": rng.uniform(0.5, 2, size),
        "slope": rng.uniform(0.1, 0.3, size),
        "w1": rng.standard_normal((size, 6)),
        "b1": rng.standard_normal(6),
    }
    x = np.zeros((1, size), dtype)
    return form_model(nodes, x, **{name: one.astype(dtype) for name, one in tensors.items()})


PARAMETERS = {"b0", "b1", "scale", "shift", "mean", "variance", "slope"}


def code(model: CompressibleModel, *, biases: tuple[str, ...] = ("b0", "b1")) -> CodedLayers:
    rng = np.random.default_rng(1)
    layers = {}
    for layer in find_layers(model):
        assert layer.view is not None
        num_groups, num_rows, k = layer.view.matrix_shape
        weight = np.asarray(layer.view.to_matrices(layer.site.numpy()), np.float64)
        problem = LayerProblem(
            layer, layer.view, weight, weight, np.tile(np.eye(k), (num_groups, 1, 1)),
            np.ones((num_groups, num_rows)), np.ones((num_groups, k)),
        )  # fmt: skip
        layers[layer.site.key] = code_layer(problem, SETTINGS, Recipe())
    sizes = {t.name: t.dims[0] for t in model.proto.graph.initializer}
    tensors = {
        name: BundleTensor(levels=rng.integers(-9, 9, sizes[name]), step=0.25) for name in biases
    }
    return CodedLayers(dict.fromkeys(layers, SETTINGS), layers, tensors)


def apply(model: CompressibleModel, assembly: Assembly) -> dict[str, Array]:
    """All initializers as they are decoded."""
    assembly.apply(model)
    plain = decompress(to_proto(model))
    return {t.name: numpy_helper.to_array(t) for t in plain.graph.initializer}


def values_of(coded: CodedLayers, model: CompressibleModel) -> dict[str, Array]:
    found = {}
    for layer in find_layers(model):
        assert layer.view is not None
        found[layer.site.key] = layer.view.from_matrices(coded.layers[layer.site.key].values)
    for name, tensor in coded.biases.items():
        assert tensor.step is not None
        found[name] = np.asarray(tensor.levels) * tensor.step
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_everything_small_is_in_one_bundle(dtype: type) -> None:
    model = load_model(make_model(dtype))
    before = {t.name: numpy_helper.to_array(t) for t in model.proto.graph.initializer}
    coded = code(model)
    expected = values_of(coded, model)
    assembly = assemble(model, coded, Recipe(), {})
    assert not assembly.replacements
    assert not assembly.assigned
    (one,) = assembly.bundles
    assert set(one.keys) == set(before) == set(assembly.codecs)
    assert set(assembly.codecs.values()) == {"bundle"}
    assert {parameter.key for parameter in assembly.parameters} == PARAMETERS
    after = apply(model, assembly)
    for name, array in after.items():
        assert array.dtype == dtype
        if name in expected:
            np.testing.assert_allclose(array, expected[name], rtol=1e-6 + np.finfo(dtype).eps)
        else:
            np.testing.assert_allclose(array, before[name], rtol=2**-10)


def test_what_the_report_says_of_each() -> None:
    model = load_model(make_model())
    coded = code(model)
    before = {t.name: numpy_helper.to_array(t) for t in model.proto.graph.initializer}
    assembly = assemble(model, coded, Recipe(), {})
    (one,) = assembly.bundles
    assert sum(fields["size_bits"] for fields in assembly.fields.values()) == 8 * len(one.blob)
    for key, layer in coded.layers.items():
        fields = assembly.fields[key]
        assert fields["predicted_damage"] == layer.damage
        error = np.square(values_of(coded, model)[key] - before[key]).sum()
        share = error / np.square(before[key].astype(np.float64)).sum()
        assert fields["error_share"] == pytest.approx(share, rel=1e-4)
    assert "error_share" not in assembly.fields["b0"]  # it makes up for the weight
    for key in PARAMETERS - {"b0", "b1"}:
        half = before[key].astype(np.float16).astype(np.float64)
        share = np.square(half - before[key]).sum() / np.square(before[key]).sum()
        assert assembly.fields[key]["error_share"] == pytest.approx(share, rel=1e-3)


@pytest.mark.parametrize(
    ("changed", "is_half"),
    [(1.0, True), (0.0, True), (3e-5, True), (1e-6, False), (1e5, False), (1e-30, False)],
)
def test_parameters_are_float16_where_that_is_precise(changed: float, is_half: bool) -> None:
    """A number beyond float16's range, or where it is coarse, keeps all of its tensor exact."""
    proto = make_model()
    for tensor in proto.graph.initializer:
        if tensor.name == "variance":
            values = numpy_helper.to_array(tensor).copy()
            values[3] = changed
            tensor.CopyFrom(numpy_helper.from_array(values, "variance"))
    model = load_model(proto)
    after = apply(model, assemble(model, code(model), Recipe(), {}))["variance"]
    half = values.astype(np.float16) if changed < 1e5 else values
    np.testing.assert_array_equal(after, half if is_half else values)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(include=("w*",)),
        Recipe(exclude=("[!w]*",)),
        Recipe(rules=(Rule("[!w]*", (("skip", True),)),)),
    ],
)
def test_parameters_that_are_not_selected_stay(recipe: Recipe) -> None:
    model = load_model(make_model())
    before = {t.name: numpy_helper.to_array(t) for t in model.proto.graph.initializer}
    coded = code(model)
    expected = values_of(coded, model)
    assembly = assemble(model, coded, recipe, {})
    assert not assembly.parameters
    assert set(assembly.codecs) == {"w0", "w1"}
    assert set(assembly.assigned) == {"b0", "b1"}  # they go with their weights
    after = apply(model, assembly)
    for name in PARAMETERS:
        np.testing.assert_array_equal(after[name], expected.get(name, before[name]))


def test_each_element_type_has_a_bundle() -> None:
    proto = make_model(size=24)
    for node in proto.graph.node:
        if "w1" in node.input:
            node.input[:] = ["r16", "w1", "b1"]
            node.output[0] = "y16"
    cast = helper.make_node("Cast", ["r"], ["r16"], to=onnx.TensorProto.FLOAT16)
    proto.graph.node.insert(3, cast)
    proto.graph.node.append(helper.make_node("Cast", ["y16"], ["y"], to=onnx.TensorProto.FLOAT))
    for tensor in proto.graph.initializer:
        if tensor.name in ("w1", "b1"):
            half = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    model = load_model(proto)
    coded = code(model)
    assembly = assemble(model, coded, Recipe(), {})
    assert {frozenset(one.keys) for one in assembly.bundles} == {
        frozenset({"w1", "b1"}),
        frozenset({"w0"} | (PARAMETERS - {"b1"})),
    }
    after = apply(model, assembly)
    assert after["w1"].dtype == np.float16
    assert after["w0"].dtype == np.float32


def test_a_bundle_that_takes_more_is_dropped() -> None:
    rng = np.random.default_rng(0)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    weight = rng.standard_normal((2, 3)).astype(np.float32)
    model = load_model(form_model([node], np.zeros((1, 2), np.float32), w=weight))
    coded = code(model, biases=())
    assert coded.layers["w"].codec == "bundle"
    assembly = assemble(model, coded, Recipe(), {})
    assert not assembly.bundles
    assert not assembly.codecs
    np.testing.assert_array_equal(apply_nothing(model, assembly)["w"], weight)


def apply_nothing(model: CompressibleModel, assembly: Assembly) -> dict[str, Array]:
    assembly.apply(model)
    return {t.name: numpy_helper.to_array(t) for t in model.proto.graph.initializer}


def test_no_bundle_has_more_weights_than_one_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly_module, "MAX_BUNDLE_WEIGHTS", 300)
    model = load_model(make_model())
    coded = code(model)
    expected = values_of(coded, model)
    assembly = assemble(model, coded, Recipe(), {})
    sizes = [bundle.inspect(one.blob).num_weights for one in assembly.bundles]
    assert len(sizes) == 2
    assert max(sizes) <= 300
    assert sum(sizes) == 16 * 16 + 16 * 6 + 6 * 16 + 6
    after = apply(model, assembly)
    for name, array in expected.items():
        np.testing.assert_allclose(after[name], array, rtol=1e-6)


def test_large_weights_have_blobs_of_their_own() -> None:
    rng = np.random.default_rng(0)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    weight = rng.standard_normal((300, 250)).astype(np.float32)
    model = load_model(form_model([node], np.zeros((1, 300), np.float32), w=weight))
    problem = pose(model.proto, rng, covariance=np.eye(300)[None])
    for codec in ("palette", "bloomier"):
        model = load_model(problem.layer.site.model.proto)
        settings = dataclasses.replace(SETTINGS, codec=codec)
        coded = code_layer(problem, settings, Recipe())
        layers = CodedLayers({"w": settings}, {"w": coded}, {})
        assembly = assemble(model, layers, Recipe(), {})
        assert not assembly.bundles
        assert assembly.codecs == {"w": codec}
        assert assembly.replacements["w"].blob == coded.blob
        assert assembly.fields["w"]["tried"] == {
            codec: {"size_bits": coded.size_bits, "predicted_damage": coded.damage}
        }
        copy = load_model(model.proto)
        expected = problem.view.from_matrices(coded.values)
        np.testing.assert_allclose(apply(copy, assembly)["w"], expected, rtol=1e-6)
