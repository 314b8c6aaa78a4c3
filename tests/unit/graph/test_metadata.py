from __future__ import annotations

import hashlib

import numpy as np
import onnx

from tests.unit.graph import builders
from wl_onnx import graph


def test_pairs_of_others_stay_and_ours_go_when_the_model_is_restored(compress):
    model = graph.load_model(builders.mlp())
    assert graph.read_metadata(model) == {}
    arrays = compress(model)
    pairs = [(entry.key, entry.value) for entry in model.proto.metadata_props]
    assert pairs == [("author", "someone"), ("com.wl_onnx.version", "0.1.0")]
    assert graph.read_metadata(model) == {"version": "0.1.0"}
    graph.restore_weights(model, lambda decoder: np.array(arrays[decoder.key]))
    assert [entry.key for entry in model.proto.metadata_props] == ["author"]


def test_the_hash_is_that_of_the_file(tmp_path):
    onnx.save(builders.mlp(), tmp_path / "m.onnx")
    expected = hashlib.sha256((tmp_path / "m.onnx").read_bytes()).hexdigest()
    assert graph.hash_source(graph.load_model(tmp_path / "m.onnx")) == expected


def test_the_hash_of_a_proto_is_stable():
    model = graph.load_model(builders.mlp())
    assert graph.hash_source(model) == graph.hash_source(graph.load_model(builders.mlp()))
