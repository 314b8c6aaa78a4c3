from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from wl_onnx.errors import ModelError
from wl_onnx.graph import load_model
from wl_onnx.runtime.opening import open_model

if TYPE_CHECKING:
    from pathlib import Path


def run(model: object, rows: np.ndarray) -> np.ndarray:
    (result,) = open_model(model, threads=1).run(None, {"x": rows})  # type: ignore[arg-type]
    return np.asarray(result)


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(4).standard_normal((3, 64)).astype(np.float32)


def test_a_model_is_opened_as_it_is_now(
    small_mlp: onnx.ModelProto, rows: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(
        copy.deepcopy(small_mlp),
        path,
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    model = load_model(path)
    before = run(model, rows)
    np.testing.assert_array_equal(before, run(small_mlp, rows))
    zeros = np.zeros(16, np.float32)
    index = [tensor.name for tensor in model.proto.graph.initializer].index("b1")
    model.proto.graph.initializer[index].CopyFrom(numpy_helper.from_array(zeros, "b1"))
    np.testing.assert_allclose(
        before - run(model, rows), np.tile(np.linspace(-1, 1, 16), (3, 1)), rtol=1e-4, atol=1e-4
    )


def test_a_model_too_large_for_a_protobuf_goes_through_a_file(
    small_mlp: onnx.ModelProto,
    rows: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = run(small_mlp, rows)
    path = tmp_path / "model.onnx"
    onnx.save(
        copy.deepcopy(small_mlp),
        path,
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    monkeypatch.setattr("wl_onnx.runtime.opening.fits_in_proto", lambda _model: False)
    np.testing.assert_array_equal(run(load_model(path), rows), expected)


def test_what_onnxruntime_refuses_is_a_model_error() -> None:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("NoSuchOperator", ["x"], ["y"])],
        "odd",
        [info("x", TensorProto.FLOAT, [1])],
        [info("y", TensorProto.FLOAT, [1])],
    )
    opsets = [helper.make_opsetid("", 17)]
    with pytest.raises(ModelError, match="cannot open odd: it must be a model that onnxruntime"):
        open_model(helper.make_model(graph, opset_imports=opsets, ir_version=8))
