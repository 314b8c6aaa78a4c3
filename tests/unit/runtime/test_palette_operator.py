"""PaletteDecode, as stock onnxruntime and as our own sessions run it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import ModelProto

import wl_onnx
from tests.stock_sessions import TYPES, open_stock
from wl_onnx.codecs import palette
from wl_onnx.graph import (
    Replacement,
    find_decoders,
    find_weights,
    load_model,
    replace_weights,
    to_proto,
)
from wl_onnx.runtime.weights import decode_weight

if TYPE_CHECKING:
    from .conftest import Build


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("cache", [0, 1])
@pytest.mark.parametrize("as_input", [False, True])
@pytest.mark.parametrize("data_type", TYPES)
def test_decodes_what_was_encoded(
    build: Build, data_type: int, as_input: bool, cache: int, threads: int
) -> None:
    weight = build.palette_weight()
    model = build.lookup(weight, data_type=data_type, as_input=as_input, cache=cache)
    session = open_stock(model, threads=threads)
    expected = weight.as_type(data_type).astype(np.float64)
    for _ in range(3):
        np.testing.assert_array_equal(build.rows(session, weight), expected)


@pytest.mark.parametrize("shape", [(1,), (1023,), (3, 1, 5, 7), (1100, 1024)])
def test_shapes(build: Build, shape: tuple[int, ...]) -> None:
    weight = build.palette_weight(shape)
    session = open_stock(build.lookup(weight), threads=2)
    np.testing.assert_array_equal(build.rows(session, weight), weight.dense)


@pytest.mark.parametrize("mode", ["materialize", "cached", "streaming"])
@pytest.mark.parametrize("as_input", [False, True])
def test_every_mode_of_our_sessions(build: Build, mode: Any, as_input: bool) -> None:
    weight = build.palette_weight()
    session = wl_onnx.InferenceSession(build.lookup(weight, as_input=as_input), mode=mode)
    for _ in range(2):
        np.testing.assert_array_equal(build.rows(session, weight), weight.dense)


def test_session_config_overrides_cache(build: Build) -> None:
    weight = build.palette_weight()
    for config in ("0", "1"):
        session = open_stock(build.lookup(weight), config=config)
        np.testing.assert_array_equal(build.rows(session, weight), weight.dense)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [96, 33, 99]}, "shape must have as many elements as its blob, 316800, got"),
        ({"data_type": 7}, "data_type must be 1 .* or 16 .bfloat16., got 7"),
        ({"cache": 2}, "attribute cache must be 0 or 1, got 2"),
        ({"blob": None}, "its blob must be either .* or an input, got neither"),
    ],
)
def test_a_bad_node_is_refused_by_name(build: Build, changes: dict[str, Any], message: str) -> None:
    model = build.lookup(build.palette_weight(), **changes)
    with pytest.raises(Exception, match=f"cannot load PaletteDecode node decode_w: .*{message}"):
        open_stock(model)


def test_a_blob_of_the_other_codec_is_refused(build: Build) -> None:
    for weight, other in (
        (build.palette_weight(), build.weight()),
        (build.weight(), build.palette_weight()),
    ):
        mixed = type(weight)(weight.shape, other.blob, weight.dense, weight.operator)
        with pytest.raises(Exception, match=f"{weight.operator} node decode_w: .*codec must be"):
            open_stock(build.lookup(mixed))


def test_a_damaged_blob_is_refused(build: Build) -> None:
    weight = build.palette_weight((40, 30))
    for place in (0, 5, 9, len(weight.blob) // 2, len(weight.blob) - 1):
        blob = bytearray(weight.blob)
        blob[place] ^= 1
        damaged = type(weight)(weight.shape, bytes(blob), weight.dense, weight.operator)
        with pytest.raises(Exception, match="cannot load PaletteDecode node decode_w: "):
            open_stock(build.lookup(damaged))


def test_weights_are_replaced_inspected_and_restored(small_mlp: ModelProto, tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 9, 4096)
    codebook = np.float32(np.arange(9) / 8 - 0.5)
    model = load_model(small_mlp)
    key = find_weights(model)[0].key
    blob = palette.encode(codes, codebook=codebook, row_length=64)
    replace_weights(model, {key: Replacement(blob, "nine levels", codec="palette")})
    (decoder,) = find_decoders(model)
    assert (decoder.codec, decoder.node.op_type) == ("palette", "PaletteDecode")
    dense = codebook[codes].reshape(64, 64)
    np.testing.assert_array_equal(decode_weight(decoder), dense)
    small = to_proto(model)
    report = wl_onnx.evaluation.inspection.inspect(small)
    (tensor,) = (one for one in report["tensors"] if one["name"] == key)
    assert (tensor["codec"], tensor["clusters"]) == ("palette", 9)
    assert tensor["num_nonzero"] == np.count_nonzero(dense)
    assert tensor["size_bits"] == 8 * len(blob)
    assert tensor["lossless_bound_bits"] < tensor["size_bits"]
    restored = wl_onnx.decompress(small)
    found = next(one for one in restored.graph.initializer if one.name == key)
    np.testing.assert_array_equal(np.frombuffer(found.raw_data, np.float32), dense.ravel())
