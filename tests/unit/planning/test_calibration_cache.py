"""A calibration comes back from its file, and from no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from wl_onnx.errors import InputError
from wl_onnx.graph import CompressibleModel, load_model
from wl_onnx.planning.calibration_cache import (
    hash_calibration,
    load_row_weights,
    save_row_weights,
)

# Names of weights may be anything, those of an npz's members among it.
WEIGHTS = {"w": np.arange(6.0).reshape(1, 6), "keys": np.ones((2, 3)), "a/b": np.zeros((1, 1))}


def model_of(name: str) -> CompressibleModel:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], [name])], "g", [value], [])
    graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]))
    return load_model(helper.make_model(graph))


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    save_row_weights(path, WEIGHTS, fingerprint="f")
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.npz"]
    loaded = load_row_weights(path, fingerprint="f")
    assert list(loaded) == list(WEIGHTS)
    for key, array in WEIGHTS.items():
        np.testing.assert_array_equal(loaded[key], array)


def test_other_or_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    save_row_weights(path, WEIGHTS, fingerprint="f")
    with pytest.raises(InputError, match="it must be of this model and these data"):
        load_row_weights(path, fingerprint="other")
    with pytest.raises(InputError, match="got No such file"):
        load_row_weights(tmp_path / "none.npz", fingerprint="f")
    data = path.read_bytes()
    for size in (0, 10, 200, len(data) - 30):
        path.write_bytes(data[:size])
        with pytest.raises(InputError, match="it must be a whole file of a saved calibration"):
            load_row_weights(path, fingerprint="f")
    with pytest.raises(InputError, match="cannot write calibration"):
        save_row_weights(tmp_path / "no" / "c.npz", WEIGHTS, fingerprint="f")


def test_the_hash_follows_all_that_counts() -> None:
    model, x = model_of("y"), np.ones((3, 1), np.float32)
    base = hash_calibration(model, [{"x": x}], seed=0)
    assert base == hash_calibration(model, [{"x": x.copy()}], seed=0)
    assert base != hash_calibration(model, [{"x": x + 1}], seed=0)
    assert base != hash_calibration(model, [{"x": x}], seed=1)
    assert base != hash_calibration(model_of("z"), [{"x": x}], seed=0)
