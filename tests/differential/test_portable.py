"""Weights of portable files, as stock runtimes fold them, against those that `decompress` gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

import wl_onnx
from tests.portable_files import draw_feeds, fold, open_plain, same_bits
from wl_onnx import Recipe

RECIPES = {
    "xor": Recipe(codec="bloomier", layout="xor"),
    "ribbon": Recipe(codec="bloomier", layout="ribbon"),
    "palette": Recipe(codec="palette"),
}

Pair = tuple[onnx.ModelProto, dict[str, np.ndarray]]


def make_pair(source: Path, recipe: Recipe) -> Pair:
    """A portable model, and the decompressed weights of which it has no initializers."""
    operators = wl_onnx.compress(source, recipe=recipe).model
    dense = wl_onnx.decompress(operators)
    portable = wl_onnx.convert(operators, to="portable")
    kept = {tensor.name for tensor in portable.graph.initializer}
    weights = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in dense.graph.initializer
        if tensor.name not in kept
    }
    assert sum(node.domain == "com.wl_onnx.portable" for node in portable.graph.node) == len(
        weights
    )
    assert weights
    return portable, weights


@pytest.mark.parametrize("recipe", list(RECIPES))
@pytest.mark.parametrize("name", ["lenet300", "lenet5", "resnet20", "slim-320"])
def test_onnxruntime_folds_what_decompress_gives(
    find_model: Callable[[str], Path], name: str, recipe: str
) -> None:
    portable, weights = make_pair(find_model(name), RECIPES[recipe])
    folded = fold(portable, weights)
    assert [key for key, array in weights.items() if not same_bits(folded[key], array)] == []


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_the_reference_evaluator_gives_what_decompress_gives(
    find_model: Callable[[str], Path], recipe: str
) -> None:
    portable, weights = make_pair(find_model("lenet300"), RECIPES[recipe])
    feeds = draw_feeds(open_plain(portable))
    portable.graph.output.extend(onnx.ValueInfoProto(name=name) for name in weights)
    outputs = ReferenceEvaluator(portable).run(list(weights), feeds)
    for array, got in zip(weights.values(), outputs, strict=True):
        assert same_bits(got, array)
