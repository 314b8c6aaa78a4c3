"""Portable files that were damaged, changed or made up: one clear line, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import wl_onnx
from tests.portable_files import draw_feeds, open_plain, same_bits
from wl_onnx import Recipe
from wl_onnx.errors import BlobError, ModelError
from wl_onnx.evaluation import inspect

KEY = "com.wl_onnx.portable"


@pytest.fixture(scope="module")
def portable(small_mlp: onnx.ModelProto) -> onnx.ModelProto:
    recipe = Recipe(codec="bloomier", sparsity=0.5, bits=6)
    return wl_onnx.compress(small_mlp, recipe=recipe, portable=True).model


def change(model: onnx.ModelProto, edit: Callable[[dict[str, Any]], object]) -> onnx.ModelProto:
    """The model with another record."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    entry = next(one for one in copy.metadata_props if one.key == KEY)
    record = json.loads(entry.value)
    edited = edit(record)
    entry.value = edited if isinstance(edited, str) else json.dumps(record)
    return copy


def refusals(model: onnx.ModelProto) -> list[str]:
    """What everything that reads a record says of a model."""
    messages = []
    for read in (
        wl_onnx.decompress,
        lambda one: wl_onnx.convert(one, to="operators"),
        inspect,
    ):
        with pytest.raises((ModelError, BlobError)) as caught:
            read(model)
        message = str(caught.value)
        assert "\n" not in message
        assert len(message) < 500
        messages.append(message)
    return messages


def first(field: str, value: object) -> Callable[[dict[str, Any]], object]:
    def edit(record: dict[str, Any]) -> None:
        record["weights"][0][field] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda _: "{", "it must be JSON, got "),
        (lambda _: "[" * 100_000, "it must be JSON, got "),
        (lambda _: "[]", "it must be an object, got "),
        (lambda one: one.update(format=2), "its format must be 1, got 2"),
        (lambda one: one.pop("weights"), "it must list weights, got None"),
        (lambda one: one["weights"].insert(0, 7), "its weights must be objects, got 7"),
        (lambda one: one["weights"].append(one["weights"][0]), "each weight once, got 'w0'"),
        (first("name", ""), "a weight must have a name"),
        (first("name", "nowhere"), "nodes must decode it, got none"),
        (first("name", "b0"), "nodes must decode it, got none"),
        (first("scope", 3), "w0 must have a text as its scope, got 3"),
        (first("scope", "nowhere"), "its graph must be there, got no nowhere"),
        (first("shape", [64, -64]), "w0 must have a shape"),
        (first("shape", [2**20, 2**20]), "w0 must take at most 1073741824 bytes decoded"),
        (first("shape", [2**14, 2**14 + 1]), "w0 must take at most 1073741824 bytes decoded"),
        (first("shape", [1] * 100 + [64, 64]), "w0 must have at most 32 dimensions"),
        (first("shape", [64, 65]), "its type and shape must be as its graph has them, 1 [64, 64]"),
        (first("data_type", 7), "w0 must have a data_type of 1, 10, 11 or 16, got 7"),
        (first("data_type", 10), "must be as its graph has them, 1 [64, 64], got 10 [64, 64]"),
        (first("codec", None), "w0 must have a codec"),
        (first("codec", "analog"), "codec must be bloomier or palette, got 'analog'"),
        (first("codec", "palette"), "the file is damaged"),
        (first("tensors", {}), "w0 must name its tensors"),
        (first("tensors", {"cells": "nowhere"}), "tensor nowhere must be in the file, got none"),
        (first("fields", []), "w0 must have fields"),
        (first("fields", {}), "the file is damaged"),
        (first("digest", "0"), "w0 must have a digest"),
        (first("digest", "0" * 32), "digest must be 00000000000000000000000000000000, got "),
    ],
)
def test_a_record_that_does_not_hold(
    portable: onnx.ModelProto, edit: Callable[[dict[str, Any]], object], message: str
) -> None:
    for refusal in refusals(change(portable, edit)):
        assert message in refusal


def test_every_field_of_a_form_is_checked(portable: onnx.ModelProto) -> None:
    record = json.loads({one.key: one.value for one in portable.metadata_props}[KEY])
    for field, value in record["weights"][0]["fields"].items():
        wrong = {**record["weights"][0]["fields"], field: 5 if isinstance(value, str) else "x"}
        refusals(change(portable, first("fields", wrong)))


