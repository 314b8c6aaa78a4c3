"""A byte changed anywhere in a file: the model opens, or one clear line says why it does not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.graph import builders
from wl_onnx import graph
from wl_onnx.errors import InputError, ModelError


def zeros(decoder: graph.Decoder) -> np.ndarray:
    return np.zeros(decoder.shape if decoder.num_weights < 1000 else 0, np.float32)


def use(path) -> None:
    model = graph.load_model(path)
    for site in graph.find_weights(model):
        site.numpy()
    for decoder in graph.find_decoders(model):
        assert len(decoder.blob) == decoder.blob_bytes
    graph.restore_weights(model, zeros)
    graph.to_proto(model)
    graph.externalize_weights(graph.load_model(path), zeros)


@pytest.mark.parametrize("mask", [0x01, 0x80])
@pytest.mark.parametrize("blobs", ["attribute", "initializer"])
@pytest.mark.parametrize("build", [builders.nested, builders.functions])
def test_one_changed_byte_never_gives_another_error(build, blobs, mask, tmp_path, compress):
    model = graph.load_model(build())
    compress(model, blobs)
    data = bytearray(graph.to_proto(model).SerializeToString())
    path = tmp_path / "m.onnx"
    refused = 0
    for index in range(len(data)):
        data[index] ^= mask
        path.write_bytes(data)
        data[index] ^= mask
        try:
            use(path)
        except (ModelError, InputError) as error:
            refused += 1
            assert str(error).isprintable(), index  # noqa: PT017
    assert 0 < refused < len(data)
