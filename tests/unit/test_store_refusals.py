"""What is refused when a model is stored in analog cells: one line, and no file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import wl_onnx
from tests.classifiers import Classifier, make_mlp_classifier
from tests.unit.graph import builders
from wl_onnx import Recipe, Storage
from wl_onnx.analog import PROTECTIONS, find_device
from wl_onnx.errors import InputError, ModelError
from wl_onnx.recipe import Rule

PCM = find_device("pcm-nandakumar2019")
ALL = frozenset(PROTECTIONS)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return make_mlp_classifier()


@pytest.fixture(scope="module")
def stored(classifier: Classifier) -> wl_onnx.Result:
    return wl_onnx.store(classifier.model)


NAN = make_mlp_classifier().model
NAN.graph.initializer[0].raw_data = np.full((24, 48), np.nan, np.float32).tobytes()
TAKEN = make_mlp_classifier().model
TAKEN.graph.node.add(op_type="Identity", input=["x"], output=["wl_time_s"])

MISTAKES: dict[str, tuple[dict[str, Any], bool, str]] = {
    "limits without data": ({"max_drop": 1.0}, False, "there must be data to measure the loss on"),
    "budget without data": ({"cell_budget": 1.0}, False, "there must be data to measure the loss"),
    "sensitivity without data": (
        {"storage": Storage(PCM, protect=ALL)}, False, "cannot protect by sensitivity: there must",
    ),
    "validation alone": ({"validation_data": {}}, False, "it must come with data to calibrate"),
    "zero budget": ({"cell_budget": 0.0}, True, "the cell budget must be above 0, got 0.0"),
    "negative budget": ({"cell_budget": -1.0}, True, "the cell budget must be above 0, got -1.0"),
    "no number": ({"cell_budget": float("nan")}, True, "the cell budget must be above 0, got nan"),
    "endless": ({"cell_budget": float("inf")}, True, "the cell budget must be above 0, got inf"),
    "both": ({"cell_budget": 1.0, "max_kl": 1.0}, True, "a cell budget or limits .*, got both"),
    "analog only": ({"analog_only": True}, True, "a limit or a cell budget with analog_only"),
    "negative drop": ({"max_drop": -1.0}, True, "max_drop must be a finite number of at least 0"),
    "no trials": ({"max_kl": 1.0, "max_trials": 0}, True, "max_trials must be .* at least 1"),
    "no reads": ({"max_kl": 1.0, "reads": 0}, True, "reads must be a whole number of at least 1"),
    "out of reach": ({"min_snr": 200.0}, True, "cannot store graph: its loss must keep within"),
    "no weights": ({"recipe": Recipe(min_elements=10**6)}, False, "a weight to store, got none"),
    "no match": ({"recipe": Recipe(include=("W",))}, False, "W must match a weight's name"),
    "recipe": ({"recipe": Recipe(sparsity=0.5)}, False, "sparsity must be left to the storage"),
    "rule": (
        {"recipe": Recipe(rules=(Rule("w0", (("clusters", 4),)),))}, False,
        "clusters must be left to the storage, got a rule about it for w0",
    ),
    "few cells": (
        {"storage": Storage(PCM, protect=ALL, cells=0.5)}, True, "cells must be at least 1, one",
    ),
    **{
        f"search with {name}": (
            {"max_kl": 1.0, "storage": Storage(PCM, **{name: value})}, True,
            f"{name} must be left to the search",
        )
        for name, value in (
            ("cells", 2), ("sparsity", 0.5), ("mapping", "offset"), ("scale", "channel"),
            ("ranges", 3), ("protect", frozenset(("sign",))),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_is_refused(classifier: Classifier, tmp_path: Path, mistake: str) -> None:
    options, has_data, message = MISTAKES[mistake]
    given = {"max_trials": 3, "reads": 2, "data": classifier.data if has_data else None}
    with pytest.raises(InputError, match=message) as caught:
        wl_onnx.store(classifier.model, tmp_path / "out.onnx", **{**given, **options})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_models_that_are_refused(stored: wl_onnx.Result, make_mlp: Any, tmp_path: Path) -> None:
    nothing = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Relu", ["x"], ["y"])],
            "nothing",
            [builders.value("x", 2)],
            [builders.value("y", 2)],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )
    cases: list[tuple[onnx.ModelProto, type[Exception], str]] = [
        (stored.model, ModelError, "must not be compressed yet"),
        (nothing, InputError, "cannot store nothing: it must have a weight to store, got none"),
        (NAN, InputError, "w0: weights must be finite float32 numbers, got nan"),
        (make_mlp(np.full((9, 9), 1e39)), InputError, "finite float32 numbers, got 1e"),
        (TAKEN, InputError, "the name wl_time_s must be free"),
    ]
    for model, error, message in cases:
        with pytest.raises(error, match=message):
            wl_onnx.store(model, tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())
