"""Models stored in analog cells, through the public function."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import wl_onnx
from tests.classifiers import (
    Classifier,
    accuracy,
    make_conv_classifier,
    make_lstm,
    make_mlp_classifier,
    run,
    snr_db,
)
from tests.compressions import tensors_of
from tests.storages import run_stored
from tests.unit.graph import builders
from wl_onnx import Recipe, Storage
from wl_onnx.analog import PROTECTIONS, find_device
from wl_onnx.errors import InputError
from wl_onnx.planning import store_baselines
from wl_onnx.planning.store_search import search_digital

PCM = find_device("pcm-nandakumar2019")
ALL = frozenset(PROTECTIONS)
INPUTS = ("wl_write_seed", "wl_read_seed", "wl_time_s")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return make_mlp_classifier()


@pytest.fixture(scope="module")
def stored(classifier: Classifier) -> wl_onnx.Result:
    return wl_onnx.store(classifier.model)


def nodes_of(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node if node.domain == "com.wl_onnx"]


def test_every_weight_is_in_cells(classifier: Classifier, stored: wl_onnx.Result) -> None:
    onnx.checker.check_model(stored.model)
    assert nodes_of(stored.model) == ["AnalogRead"] * 2
    assert {one.name for one in stored.model.graph.initializer} == {"b0", "b1", *INPUTS}
    assert [one.name for one in stored.model.graph.input] == ["x", *INPUTS]
    tensors = tensors_of(stored)
    assert {one["codec"] for one in tensors.values()} == {"analog"}
    for one in tensors.values():
        assert one["error_share"] < 1e-4
        assert 0.001 < one["noise_share"] < 0.03
    baselines = stored.report["baselines"]
    size = 4 * (24 * 48 + 48 + 48 * 5 + 5)
    assert baselines["float32"] == pytest.approx(8 * size / 1.8)
    assert baselines["int8"] == pytest.approx((8 * size - 24 * (24 * 48 + 48 * 5)) / 1.8)
    assert baselines["palette"] < baselines["int8"]
    assert "search" not in stored.report
    logits = run_stored(stored.model, {"x": classifier.x}, read_seed=0)
    assert accuracy(logits, classifier.labels) > 97
    assert 15 < snr_db(run(classifier.model, classifier.x), logits) < 40


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_reads_are_bit_for_bit_those_of_a_session(dtype: type) -> None:
    one = make_mlp_classifier(dtype=dtype)
    model = wl_onnx.store(one.model, storage=Storage(PCM, seed=11, time_s=3600.0)).model
    for seeds in ({}, {"write_seed": 5}, {"time_s": 0.0}, {"write_seed": 2**62, "time_s": 1e7}):
        read = wl_onnx.read_weights(model, read_seed=3, **seeds)
        assert set(read) == {"w0", "w1"}
        for key, weight in read.items():
            assert weight.dtype == dtype
            in_session = run_stored(model, {"x": one.x}, output=key, read_seed=3, **seeds)
            np.testing.assert_array_equal(weight.astype(np.float64), in_session)
    again = wl_onnx.read_weights(model, write_seed=11, read_seed=3, time_s=3600.0, threads=2)
    np.testing.assert_array_equal(again["w0"], wl_onnx.read_weights(model, read_seed=3)["w0"])
    fresh = [wl_onnx.read_weights(model)["w0"] for _ in range(2)]
    assert (fresh[0] != fresh[1]).mean() > 0.5


def test_the_defaults_are_those_of_the_storage(stored: wl_onnx.Result) -> None:
    arrays = builders.arrays_of(stored.model)
    assert (arrays["wl_write_seed"], arrays["wl_read_seed"], arrays["wl_time_s"]) == (0, -1, 86400)
    model = wl_onnx.store(
        make_mlp_classifier().model, storage=Storage(PCM, seed=2**63 - 1, time_s=20.0)
    ).model
    arrays = builders.arrays_of(model)
    assert (arrays["wl_write_seed"], arrays["wl_time_s"]) == (2**63 - 1, 20)
    assert wl_onnx.read_weights(model, read_seed=1)["w0"].shape == (24, 48)


def test_seeds_out_of_range_are_refused(stored: wl_onnx.Result) -> None:
    for given, message in (
        ({"write_seed": -1}, "write_seed must be from 0"),
        ({"read_seed": 2**63}, "read_seed must be from 0"),
        ({"time_s": -1.0}, "time_s must be from 0"),
        ({"time_s": float("nan")}, "time_s must be from 0"),
    ):
        with pytest.raises(InputError, match=message):
            wl_onnx.read_weights(stored.model, **given)


def test_decompressed_weights_are_what_was_written(classifier: Classifier) -> None:
    storage = Storage(PCM, protect=frozenset(("sign",)))
    plain = wl_onnx.decompress(wl_onnx.store(classifier.model, storage=storage).model)
    assert not nodes_of(plain)
    assert [one.name for one in plain.graph.input] == ["x"]
    before, after = builders.arrays_of(classifier.model), builders.arrays_of(plain)
    assert set(before) == set(after)
    for key in ("w0", "w1"):
        top = np.abs(before[key]).max()
        assert 0 < np.abs(after[key] - before[key]).max() < 1.01 * top / 255 / 2


FLAGS: dict[str, dict[str, Any]] = {
    "pair": {"protect": frozenset(), "mapping": "pair"},
    "offset": {"protect": frozenset(), "mapping": "offset"},
    "four cells": {"cells": 4},
    "sparse": {"sparsity": 0.8},
    "channels": {"scale": "channel"},
    "few levels": {"write_bits": 3},
    "uncompensated": {"compensates_drift": False, "inverts_response": False},
}


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("make", [make_mlp_classifier, make_conv_classifier])
def test_flags_do_what_they_say(make: Any, flags: str) -> None:
    one = make()
    plain, other = (
        wl_onnx.store(one.model, storage=Storage(PCM, **given)) for given in ({}, FLAGS[flags])
    )
    count = sum(t["num_weights"] for t in plain.report["tensors"])
    assert plain.report["cells"]["analog"] == count
    cells_each = {"pair": 2, "four cells": 4, "sparse": 0.2}.get(flags, 1)
    assert other.report["cells"]["analog"] == pytest.approx(cells_each * count, abs=2)
    before = run(one.model, one.x)
    snrs = [
        np.mean(
            [
                snr_db(before, run_stored(m.model, {"x": one.x}, write_seed=s, read_seed=s))
                for s in range(4)
            ]
        )
        for m in (plain, other)
    ]
    if flags in ("four cells", "channels"):
        assert snrs[1] > snrs[0]
    if flags in ("offset", "sparse", "few levels", "uncompensated"):
        assert snrs[1] < snrs[0] - 1


def test_with_data_the_loss_is_measured(classifier: Classifier) -> None:
    storage = Storage(PCM, protect=ALL, sparsity=0.3, cells=2)
    result = wl_onnx.store(
        classifier.model, storage=storage, data=classifier.data, validation_data=classifier.data,
        reads=3,
    )  # fmt: skip
    before = run(classifier.model, classifier.x)
    drops = [
        accuracy(before, classifier.labels)
        - accuracy(
            run_stored(result.model, {"x": classifier.x}, write_seed=s, read_seed=s),
            classifier.labels,
        )
        for s in range(3)
    ]
    search = result.report["search"]
    assert search["drop"] == pytest.approx(np.mean(drops))
    assert (search["reads"], search["time_s"]) == (3, 86400)


SEARCH: dict[str, Any] = {"max_trials": 5, "reads": 4}


@pytest.mark.parametrize("analog_only", [False, True])
def test_limits_are_kept(classifier: Classifier, analog_only: bool) -> None:
    result = wl_onnx.store(
        classifier.model, data=classifier.data, validation_data=classifier.data, max_drop=1.0,
        analog_only=analog_only, **SEARCH,
    )  # fmt: skip
    before = run(classifier.model, classifier.x)
    feeds = {"x": classifier.x}
    logits = (
        [run_stored(result.model, feeds, write_seed=s, read_seed=s) for s in range(4)]
        if nodes_of(result.model).count("AnalogRead")
        else [run(wl_onnx.decompress(result.model), classifier.x)]
    )
    drops = [accuracy(before, classifier.labels) - accuracy(z, classifier.labels) for z in logits]
    assert result.report["search"]["drop"] == pytest.approx(np.mean(drops))
    assert np.mean(drops) <= 1.0
    cells, baselines = result.report["cells"], result.report["baselines"]
    assert cells["total"] < 0.35 * baselines["float32"]
    codecs = {one["name"]: one["codec"] for one in result.report["tensors"]}
    if analog_only:
        assert (codecs["w0"], codecs["w1"]) == ("analog", "analog")
    else:
        assert cells["total"] <= 1.001 * baselines["palette"]
    has_inputs = len(result.model.graph.input) > 1
    assert has_inputs == ("analog" in codecs.values())


def test_a_budget_is_kept_and_more_loses_less(classifier: Classifier) -> None:
    losses = []
    for budget in (1.0, 2.0, 4.0):
        result = wl_onnx.store(
            classifier.model, data=classifier.data, cell_budget=budget, max_trials=8, reads=2
        )
        assert result.report["cells"]["per_weight"] <= budget
        losses.append(result.report["search"]["kl"])
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("budget", [1e-9, 0.01, 0.1])
def test_a_budget_that_cannot_be_met_says_the_least_that_can(
    classifier: Classifier, budget: float, tmp_path: Path
) -> None:
    def store(cells: float) -> wl_onnx.Result:
        return wl_onnx.store(
            classifier.model, tmp_path / "out.onnx", data=classifier.data, cell_budget=cells,
            max_trials=8, reads=2,
        )  # fmt: skip

    with pytest.raises(InputError, match="the budget must be at least some") as caught:
        store(budget)
    assert not list(tmp_path.iterdir())
    least = float(str(caught.value).split("some ")[1].split()[0])
    assert budget < least < 0.5
    assert store(1.2 * least).report["cells"]["per_weight"] <= 1.2 * least


def test_an_old_model_is_raised_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    proto = builders.mlp(ir_version=3, opset=8)
    with caplog.at_level(logging.WARNING, "wl_onnx"):
        model = wl_onnx.store(proto).model
    assert model.ir_version == 4
    assert "its IR version is raised from 3 to 4" in caplog.text
    assert [one.name for one in model.graph.input] == ["x", *INPUTS]
    x = np.ones((2, 8), np.float32)
    run_stored(model, {"x": x}, read_seed=1)
    caplog.clear()
    assert wl_onnx.store(builders.mlp()).model.ir_version == 8
    assert "IR version" not in caplog.text


def test_weights_of_subgraphs_are_read_too() -> None:
    model = wl_onnx.store(builders.branches()).model
    read = wl_onnx.read_weights(model, read_seed=4)
    assert len(read) == 3
    x = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
    (outer,) = (read[key] for key in read if key == "outer")
    (w,) = (one for key, one in read.items() if key.endswith("w"))
    (v,) = (one for key, one in read.items() if key.endswith("v"))
    for condition, expected in ((True, x @ w @ outer), (False, x @ v)):
        feeds = {"x": x, "c": np.array(condition)}
        now = run_stored(model, feeds, read_seed=4)
        np.testing.assert_allclose(now, expected, rtol=1e-4, atol=1e-5)


def test_weights_of_functions_are_left_with_a_reason() -> None:
    result = wl_onnx.store(builders.functions())
    tensors = tensors_of(result)
    assert tensors["w"]["codec"] == "analog"
    ((_, own),) = ((key, one) for key, one in tensors.items() if key != "w")
    assert own["codec"] == "none"
    assert "lies in a function" in own["reason"]


def test_a_model_whose_layers_cannot_be_observed() -> None:
    model, feeds = make_lstm()
    for flags in ({}, {"protect": ALL, "cells": 2}):
        result = wl_onnx.store(model, storage=Storage(PCM, **flags), data=feeds, reads=2)
        assert result.report["search"]["snr_db"] > 5
        assert {one["codec"] for one in result.report["tensors"]} == {"analog"}


def test_only_some_weights(classifier: Classifier) -> None:
    for recipe in (Recipe(include=("w0",)), Recipe(exclude=("w1",)), Recipe(min_elements=500)):
        result = wl_onnx.store(classifier.model, recipe=recipe)
        tensors = tensors_of(result)
        assert tensors["w0"]["codec"] == "analog"
        assert tensors["w1"]["codec"] == "none"
        assert tensors["w1"]["reason"]
        before = builders.arrays_of(classifier.model)["w1"]
        np.testing.assert_array_equal(builders.arrays_of(result.model)["w1"], before)


@pytest.mark.parametrize("goal", [{}, {"max_kl": 0.05}, {"cell_budget": 5.0, "analog_only": True}])
def test_the_same_bytes_twice_and_with_any_threads(
    classifier: Classifier, goal: dict[str, Any]
) -> None:
    options = {**goal, "max_trials": 3, "reads": 2, "data": classifier.data if goal else None}
    models = {
        wl_onnx.store(
            classifier.model, recipe=Recipe(threads=threads), **options
        ).model.SerializeToString()
        for threads in (1, 1, 2)
    }
    assert len(models) == 1


@pytest.mark.parametrize("blobs", ["attribute", "initializer"])
def test_files(classifier: Classifier, tmp_path: Path, blobs: Any) -> None:
    path, out = tmp_path / "in.onnx", tmp_path / "out.onnx"
    copy = onnx.ModelProto()
    copy.CopyFrom(classifier.model)
    onnx.save_model(copy, path, save_as_external_data=True, location="in.data", size_threshold=0)
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    recipe = Recipe(blobs=blobs)
    result = wl_onnx.store(path, out, recipe=recipe)
    after = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    assert {name: after[name] for name in before} == before
    expected = wl_onnx.read_weights(result.model, read_seed=1)
    for key, one in wl_onnx.read_weights(out, read_seed=1).items():
        np.testing.assert_array_equal(one, expected[key])
    with pytest.raises(InputError, match="the output must not exist"):
        wl_onnx.store(path, out)
    wl_onnx.store(path, out, force=True)


def test_weights_that_all_are_zero(make_mlp: Any) -> None:
    model = make_mlp(np.zeros((12, 9), np.float32), np.ones((9, 4), np.float32))
    for protect in (ALL - {"sensitivity"}, frozenset()):
        result = wl_onnx.store(model, storage=Storage(PCM, protect=protect))
        read = wl_onnx.read_weights(result.model, read_seed=1)
        if protect:
            np.testing.assert_array_equal(read["w0"], 0.0)
            assert not np.signbit(read["w0"]).any()
        assert np.isfinite(read["w0"]).all()
    data = {"x": np.random.default_rng(0).standard_normal((40, 12)).astype(np.float32)}
    storage = dataclasses.replace(Storage(PCM), protect=ALL, cells=2.0)
    model = make_mlp(np.eye(12, dtype=np.float32), np.zeros((12, 4), np.float32))
    result = wl_onnx.store(model, storage=storage, data=data, reads=2)
    assert tensors_of(result)["w1"]["cells"] == 0


def test_what_cells_are_compared_with_is_found_on_some_of_the_samples(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def search(calibration: Any, feeds: Any, *others: Any, **options: Any) -> Any:
        seen.append((calibration.feeds.num_samples, feeds.num_samples))
        return search_digital(calibration, feeds, *others, **options)

    monkeypatch.setattr(store_baselines, "search_digital", search)
    monkeypatch.setattr(store_baselines, "_MAX_CALIBRATION_SAMPLES", 90)
    monkeypatch.setattr(store_baselines, "_MAX_VALIDATION_SAMPLES", 70)
    arguments = {"data": classifier.data, "validation_data": classifier.data}
    result = wl_onnx.store(classifier.model, reads=2, max_trials=2, **arguments)
    assert seen == [(90, 70)]
    assert 0 < result.report["baselines"]["palette"] < result.report["baselines"]["float32"]
