"""A compressed model of which a byte was changed, or the end cut off."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import wl_onnx
from wl_onnx.codecs import bundle
from wl_onnx.errors import BlobError, ModelError, WlOnnxError
from wl_onnx.graph import Bundle, load_model, replace_weights, to_proto

MODES = ("materialize", "cached", "streaming")
PROVIDERS = ["CPUExecutionProvider"]


@pytest.fixture(scope="module", params=["filter", "bundle"])
def small(
    request: pytest.FixtureRequest, make_mlp: Callable[..., onnx.ModelProto]
) -> onnx.ModelProto:
    """A compressed model whose blob has some 150 bytes: of one weight, or of it and its bias."""
    weights = np.random.default_rng(1).laplace(size=(32, 32)).astype(np.float32)
    if request.param == "filter":
        recipe = wl_onnx.Recipe(sparsity=0.9, clusters=4, bits=6, allow_growth=True)
        return wl_onnx.compress(make_mlp(weights), recipe=recipe).model
    model = load_model(make_mlp(weights))
    levels = np.rint(weights.reshape(-1) / 3).astype(int)
    blob = bundle.encode(
        [
            bundle.BundleTensor(levels=levels, step=2.5, row_length=32),
            bundle.BundleTensor(levels=np.arange(32) - 16, step=0.0625),
        ]
    )
    replace_weights(model, {}, bundles=[Bundle(blob, ("w0", "b0"), "two tensors")])
    return to_proto(model)


def find_blob(model: onnx.ModelProto) -> onnx.TensorProto:
    (node,) = (node for node in model.graph.node if node.domain == "com.wl_onnx")
    (attribute,) = (attribute for attribute in node.attribute if attribute.name == "blob")
    return attribute.t


def with_blob(model: onnx.ModelProto, blob: bytes) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    tensor = find_blob(changed)
    tensor.raw_data = blob
    tensor.dims[:] = [len(blob)]
    return changed


def each_damage(blob: bytes) -> Iterator[bytes]:
    for index in range(len(blob)):
        changed = bytearray(blob)
        changed[index] ^= 1 << index % 8
        yield bytes(changed)
    for length in range(len(blob)):
        yield blob[:length]
    yield blob + b"\0"


@pytest.fixture(scope="module")
def stock() -> Callable[[bytes], object]:
    def open_model(data: bytes) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.register_custom_ops_library(wl_onnx.get_library_path())
        return onnxruntime.InferenceSession(data, options, providers=PROVIDERS)

    return open_model


def test_no_changed_byte_and_no_prefix_of_the_blob_opens_in_materialize(
    small: onnx.ModelProto,
) -> None:
    wl_onnx.InferenceSession(small, None, PROVIDERS)
    for index, blob in enumerate(each_damage(find_blob(small).raw_data)):
        with pytest.raises(BlobError, match=r"^cannot decode w0 of mlp: [^\n]+$"):
            wl_onnx.InferenceSession(with_blob(small, blob), None, PROVIDERS)
        assert index < 1000


def test_no_changed_byte_and_no_prefix_of_the_blob_opens_in_stock_onnxruntime(
    small: onnx.ModelProto, stock: Callable[[bytes], object]
) -> None:
    stock(small.SerializeToString())
    for blob in each_damage(find_blob(small).raw_data):
        with pytest.raises(Exception, match=r"(w0|bundle)\.decode.*(blob|Blob|tensors)"):
            stock(with_blob(small, blob).SerializeToString())


@pytest.mark.parametrize("as_initializer", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_no_mode_opens_a_damaged_blob(
    mode: str, as_initializer: bool, small_mlp: onnx.ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "small.onnx"
    blobs = "initializer" if as_initializer else "attribute"
    wl_onnx.compress(small_mlp, path, recipe=wl_onnx.Recipe(blobs=blobs))
    file = path.with_name("small.onnx.data") if as_initializer else path
    data = bytearray(file.read_bytes())
    data[data.index(b"WLOX") + 60] ^= 4
    file.write_bytes(data)
    with pytest.raises(Exception, match="w0"):
        wl_onnx.InferenceSession(path, None, PROVIDERS, mode=mode)


@pytest.mark.parametrize("where", [0, 4, 9, 20, 40, -1])
def test_commands_refuse_a_damaged_blob(
    where: int,
    small: onnx.ModelProto,
    run_cli: Callable[..., object],
    tmp_path: Path,
) -> None:
    blob = bytearray(find_blob(small).raw_data)
    blob[where] ^= 0x10
    onnx.save(small, tmp_path / "whole.onnx")
    bad = tmp_path / "bad.onnx"
    onnx.save(with_blob(small, bytes(blob)), bad)
    before = sorted(tmp_path.iterdir())
    for command in (
        ["inspect", bad],
        ["inspect", bad, "--json"],
        ["decompress", bad, "-o", tmp_path / "dense.onnx"],
        ["compare", tmp_path / "whole.onnx", bad],
        ["compare", bad, tmp_path / "whole.onnx"],
    ):
        outcome = run_cli(*command)
        assert outcome.status == 1
        assert outcome.out == ""
        assert outcome.err.startswith("wl-onnx: cannot ")
        assert outcome.err.count("\n") == 1
        assert sorted(tmp_path.iterdir()) == before


def test_a_blob_of_another_number_of_weights_is_refused(
    small: onnx.ModelProto, run_cli: Callable[..., object], tmp_path: Path
) -> None:
    changed = with_blob(small, find_blob(small).raw_data)
    (node,) = (node for node in changed.graph.node if node.domain == "com.wl_onnx")
    (shape,) = (attribute for attribute in node.attribute if attribute.name.startswith("shape"))
    shape.ints[list(shape.ints).index(32) + 1] = 31
    path = tmp_path / "bad.onnx"
    onnx.save(changed, path)
    for command in (["inspect", path], ["decompress", path, "-o", tmp_path / "dense.onnx"]):
        outcome = run_cli(*command)
        assert outcome.status == 1
        assert re.search(r"1024.* (992|3968)|992.* \[?1024", outcome.err)


def test_a_compressed_model_cut_short_anywhere(small: onnx.ModelProto, tmp_path: Path) -> None:
    whole = {t.name: numpy_helper.to_array(t) for t in wl_onnx.decompress(small).graph.initializer}
    data = small.SerializeToString(deterministic=True)
    path = tmp_path / "cut.onnx"
    opened = 0
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        try:
            dense = wl_onnx.decompress(path)
        except WlOnnxError as error:
            assert isinstance(error, ModelError)  # noqa: PT017
            assert str(error).isprintable()  # noqa: PT017
            with pytest.raises(Exception, match=r"\S"):  # without our domain, onnxruntime's own
                wl_onnx.InferenceSession(path, None, PROVIDERS)
        else:
            # Only pairs of metadata, which stand at the end, can be gone.
            opened += 1
            for tensor in dense.graph.initializer:
                np.testing.assert_array_equal(numpy_helper.to_array(tensor), whole[tensor.name])
    assert opened <= len(small.metadata_props)
