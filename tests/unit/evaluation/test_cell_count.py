"""The ledger of a model, against a count by hand of all that it holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

import wl_onnx
from tests.classifiers import make_conv_classifier, make_mlp_classifier
from tests.unit.graph import builders
from wl_onnx import Recipe, Storage
from wl_onnx.analog import find_device
from wl_onnx.codecs import cells
from wl_onnx.evaluation.cell_count import count_cells, count_weights
from wl_onnx.graph import load_model

DEVICE = find_device("pcm-nandakumar2019")
CONTROLS = ("wl_write_seed", "wl_read_seed", "wl_time_s")


def tensors_of(graph: onnx.GraphProto) -> list[TensorProto]:
    """Initializers and tensor attributes, of subgraphs too."""
    found = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                found.append(attribute.t)
            if attribute.HasField("g"):
                found += tensors_of(attribute.g)
    return found


def count_by_hand(proto: onnx.ModelProto) -> tuple[int, int]:
    """Analog cells, and digital bits."""
    analog_cells = digital_bits = 0
    functions = [
        attribute.t
        for function in proto.functions
        for node in function.node
        for attribute in node.attribute
        if attribute.HasField("t")
    ]
    for tensor in [*tensors_of(proto.graph), *functions]:
        data = numpy_helper.to_array(tensor).tobytes()
        if tensor.name in CONTROLS:
            continue
        if data[:4] == b"WLOX" and data[5] == 4:
            told = cells.parse(data)
            info = cells.inspect(data)
            counts = np.array([one.cells for one in told.symbols])
            labels = np.zeros(told.num_weights, int) if told.labels is None else told.labels
            if told.row_exponents is None:
                assert info.num_cells == counts[labels].sum() * (2 if told.is_pair else 1)
            analog_cells += info.num_cells
            digital_bits += info.digital_bits
            # Of each symbol three float16 and a byte; the scale, the reference level, the labels.
            assert info.digital_bits >= 56 * len(told.symbols) + 32 + info.label_bits
        else:
            digital_bits += 8 * len(data)
    return analog_cells, digital_bits


CASES: dict[str, tuple[onnx.ModelProto, dict[str, Any]]] = {
    "mlp": (make_mlp_classifier().model, {}),
    "float16": (make_mlp_classifier(dtype=np.float16).model, {}),
    "pairs": (make_mlp_classifier().model, {"protect": frozenset(), "cells": 3}),
    "pruned": (make_mlp_classifier().model, {"sparsity": 0.7}),
    "channels": (make_conv_classifier().model, {"scale": "channel"}),
    "subgraphs": (builders.branches(), {}),
    "functions": (builders.functions(), {}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("blobs", ["attribute", "initializer"])
def test_all_that_a_model_holds_is_counted_once(name: str, blobs: Any) -> None:
    proto, flags = CASES[name]
    storage = Storage(DEVICE, **flags, digital_bits_per_cell=1.5)
    result = wl_onnx.store(proto, storage=storage, recipe=Recipe(blobs=blobs))
    analog_cells, digital_bits = count_by_hand(result.model)
    assert analog_cells > 0
    num_weights = count_weights(load_model(proto))
    ledger = count_cells(
        load_model(result.model), num_weights=num_weights, digital_bits_per_cell=1.5
    )
    assert (ledger.analog_cells, ledger.digital_bits) == (analog_cells, digital_bits)
    assert result.report["cells"] == pytest.approx(ledger.as_dict())
    assert ledger.total == pytest.approx(analog_cells + digital_bits / 1.5)
    assert ledger.per_weight == pytest.approx(ledger.total / num_weights)


def test_what_is_not_stored_counts_in_full() -> None:
    proto = make_mlp_classifier().model
    expected = sum(numpy_helper.to_array(one).nbytes for one in proto.graph.initializer)
    ledger = count_cells(load_model(proto), num_weights=1392, digital_bits_per_cell=2.0)
    assert (ledger.analog_cells, ledger.digital_bits) == (0, 8 * expected)
    compressed = wl_onnx.compress(proto).model
    ledger = count_cells(load_model(compressed), num_weights=1392, digital_bits_per_cell=2.0)
    assert (ledger.analog_cells, ledger.digital_bits) == count_by_hand(compressed)


def test_weights_are_counted_in_the_original() -> None:
    assert count_weights(load_model(make_mlp_classifier().model)) == 24 * 48 + 48 * 5
    assert count_weights(load_model(builders.mlp())) == 8 * 16 + 4 * 16
