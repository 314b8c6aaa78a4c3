from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.unit.graph.builders import branches, everything_rare, functions, mlp, nested, weight
from wl_onnx.graph import FileParts, find_decoders, load_model, measure_file, measure_parts


@pytest.mark.parametrize("blobs", ["attribute", "initializer"])
@pytest.mark.parametrize("build", [mlp, branches, nested, functions, everything_rare])
def test_the_parts_are_all_there_is(
    build: Callable[[], onnx.ModelProto],
    blobs: str,
    compress: Callable[..., dict[str, np.ndarray]],
) -> None:
    model = load_model(build())
    before = measure_parts(model)
    assert before.blob_bytes == 0
    arrays = compress(model, blobs, size=500)
    assert arrays
    after = measure_parts(model)
    assert after.blob_bytes == sum(decoder.blob_bytes for decoder in find_decoders(model))
    assert after.blob_bytes == sum(500 * len(key) for key in arrays)
    dense_bytes = sum(array.nbytes for array in arrays.values())
    assert after.initializer_bytes == before.initializer_bytes - dense_bytes
    assert after.graph_bytes > before.graph_bytes
    for parts in (before, after):
        assert min(parts.blob_bytes, parts.initializer_bytes, parts.graph_bytes) >= 0
    total = after.blob_bytes + after.initializer_bytes + after.graph_bytes
    assert total == measure_file(model)


def test_nodes_that_share_a_blob_count_it_once(
    compress: Callable[..., dict[str, np.ndarray]],
) -> None:
    model = load_model(mlp())
    compress(model, "initializer", size=500)
    once = measure_parts(model)
    nodes = [node for node in model.proto.graph.node if node.domain == "com.wl_onnx"]
    assert len(nodes) == 2
    nodes[1].input[0] = nodes[0].input[0]
    parts = measure_parts(model)
    assert parts.blob_bytes == once.blob_bytes - 1000
    assert parts.initializer_bytes == once.initializer_bytes + 1000


def test_integers_count_as_they_are_written() -> None:
    proto = mlp()
    before = measure_parts(load_model(proto))
    proto.graph.initializer.append(helper.make_tensor("ids", TensorProto.INT64, [999], [1] * 999))
    parts = measure_parts(load_model(proto))
    assert parts.initializer_bytes - before.initializer_bytes in range(999, 1010)
    assert parts.graph_bytes - before.graph_bytes in range(10, 30)
    raw = weight("raw", 999)
    proto.graph.initializer.append(raw)
    assert measure_parts(load_model(proto)).initializer_bytes == parts.initializer_bytes + 4 * 999


def test_external_data_is_counted(external_model: Path) -> None:
    parts = measure_parts(load_model(external_model))
    assert parts == FileParts(0, 4 * (8 * 16 + 16 + 4 * 16), external_model.stat().st_size)
