"""Layers of small models as problems, and what their solutions must hold."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from tests.classifiers import form_model
from wl_onnx.codecs import bloomier, bundle, palette
from wl_onnx.graph import find_layers, load_model
from wl_onnx.planning.layer_problem import CodedLayer, LayerProblem

Array = np.ndarray


def make_linear(weight: Array, *, is_transposed: bool = False) -> onnx.ModelProto:
    """x times a weight `[inputs, outputs]`, or with Gemm `[outputs, inputs]`."""
    size = weight.shape[1 if is_transposed else 0]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    if is_transposed:
        node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    return form_model([node], np.zeros((1, size), np.float32), w=weight.astype(np.float32))


def make_conv(weight: Array, group: int) -> onnx.ModelProto:
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=group)
    channels = weight.shape[1] * group
    x = np.zeros((1, channels, 8, 8), np.float32)
    return form_model([node], x, w=weight.astype(np.float32))


def draw_covariance(rng: np.random.Generator, num_groups: int, k: int) -> Array:
    mixing = rng.standard_normal((num_groups, k, k)) + 2 * np.eye(k)
    covariance: Array = mixing @ mixing.swapaxes(1, 2) / k
    return covariance


def pose(
    model: onnx.ModelProto,
    rng: np.random.Generator,
    *,
    covariance: Array | None = None,
    row_weights: Array | None = None,
) -> LayerProblem:
    """The problem of a model's one layer; the target is its weight."""
    (layer,) = find_layers(load_model(model))
    assert layer.view is not None
    num_groups, num_rows, k = layer.view.matrix_shape
    if covariance is None:
        covariance = draw_covariance(rng, num_groups, k)
    if row_weights is None:
        row_weights = rng.uniform(0.2, 2, (num_groups, num_rows))
    weight = np.asarray(layer.view.to_matrices(layer.site.numpy()), np.float64)
    energies = np.einsum("gii->gi", covariance)
    return LayerProblem(layer, layer.view, weight, weight, covariance, row_weights, energies)


def decode(problem: LayerProblem, coded: CodedLayer) -> Array:
    """What is stored, float64 in the shape of the weight."""
    if coded.codec == "bundle":
        assert coded.tensor is not None
        flat = bundle.decode(bundle.encode([coded.tensor]))[0]
    else:
        flat = {"palette": palette, "bloomier": bloomier}[coded.codec].decode(coded.blob)
    return np.asarray(flat, np.float64).reshape(problem.layer.site.shape)


def damage_of(problem: LayerProblem, values: Array) -> float:
    """The sum over outputs of row weight times e C e^T, output by output."""
    total = 0.0
    for group, covariance in enumerate(problem.covariance):
        for row, counts in enumerate(problem.row_weights[group]):
            error = values[group, row] - problem.target[group, row]
            total += counts * float(error @ covariance @ error)
    return total


def check(problem: LayerProblem, coded: CodedLayer) -> Array:
    """The stored values are those that are told, and so is their damage; gives the values."""
    stored = problem.view.to_matrices(decode(problem, coded))
    scale = np.abs(problem.target).max()
    np.testing.assert_allclose(coded.values, stored, rtol=2e-7, atol=1e-9 * scale)
    expected = damage_of(problem, stored)
    energy = damage_of(problem, np.zeros_like(stored))
    np.testing.assert_allclose(coded.damage, expected, rtol=1e-4, atol=1e-9 * energy)
    error = float(np.square(stored - problem.weight).sum())
    whole = float(np.square(problem.weight).sum())
    if whole:
        np.testing.assert_allclose(coded.fields["error_share"], error / whole, rtol=1e-4)
    if coded.codec != "bundle":
        assert coded.size_bits == 8 * len(coded.blob)
    return stored
