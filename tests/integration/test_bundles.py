"""Everything small of a real model in one bundle: three modes, a stock session, and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import wl_onnx
from tests.stock_sessions import open_stock
from wl_onnx.codecs import bundle
from wl_onnx.evaluation.inspection import inspect
from wl_onnx.graph import (
    Bundle,
    Parameter,
    WeightSite,
    find_parameters,
    find_weights,
    load_model,
    measure_file,
    replace_weights,
    save_model,
)

MODES = ("materialize", "cached", "streaming")
PROVIDERS = ["CPUExecutionProvider"]
MOST_WEIGHTS = 5000


def quantize(tensor: WeightSite | Parameter) -> tuple[bundle.BundleTensor, np.ndarray]:
    """A tensor of some 30 levels on either side of zero, and what it decodes to."""
    values = tensor.numpy().reshape(-1)
    step = np.float32(np.abs(values).max() / 31)
    levels = np.rint(values / step).astype(np.int32)
    encoded = bundle.BundleTensor(
        levels=levels,
        step=float(step),
        row_length=math.prod(tensor.shape[1:]) if len(tensor.shape) > 1 else None,
    )
    return encoded, (levels * np.float64(step)).astype(np.float32).reshape(tensor.shape)


@pytest.mark.parametrize("blobs", ["attribute", "initializer"])
@pytest.mark.parametrize("name", ["lenet5", "resnet20", "slim-320"])
def test_small_tensors_of_a_model_in_one_bundle(
    name: str, blobs: str, find_model: Callable[[str], Path], tmp_path: Path
) -> None:
    source = find_model(name)
    model = load_model(source)
    tensors = [
        tensor
        for tensor in (*find_parameters(model), *find_weights(model))
        if tensor.num_weights <= MOST_WEIGHTS
    ]
    assert len(tensors) > 5
    encoded, weights = zip(*map(quantize, tensors), strict=True)
    dense = dict(zip((tensor.name for tensor in tensors), weights, strict=True))
    blob = bundle.encode(encoded)
    before = measure_file(model)
    keys = tuple(tensor.key for tensor in tensors)
    replace_weights(model, {}, bundles=[Bundle(blob, keys, "all that is small")], blobs=blobs)
    path = tmp_path / "small.onnx"
    save_model(model, path)
    saved = sum(array.nbytes for array in dense.values()) - len(blob)
    assert measure_file(model) < before - saved + 600
    assert len(blob) < sum(array.size for array in dense.values())

    # The same model with plain initializers, made without us.
    expected_model = onnx.load(source)
    for tensor in expected_model.graph.initializer:
        if tensor.name in dense:
            tensor.CopyFrom(numpy_helper.from_array(dense[tensor.name], tensor.name))
    initializers = {tensor.name for tensor in expected_model.graph.initializer}
    for index in reversed(range(len(expected_model.graph.input))):
        if expected_model.graph.input[index].name in initializers:
            del expected_model.graph.input[index]
    plain = onnxruntime.InferenceSession(expected_model.SerializeToString(), providers=PROVIDERS)
    rng = np.random.default_rng(0)
    feed = {
        value.name: rng.random([d if isinstance(d, int) else 2 for d in value.shape], np.float32)
        for value in plain.get_inputs()
    }
    expected = plain.run(None, feed)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    sessions = [wl_onnx.InferenceSession(path, options, PROVIDERS, mode=mode) for mode in MODES]
    if blobs == "attribute":
        sessions.append(open_stock(onnx.load(path)))
    for session in sessions:
        for _ in range(2):
            for one, other in zip(session.run(None, feed), expected, strict=True):
                scale = np.abs(other).max()
                np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * scale)

    restored = wl_onnx.decompress(path)
    onnx.checker.check_model(restored)
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in restored.graph.initializer}
    for tensor in expected_model.graph.initializer:
        np.testing.assert_array_equal(arrays.pop(tensor.name), numpy_helper.to_array(tensor))
    assert not arrays

    rows = [row for row in inspect(path)["tensors"] if row["codec"] == "bundle"]
    assert [row["name"] for row in rows] == list(keys)
    assert [tuple(row["shape"]) for row in rows] == [tensor.shape for tensor in tensors]
    assert sum(row["size_bits"] for row in rows) == 8 * len(blob)
    for row in rows:
        assert row["num_nonzero"] == np.count_nonzero(dense[row["name"]])
