"""Portable files that were damaged, changed or made up: one clear line, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import wl_onnx
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
        (first("shape", [2**20, 2**20]), "w0 must have fewer than"),
        (first("shape", [64, 65]), "the file is damaged"),
        (first("data_type", 7), "w0 must have a data_type of 1, 10, 11 or 16, got 7"),
        (first("data_type", 10), "digest must be"),
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


def test_a_missing_tensor_is_named(portable: onnx.ModelProto) -> None:
    copy = onnx.ModelProto()
    copy.CopyFrom(portable)
    index = next(i for i, t in enumerate(copy.graph.initializer) if t.name == "w0.codebook")
    del copy.graph.initializer[index]
    for message in refusals(copy):
        assert "w0.codebook" in message


def test_a_file_whose_weights_were_folded_by_another_tool(portable: onnx.ModelProto) -> None:
    copy = onnx.ModelProto()
    copy.CopyFrom(portable)
    index = next(i for i, node in enumerate(copy.graph.node) if "w0" in node.output)
    del copy.graph.node[index]
    copy.graph.initializer.append(numpy_helper.from_array(np.zeros((64, 64), "f4"), "w0"))
    for message in refusals(copy):
        assert "another tool may have folded them" in message


def test_a_weight_that_depends_on_an_input(portable: onnx.ModelProto) -> None:
    copy = onnx.ModelProto()
    copy.CopyFrom(portable)
    node = next(node for node in copy.graph.node if "w0" in node.output)
    node.input.append("x")
    for message in refusals(copy):
        assert "it must follow from its tensors alone, got x" in message
