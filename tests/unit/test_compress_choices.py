"""What is compressed, with which parameters, and what is left as it is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import wl_onnx
from tests.compressions import GIVEN, arrays_of, blobs_of, tensors_of
from wl_onnx import Recipe, compress, decompress


@pytest.mark.parametrize("threads", [1, 2])
def test_the_default_keeps_within_the_share(
    find_model: Callable[[str], Path], threads: int
) -> None:
    path = find_model("lenet5")
    before = arrays_of(onnx.load(path))
    for share in (0.02, 0.05, 0.3):
        result = compress(path, recipe=Recipe(error_share=share, threads=threads))
        after = arrays_of(decompress(result.model))
        encoded = [t for t in result.report["tensors"] if t["codec"] == "bloomier"]
        assert encoded
        for tensor in encoded:
            weights = before[tensor["name"]].astype(np.float64)
            error = ((weights - after[tensor["name"]]) ** 2).sum() / (weights**2).sum()
            assert error <= share * (1 + 1e-9)
            assert tensor["meets_share"] is True
            assert tensor["size_bits"] < tensor["original_bits"]


def test_a_share_that_no_choice_keeps_within_leaves_the_weight(model: onnx.ModelProto) -> None:
    result = compress(model, recipe=Recipe(error_share=1e-4))
    assert result.model == model
    for tensor in result.report["tensors"]:
        assert tensor["codec"] == "none"
        assert tensor["reason"].startswith("keeps within error_share 0.0001 with no choice")
        assert tensor["reason"].endswith("16 clusters are too few")
    # What is given is done as given, and the report says what it costs.
    given = compress(model, recipe=Recipe(error_share=1e-4, sparsity=0.5))
    assert [tensor["meets_share"] for tensor in given.report["tensors"]] == [False, False]


def test_a_larger_share_is_never_larger(find_model: Callable[[str], Path]) -> None:
    path = find_model("lenet5")
    sizes = [
        compress(path, recipe=Recipe(error_share=share)).report["weights"]["compressed_bytes"]
        for share in (0.01, 0.02, 0.05, 0.1, 0.3)
    ]
    assert sizes == sorted(sizes, reverse=True)


def test_a_second_pass_over_the_decompressed_model_changes_nothing(
    model: onnx.ModelProto,
) -> None:
    recipe = Recipe(sparsity=0.0, clusters=32, bits=6)
    once = compress(model, recipe=recipe).model
    twice = compress(decompress(once), recipe=recipe).model
    assert blobs_of(twice) == blobs_of(once)
    default = compress(model).model
    again = compress(decompress(default))
    assert again.report["weights"]["ratio"] > 1
    assert all(t["meets_share"] for t in again.report["tensors"])


def test_no_tensor_that_would_grow_is_stored(
    make_mlp: Callable[..., onnx.ModelProto], caplog: pytest.LogCaptureFixture
) -> None:
    weights = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    model = make_mlp(weights, weights[:, :4])
    recipe = Recipe(sparsity=0.0, clusters=256, min_elements=1)
    with caplog.at_level("WARNING", "wl_onnx"):
        result = compress(model, recipe=recipe)
    assert result.model == model
    assert "no weight of mlp shrinks: the model is kept as it is" in caplog.text
    for tensor in result.report["tensors"]:
        assert tensor["codec"] == "none"
        assert tensor["reason"].startswith("would not shrink: ")
    assert result.report["weights"]["ratio"] == 1
    grown = compress(model, recipe=dataclasses.replace(recipe, allow_growth=True))
    assert {t["codec"] for t in grown.report["tensors"]} == {"bloomier"}
    assert grown.model.ByteSize() > model.ByteSize()


@pytest.mark.parametrize("size", range(4, 24))
def test_no_file_grows(make_mlp: Callable[..., onnx.ModelProto], size: int) -> None:
    weights = np.random.default_rng(size).normal(size=(size, size)).astype(np.float32)
    model = make_mlp(weights)
    result = compress(model, recipe=Recipe(min_elements=1))
    assert result.report["file"]["compressed_bytes"] == result.model.ByteSize()
    if result.report["tensors"][0]["codec"] == "none":
        assert result.model == model
        assert result.report["tensors"][0]["reason"]
        assert result.report["weights"]["ratio"] == 1
    else:
        assert result.model.ByteSize() < model.ByteSize()


def test_a_model_that_does_not_shrink_is_written_as_it_is(
    make_mlp: Callable[..., onnx.ModelProto], tmp_path: Path
) -> None:
    model = make_mlp(np.ones((4, 4), np.float32))
    onnx.save(model, tmp_path / "m.onnx")
    compress(tmp_path / "m.onnx", tmp_path / "out.onnx")
    assert onnx.load(tmp_path / "out.onnx") == model


@pytest.mark.parametrize("distinct", [0, 1, 2, 3, 8, 16])
@pytest.mark.parametrize("density", [0.05, 1.0])
def test_weights_of_few_values_come_back_exactly(
    make_mlp: Callable[..., onnx.ModelProto], distinct: int, density: float
) -> None:
    rng = np.random.default_rng(distinct)
    values = (
        np.arange(1, distinct + 1, dtype=np.float32)
        * np.array([1, -1], np.float32)[np.arange(distinct) % 2]
    )
    weights = np.zeros(64 * 64, np.float32)
    if distinct:
        places = rng.choice(weights.size, round(density * weights.size), replace=False)
        weights[places] = rng.choice(values, places.size)
    weights = weights.reshape(64, 64)
    share = 1e-9 if density == 1.0 else 0.02
    result = compress(make_mlp(weights), recipe=Recipe(error_share=share))
    (tensor,) = result.report["tensors"]
    assert tensor["codec"] == "bloomier"
    if density == 1.0 or distinct == 0:
        assert tensor["clusters"] == max(1, distinct)
        assert tensor["bits"] == max(1, math.ceil(math.log2(max(1, distinct))))
        np.testing.assert_array_equal(arrays_of(decompress(result.model))["w0"], weights)
    else:
        assert tensor["error_share"] <= share


@pytest.mark.parametrize(
    ("dtype", "data_type"),
    [(np.float16, 10), (ml_dtypes.bfloat16, 16), (np.float64, 11), (np.float32, 1)],
)
def test_every_float_type_comes_back_as_it_was(
    make_mlp: Callable[..., onnx.ModelProto], dtype: Any, data_type: int
) -> None:
    weights = np.random.default_rng(0).normal(size=(64, 64)).astype(dtype)
    result = compress(make_mlp(weights), recipe=GIVEN)
    (tensor,) = result.report["tensors"]
    assert tensor["original_bits"] == 8 * weights.nbytes
    (restored,) = (t for t in decompress(result.model).graph.initializer if t.name == "w0")
    assert restored.data_type == data_type
    decoded = numpy_helper.to_array(restored).astype(np.float64)
    before = weights.astype(np.float64)
    share = ((before - decoded) ** 2).sum() / (before**2).sum()
    assert share == pytest.approx(tensor["error_share"], rel=1e-2)


def test_include_exclude_rules_and_size_say_why(model: onnx.ModelProto) -> None:
    rule = wl_onnx.recipe.Rule("w1", (("skip", True),))
    for recipe, expected in (
        (Recipe(include=("w0",)), {"w0": None, "w1": "is not selected by include and exclude"}),
        (Recipe(exclude=("*1",)), {"w0": None, "w1": "is not selected by include and exclude"}),
        (Recipe(rules=(rule,)), {"w0": None, "w1": "is skipped by a rule"}),
        (Recipe(min_elements=8000), {"w0": None, "w1": "has fewer than 8000 elements"}),
    ):
        result = compress(model, recipe=recipe)
        assert {t["name"]: t["reason"] for t in result.report["tensors"]} == expected
        assert blobs_of(result.model).keys() == {"w0"}


def test_a_rule_applies_to_its_tensor_alone(model: onnx.ModelProto) -> None:
    rule = wl_onnx.recipe.Rule("w1", (("clusters", 4), ("bits", 3), ("layout", "xor")))
    tensors = tensors_of(compress(model, recipe=dataclasses.replace(GIVEN, rules=(rule,))))
    assert [tensors["w0"][key] for key in ("clusters", "bits", "layout")] == [16, 8, "ribbon"]
    assert [tensors["w1"][key] for key in ("clusters", "bits", "layout")] == [4, 3, "xor"]


def test_a_global_threshold(model: onnx.ModelProto, weights: list[np.ndarray]) -> None:
    recipe = dataclasses.replace(GIVEN, prune_scope="global")
    tensors = tensors_of(compress(model, recipe=recipe))
    magnitudes = np.sort(np.abs(np.concatenate([array.reshape(-1) for array in weights])))
    threshold = magnitudes[round(0.9 * magnitudes.size)]
    for name, array in zip(("w0", "w1"), weights, strict=True):
        assert tensors[name]["num_nonzero"] == (np.abs(array) >= threshold).sum()
    automatic = compress(model, recipe=dataclasses.replace(recipe, bits="auto", error_share=0.9))
    for name, array in zip(("w0", "w1"), weights, strict=True):
        tensor = tensors_of(automatic)[name]
        assert tensor["num_nonzero"] == (np.abs(array) >= threshold).sum()
        assert tensor["meets_share"] is True


def test_a_global_threshold_that_leaves_a_tensor_empty(
    make_mlp: Callable[..., onnx.ModelProto], weights: list[np.ndarray]
) -> None:
    model = make_mlp(weights[0], 1e-6 * weights[1])
    recipe = Recipe(sparsity=0.5, prune_scope="global")
    tensors = tensors_of(compress(model, recipe=recipe))
    assert tensors["w1"]["num_nonzero"] == 0
    assert tensors["w0"]["num_nonzero"] == 8400