def test_a_changed_tensor_is_noticed(portable: onnx.ModelProto) -> None:
    for tensor in portable.graph.initializer:
        if not tensor.name.startswith("w0."):
            continue
        copy = onnx.ModelProto()
        copy.CopyFrom(portable)
        mine = next(one for one in copy.graph.initializer if one.name == tensor.name)
        data = bytearray(tensor.raw_data)
        data[len(data) // 2] ^= 1
        mine.raw_data = bytes(data)
        for message in refusals(copy):
            assert "w0" in message


def test_a_shape_that_no_graph_declares(portable: onnx.ModelProto) -> None:
    copy = change(portable, first("shape", [64, 65]))
    del copy.graph.value_info[:]
    for message in refusals(copy):
        assert "the file is damaged" in message


def test_a_tensor_of_another_type(portable: onnx.ModelProto) -> None:
    copy = onnx.ModelProto()
    copy.CopyFrom(portable)
    mine = next(one for one in copy.graph.initializer if one.name == "w0.codebook")
    texts = onnx.TensorProto(name=mine.name, data_type=onnx.TensorProto.STRING, dims=mine.dims)
    texts.string_data.extend([b"x"] * mine.dims[0])
    mine.CopyFrom(texts)
    for message in refusals(copy):
        assert "tensor w0.codebook must be of type 1, 2, 6 or 10, got 8" in message


def test_a_centroid_that_was_rounded_is_checked_too(small_mlp: onnx.ModelProto) -> None:
    weights = np.random.default_rng(0).normal(size=(64, 64)).astype(ml_dtypes.bfloat16)
    model = onnx.ModelProto()
    model.CopyFrom(small_mlp)
    del model.graph.node[:]
    del model.graph.initializer[:]
    model.graph.initializer.append(numpy_helper.from_array(weights, "w0"))
    model.graph.node.append(helper.make_node("Cast", ["w0"], ["w"], to=1))
    model.graph.node.append(helper.make_node("MatMul", ["x", "w"], ["y1"]))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 64
    recipe = Recipe(codec="palette", clusters=16)
    changed = wl_onnx.compress(model, recipe=recipe, portable=True).model
    mine = next(one for one in changed.graph.initializer if one.name == "w0.codebook")
    mine.raw_data = np.negative(numpy_helper.to_array(mine)).tobytes()
    for message in refusals(changed):
        assert "tensor codebook must have the field's centroids, rounded" in message


def test_what_others_use_of_the_nodes_stays(small_mlp: onnx.ModelProto) -> None:
    """As where another tool found the same constant in the model and made it one."""
    recipe = Recipe(codec="bloomier", sparsity=0.5, bits=6)
    model = wl_onnx.compress(small_mlp, recipe=recipe, portable=True, inline=True).model
    before = next(node for node in model.graph.node if node.op_type == "Gather").output[0]
    model.graph.node.append(helper.make_node("Shape", [before], ["shape"]))
    model.graph.output.append(helper.make_tensor_value_info("shape", onnx.TensorProto.INT64, ["n"]))
    feeds = draw_feeds(open_plain(model))
    wanted = open_plain(model).run(None, feeds)
    got = open_plain(wl_onnx.decompress(model)).run(None, feeds)
    assert all(map(same_bits, got, wanted))


def test_a_missing_tensor_is_named(portable: onnx.ModelProto) -> None:
    copy = onnx.ModelProto()
    copy.CopyFrom(portable)
    index = next(i for i, t in enumerate(copy.graph.initializer) if t.name == "w0.codebook")
    del copy.graph.initializer[index]
    for message in refusals(copy):
        assert "w0.codebook" in message


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_ALL"])
def test_a_file_that_onnxruntime_wrote(
    portable: onnx.ModelProto, tmp_path: Path, level: str
) -> None:
    open_plain(
        portable,
        optimized_model_filepath=str(tmp_path / "rewritten.onnx"),
        graph_optimization_level=getattr(onnxruntime.GraphOptimizationLevel, level),
    )
    for message in refusals(onnx.load(tmp_path / "rewritten.onnx")):
        assert message.startswith("cannot read w0 of ")
        assert "another tool may have rewritten the graph" in message


def test_a_file_whose_weights_were_folded_by_another_tool(portable: onnx.ModelProto) -> None:
    copy = onnx.ModelProto()
    copy.CopyFrom(portable)
    index = next(i for i, node in enumerate(copy.graph.node) if "w0" in node.output)
    del copy.graph.node[index]
    copy.graph.initializer.append(numpy_helper.from_array(np.zeros((64, 64), "f4"), "w0"))
    for message in refusals(copy):
        assert "nodes must decode it, got none; another tool may have" in message


def test_a_weight_that_depends_on_an_input(portable: onnx.ModelProto) -> None:
    copy = onnx.ModelProto()
    copy.CopyFrom(portable)
    node = next(node for node in copy.graph.node if "w0" in node.output)
    node.input.append("x")
    for message in refusals(copy):
        assert "it must follow from its tensors alone, got x" in message
