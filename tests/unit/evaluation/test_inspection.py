"""What `inspect` reads off a compressed model, beside the report of its compression."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import wl_onnx
from tests.devices import RECORDS
from wl_onnx import Recipe, compress
from wl_onnx.codecs import bloomier, cells
from wl_onnx.errors import BlobError, ModelError
from wl_onnx.evaluation import inspect
from wl_onnx.graph import Replacement, load_model, replace_weights, to_proto

RECIPE = Recipe(sparsity=0.3, clusters=16, bits=8)
# What a file does not say: who uses a weight, the original, and which weights are false positives.
UNKNOWN = {"op_types", "error_share", "meets_share", "epsilon", "lossless_bound_bits"}


@pytest.fixture(scope="module")
def model(make_mlp: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    rng = np.random.default_rng(4)
    return make_mlp(
        rng.normal(size=(200, 300)).astype(np.float32), rng.normal(size=(300, 3)).astype(np.float32)
    )


@pytest.mark.parametrize("blobs", ["attribute", "initializer"])
@pytest.mark.parametrize("layout", ["ribbon", "xor"])
def test_agrees_with_the_report(
    model: onnx.ModelProto, tmp_path: Path, blobs: str, layout: str
) -> None:
    path = tmp_path / "small.onnx"
    recipe = dataclasses.replace(RECIPE, blobs=blobs, layout=layout)
    report = compress(model, path, recipe=recipe).report
    found = inspect(path)
    assert list(found) == ["file", "weights", "tensors", "metadata"]
    assert found["weights"] == report["weights"]
    # But for the digits of where external data lies, which change when the file has a name.
    assert found["file"] == pytest.approx(report["file"], abs=100 if blobs == "initializer" else 0)
    assert found["metadata"]["seed"] == "0"
    by_name = {tensor["name"]: tensor for tensor in found["tensors"]}
    for tensor in report["tensors"]:
        other = by_name.pop(tensor["name"])
        if tensor["codec"] == "none":
            assert other | {"reason": None} == tensor | {"reason": None}
            continue
        for key in tensor.keys() - UNKNOWN:
            assert other[key] == tensor[key], key
        # Written into the file, with six digits.
        assert other["error_share"] == pytest.approx(tensor["error_share"], rel=1e-5)
        assert other["epsilon"] == pytest.approx(tensor["epsilon"], rel=1e-5)
        # An estimate: the expected number of false positives stands for the real one.
        assert other["lossless_bound_bits"] == pytest.approx(
            tensor["lossless_bound_bits"], rel=0.02
        )
    assert by_name == {}


def test_epsilon_without_false_positives_is_zero(model: onnx.ModelProto) -> None:
    result = compress(model, recipe=Recipe(sparsity=0.0, clusters=16, bits=4))
    assert inspect(result.model)["tensors"][0]["epsilon"] == 0
    assert result.report["tensors"][0]["epsilon"] == 0


def test_a_plain_model_has_nothing_decoded(model: onnx.ModelProto) -> None:
    found = inspect(model)
    assert found["metadata"] == {}
    total = sum(numpy_helper.to_array(t).nbytes for t in model.graph.initializer)
    assert found["file"] == {
        "original_bytes": None,
        "compressed_bytes": model.ByteSize(),
        "blob_bytes": 0,
        "initializer_bytes": total,
        "graph_bytes": model.ByteSize() - total,
    }
    assert found["weights"]["ratio"] == 1
    assert {tensor["codec"] for tensor in found["tensors"]} == {"none"}
    assert found["weights"]["original_bytes"] == total


def changed(model: onnx.ModelProto, **attributes: object) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    node = next(node for node in copy.graph.node if node.domain == "com.wl_onnx")
    for attribute in node.attribute:
        if attribute.name == "shape" and "shape" in attributes:
            attribute.ints[:] = attributes["shape"]
        if attribute.name == "blob" and "blob" in attributes:
            attribute.t.raw_data = attributes["blob"]
            attribute.t.dims[:] = [len(attributes["blob"])]
    return copy


def test_damage_is_named(model: onnx.ModelProto) -> None:
    small = compress(model, recipe=RECIPE).model
    with pytest.raises(BlobError, match=r"^cannot inspect w0: .*byte"):
        inspect(changed(small, blob=b"WLOX" + bytes(60)))
    with pytest.raises(ModelError, match=r"^cannot inspect w0: .* 59700 weights, got 60000$"):
        inspect(changed(small, shape=[199, 300]))


def test_a_blob_without_keys_but_with_centroids(model: onnx.ModelProto) -> None:
    small = compress(model, recipe=RECIPE).model
    blob = bloomier.encode([], [], num_weights=60000, codebook=[1.0, 2.0], bits=4)
    tensor = inspect(changed(small, blob=blob))["tensors"][0]
    assert tensor["num_nonzero"] == 0
    assert tensor["sparsity"] == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"w0": 3}', '{"w0": [1]}', '{"w0": [NaN, 1]}', '{"w0": ["1", true]}']
)
def test_other_errors_are_none(model: onnx.ModelProto, text: str) -> None:
    small = compress(model, recipe=RECIPE).model
    for entry in small.metadata_props:
        if entry.key == "com.wl_onnx.errors":
            entry.value = text
    tensor = inspect(small)["tensors"][0]
    assert tensor["epsilon"] is None
    assert tensor["error_share"] is None


@pytest.mark.parametrize("text", ["\u00b2", "-5", "", "9" * 5000, "many"])
def test_other_source_bytes_are_no_number(model: onnx.ModelProto, text: str) -> None:
    small = compress(model, recipe=RECIPE).model
    for entry in small.metadata_props:
        if entry.key == "com.wl_onnx.source_bytes":
            entry.value = text
    assert inspect(small)["file"]["original_bytes"] is None
    assert wl_onnx.decompress(small).metadata_props == model.metadata_props


def test_analog_tensors_show_their_cells(
    make_model: Callable[..., onnx.ModelProto], weight: np.ndarray
) -> None:
    model = load_model(make_model(weight))
    labels = (weight.reshape(-1) > 0).astype(int)
    blob = cells.encode(
        cells.CellTensor(
            num_weights=weight.size,
            symbols=[cells.Symbol(0, 0, 0, 0), cells.Symbol(0, 1, 0, 3)],
            labels=labels,
            levels=np.zeros(int(labels.sum()), int),
            device_record=RECORDS["joshi"],
        )
    )
    replace_weights(model, {"w": Replacement(blob, "", codec="analog")}, metadata={"device": "pcm"})
    found = inspect(to_proto(model))
    (tensor,) = found["tensors"]
    assert (tensor["name"], tensor["codec"], tensor["shape"]) == ("w", "analog", weight.shape)
    assert tensor["cells"] == 3 * labels.sum()
    assert tensor["digital_bits"] == cells.inspect(blob).digital_bits
    assert tensor["size_bits"] == 8 * len(blob)
    assert tensor["sparsity"] == 1 - labels.mean()
    assert found["metadata"] == {"device": "pcm"}
    # What is in the file: seeds and time are weights of nothing.
    assert found["weights"]["original_bytes"] == weight.nbytes + 8 + 8 + 4
    replace_weights(other := load_model(make_model(weight.T)), {
        "w": Replacement(blob[:-1], "", codec="analog")
    })  # fmt: skip
    with pytest.raises(BlobError, match="cannot inspect w: the checksum"):
        inspect(to_proto(other))
