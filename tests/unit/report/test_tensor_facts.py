from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import wl_onnx
from wl_onnx import Recipe, evaluation
from wl_onnx.codecs import palette
from wl_onnx.graph import find_stored, load_model
from wl_onnx.report.facts import CODEBOOK, OVERHEAD, WEIGHTS
from wl_onnx.report.tensor_facts import describe_tensors, find_dense


def describe(original: onnx.ModelProto, compressed: onnx.ModelProto):  # type: ignore[no-untyped-def]
    tensors = describe_tensors(
        evaluation.inspect(compressed)["tensors"],
        find_stored(load_model(compressed)),
        find_dense(load_model(original)),
    )
    return {tensor.name: tensor for tensor in tensors}


@pytest.mark.parametrize("layout", ["ribbon", "xor", "prefix"])
def test_the_parts_of_a_filter(small_mlp: onnx.ModelProto, layout: str) -> None:
    recipe = Recipe(codec="bloomier", sparsity=0.9, clusters=13, bits=7, layout=layout)
    if layout == "prefix":
        recipe = Recipe(codec="bloomier", sparsity=0.9, clusters=13, layout=layout)
    compressed = wl_onnx.compress(small_mlp, recipe=recipe).model
    for tensor in describe(small_mlp, compressed).values():
        assert sum(tensor.parts.values()) == tensor.size_bytes
        assert tensor.parts[CODEBOOK] == 13 * 2
        extra = 7 + 4 + 3 * 16 if layout == "prefix" else 7
        assert 52 + 7 <= tensor.parts[OVERHEAD] <= 52 + extra
        if layout == "ribbon":
            assert tensor.parts[WEIGHTS] % 7 == 0  # seven planes of whole bytes
        assert tensor.parts[WEIGHTS] * 8 >= tensor.information_bound_bits


def test_the_parts_of_a_palette(small_mlp: onnx.ModelProto) -> None:
    compressed = wl_onnx.compress(small_mlp, recipe=Recipe(codec="palette")).model
    (decoder, *_) = find_stored(load_model(compressed))
    tensor = describe(small_mlp, compressed)[decoder.key]
    info = palette.inspect(decoder.blob)
    assert sum(tensor.parts.values()) == tensor.size_bytes == len(decoder.blob)
    assert tensor.parts[OVERHEAD] == 36
    assert tensor.parts[CODEBOOK] == info.codebook_bytes + info.model_bytes
    assert tensor.false_positives is None


@pytest.mark.parametrize(
    ("codebook", "kind", "count"),
    [
        ([0.0, 0.25, 0.5], "float16", 6),
        ([0.0, 0.25, 0.3], "float16", 6),
        (np.random.default_rng(0).normal(size=9), "float16", 18),
        (np.random.default_rng(0).normal(size=9), "float32", 36),
    ],
)
def test_the_bytes_of_a_codebook(codebook: np.ndarray, kind: str, count: int) -> None:
    blob = palette.encode([0, 2, 1, 0, 2], codebook=codebook, codebook_type=kind)
    is_even = len(set(np.diff(np.float32(np.float16(codebook))).tolist())) == 1
    expected = count if is_even or len(codebook) > 3 else 2 * len(codebook)
    assert palette.inspect(blob).codebook_bytes == expected


def test_false_positives_are_those_of_the_decoded_model(small_mlp: onnx.ModelProto) -> None:
    compressed = wl_onnx.compress(
        small_mlp, recipe=Recipe(codec="bloomier", sparsity=0.9, clusters=12, bits=5)
    ).model
    dense = wl_onnx.decompress(compressed)
    weights = {one.name: numpy_helper.to_array(one) for one in small_mlp.graph.initializer}
    decoded = {one.name: numpy_helper.to_array(one) for one in dense.graph.initializer}
    tensors = describe(small_mlp, compressed)
    assert {"w0"} <= set(tensors)
    for name, tensor in tensors.items():
        if tensor.codec != "bloomier":
            continue
        num_stored = weights[name].size - round(0.9 * weights[name].size)
        smallest = np.sort(np.abs(weights[name]).ravel())[-num_stored]
        expected = ((decoded[name] != 0) & (np.abs(weights[name]) < smallest)).sum()
        assert tensor.false_positives == expected > 0
        assert tensor.num_nonzero == num_stored


def test_sizes_before_are_the_originals(small_mlp: onnx.ModelProto) -> None:
    compressed = wl_onnx.compress(small_mlp, recipe=Recipe(codec="palette")).model
    for name, tensor in describe(small_mlp, compressed).items():
        assert tensor.original_bytes == 4 * tensor.num_weights
        assert tensor.original_shape == tensor.shape, name
