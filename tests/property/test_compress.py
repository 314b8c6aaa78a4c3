"""Compression of random models: what always holds."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from wl_onnx import Recipe, compress, decompress
from wl_onnx.evaluation import inspect

recipes = st.builds(
    Recipe,
    sparsity=st.one_of(st.just("auto"), st.floats(0, 0.99)),
    clusters=st.integers(1, 64),
    bits=st.one_of(st.just("auto"), st.integers(6, 16)),
    error_share=st.floats(0.001, 0.9),
    layout=st.sampled_from(["ribbon", "xor"]),
    hash=st.sampled_from(["auto", "tabulation", "murmur3"]),
    codebook=st.sampled_from(["float16", "float32"]),
    min_elements=st.just(1),
    blobs=st.sampled_from(["attribute", "initializer"]),
    seed=st.integers(0, 2**32 - 1),
    threads=st.just(1),
    allow_growth=st.booleans(),
)


@st.composite
def arrays(draw: st.DrawFn) -> list[np.ndarray]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = draw(st.lists(st.integers(1, 60), min_size=2, max_size=4))
    weights = []
    for rows, columns in itertools.pairwise(sizes):
        values = rng.standard_normal((rows, columns)) * 10.0 ** draw(st.integers(-6, 4))
        values[rng.random((rows, columns)) < draw(st.sampled_from([0, 0.5, 0.97, 1]))] = 0
        if draw(st.booleans()):
            values = np.sign(values)
        weights.append(values.astype(np.float32))
    return weights


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(weights=arrays(), recipe=recipes)
def test_what_always_holds(
    make_mlp: Callable[..., onnx.ModelProto], weights: list[np.ndarray], recipe: Recipe
) -> None:
    model = make_mlp(*weights)
    result = compress(model, recipe=recipe)
    more_threads = compress(model, recipe=dataclasses.replace(recipe, threads=2))
    assert more_threads.report == result.report
    assert more_threads.model == result.model

    tensors = {tensor["name"]: tensor for tensor in result.report["tensors"]}
    encoded = {name for name, tensor in tensors.items() if tensor["codec"] == "bloomier"}
    if not recipe.allow_growth:
        assert result.model.ByteSize() <= model.ByteSize()
        assert all(tensors[n]["size_bits"] < tensors[n]["original_bits"] for n in encoded)
    if not encoded:
        assert result.model == model
        assert all(tensor["reason"] for tensor in tensors.values())
        return
    found = inspect(result.model)
    assert found["weights"] == result.report["weights"]
    assert found["file"]["compressed_bytes"] == result.model.ByteSize()

    dense = decompress(result.model)
    onnx.checker.check_model(dense)
    decoded = {t.name: numpy_helper.to_array(t) for t in dense.graph.initializer}
    for index, before in enumerate(weights):
        name = f"w{index}"
        assert decoded[name].shape == before.shape
        if name not in encoded:
            np.testing.assert_array_equal(decoded[name], before)
            continue
        tensor = tensors[name]
        assert tensor["num_nonzero"] <= np.count_nonzero(before)
        assert np.count_nonzero(decoded[name]) <= before.size
        assert len(np.unique(decoded[name])) <= tensor["clusters"] + 1 <= recipe.clusters + 1
        exact = before.astype(np.float64)
        energy = (exact**2).sum()
        error = ((exact - decoded[name]) ** 2).sum()
        assert error <= (tensor["error_share"] + 1e-9) * energy
        assert error >= (tensor["error_share"] - 1e-9) * energy
        if tensor["meets_share"]:
            assert error <= recipe.error_share * (1 + 1e-9) * energy


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(weights=arrays(), clusters=st.integers(1, 32), seed=st.integers(0, 2**32 - 1))
def test_without_pruning_a_second_pass_gives_the_same_weights(
    make_mlp: Callable[..., onnx.ModelProto],
    weights: list[np.ndarray],
    clusters: int,
    seed: int,
) -> None:
    # No zeros, so no false positives: the second pass meets its own centroids.
    weights = [np.where(array == 0, array.dtype.type(0.5), array) for array in weights]
    recipe = Recipe(
        sparsity=0.0, clusters=clusters, bits=16, seed=seed, min_elements=1, allow_growth=True
    )
    once = compress(make_mlp(*weights), recipe=recipe).model
    twice = compress(decompress(once), recipe=recipe).model
    assert list(twice.graph.node) == list(once.graph.node)
