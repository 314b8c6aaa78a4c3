"""Models compressed by data, through the public function."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import wl_onnx
from tests.classifiers import (
    Classifier,
    accuracy,
    divergence,
    make_conv_classifier,
    make_mlp_classifier,
    run,
    snr_db,
)
from tests.compressions import arrays_of, blobs_of, tensors_of
from wl_onnx import Recipe
from wl_onnx.errors import InputError
from wl_onnx.recipe import Rule


def decode(result: wl_onnx.Result) -> onnx.ModelProto:
    return wl_onnx.decompress(result.model)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return make_mlp_classifier()


def halves(classifier: Classifier) -> tuple[Classifier, Classifier]:
    return tuple(
        dataclasses.replace(classifier, x=classifier.x[part], labels=classifier.labels[part])
        for part in (slice(None, None, 2), slice(1, None, 2))
    )


class Reader:
    """As onnxruntime's `CalibrationDataReader`, read once before."""

    def __init__(self, feeds: list[dict[str, np.ndarray]]) -> None:
        self._feeds = feeds
        self._position = len(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        self._position += 1
        return self._feeds[self._position - 1] if self._position <= len(self._feeds) else None

    def rewind(self) -> None:
        self._position = 0


def test_all_kinds_of_data(classifier: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, **classifier.data)
    feeds = [
        {"x": classifier.x[at : at + 50], "labels": classifier.labels[at : at + 50]}
        for at in range(0, len(classifier.x), 50)
    ]
    limits = {"max_drop": 1.0, "max_trials": 5}
    by_samples = [
        wl_onnx.compress(classifier.model, data=data, **limits)
        for data in (path, str(path), classifier.data)
    ]
    by_feeds = [
        wl_onnx.compress(classifier.model, data=data, **limits)
        for data in (feeds, iter(feeds), Reader(feeds))
    ]
    for results in (by_samples, by_feeds):
        assert len({result.model.SerializeToString() for result in results}) == 1
        assert results[0].report["weights"]["ratio"] > 8
        assert results[0].report["search"]["drop"] <= 1.0


LIMITS: dict[str, dict[str, float]] = {
    "drop": {"max_drop": 0.5},
    "no drop": {"max_drop": 0},
    "kl": {"max_kl": 0.02},
    "snr": {"min_snr": 20.0},
    "all": {"max_drop": 2.0, "max_kl": 0.05, "min_snr": 12.0},
}


@pytest.mark.parametrize("limits", LIMITS)
def test_limits_are_kept_when_measured_otherwise(classifier: Classifier, limits: str) -> None:
    wanted = LIMITS[limits]
    calibration, validation = halves(classifier)
    result = wl_onnx.compress(
        classifier.model,
        data=calibration.data,
        validation_data=validation.data,
        max_trials=10,
        **wanted,
    )
    x, labels = validation.x, validation.labels
    before, now = run(classifier.model, x), run(decode(result), x)
    search = result.report["search"]
    assert search["baseline"] == pytest.approx(accuracy(before, labels))
    assert search["drop"] == pytest.approx(accuracy(before, labels) - accuracy(now, labels))
    assert search["kl"] == pytest.approx(divergence(before, now), rel=1e-3, abs=1e-7)
    assert search["snr_db"] == pytest.approx(snr_db(before, now), abs=1e-2)
    assert search["drop"] <= wanted.get("max_drop", 100) + 1e-9
    assert search["kl"] <= wanted.get("max_kl", np.inf)
    assert search["snr_db"] >= wanted.get("min_snr", -np.inf)
    assert result.report["weights"]["ratio"] > 4
    assert search["trials"] <= 10
    assert not search["interrupted"]


@pytest.mark.parametrize("group", [1, 2])
def test_convolutions(group: int) -> None:
    classifier = make_conv_classifier(group=group)
    result = wl_onnx.compress(
        classifier.model, data=classifier.data, validation_data=classifier.data, max_drop=1.0,
        max_trials=4,
    )  # fmt: skip
    logits = (run(model, classifier.x) for model in (classifier.model, decode(result)))
    before, now = (accuracy(one, classifier.labels) for one in logits)
    assert before - now <= 1.0 + 1e-9
    assert result.report["weights"]["ratio"] > 4
    assert {one["codec"] for one in result.report["tensors"]} == {"bundle"}


def test_a_validation_function_has_the_last_word(classifier: Classifier) -> None:
    values = []

    def validate(session: wl_onnx.InferenceSession) -> float:
        logits = session.run(["y"], {"x": classifier.x})[0]
        values.append(-np.abs(logits).mean())
        return values[-1]

    result = wl_onnx.compress(
        classifier.model, data={"x": classifier.x}, validation_fn=validate, max_drop=0.02,
        max_trials=6,
    )  # fmt: skip
    value = -np.abs(run(decode(result), classifier.x)).mean()
    assert value >= values[0] - 0.02 - 1e-6
    assert result.report["search"]["baseline"] == pytest.approx(values[0])
    assert len(values) == 1 + result.report["search"]["trials"]


@pytest.mark.parametrize("size", [400, 800, 2000])
def test_a_target_size_is_kept(classifier: Classifier, size: int) -> None:
    result = wl_onnx.compress(
        classifier.model, data=classifier.data, target_size=size, max_trials=10
    )
    tensors = [
        *result.model.graph.initializer,
        *(a.t for node in result.model.graph.node for a in node.attribute if a.name == "blob"),
    ]
    found = sum(len(numpy_helper.to_array(tensor).tobytes()) for tensor in tensors)
    assert found == result.report["weights"]["compressed_bytes"]
    assert 0.6 * size < found <= size


def test_a_larger_size_loses_less(classifier: Classifier) -> None:
    kls = [
        wl_onnx.compress(
            classifier.model, data=classifier.data, target_size=size, max_trials=8
        ).report["search"]["kl"]
        for size in (400, 800, 1600)
    ]
    assert kls[0] > kls[1] > kls[2]


def test_the_same_bytes_twice_and_with_any_threads(classifier: Classifier) -> None:
    models = {
        wl_onnx.compress(
            classifier.model,
            data=classifier.data,
            min_snr=15.0,
            max_trials=4,
            recipe=Recipe(threads=threads),
        ).model.SerializeToString()
        for threads in (1, 1, 2)
    }
    assert len(models) == 1


def test_a_calibration_is_kept_and_reused(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "calibration.npz"
    options = {"max_kl": 0.1, "max_trials": 3, "calibration_cache": cache}
    first = wl_onnx.compress(classifier.model, data=classifier.data, **options)
    assert cache.is_file()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("calibrated again")

    module = importlib.import_module("wl_onnx.planning.calibration")
    monkeypatch.setattr(module, "measure_sensitivity", refuse)
    second = wl_onnx.compress(classifier.model, data=classifier.data, **options)
    assert second.model.SerializeToString() == first.model.SerializeToString()
    other = {"x": classifier.x + np.float32(1), "labels": classifier.labels}
    with pytest.raises(InputError, match="it must be of this model and these data"):
        wl_onnx.compress(classifier.model, data=other, **options)
    with pytest.raises(InputError, match="it must be of this model and these data"):
        wl_onnx.compress(make_mlp_classifier(has_bias=False).model, data=classifier.data, **options)


CONFLICTS: dict[str, tuple[dict[str, Any], str]] = {
    "no limit": ({}, "there must be a limit"),
    "sparsity": ({"min_snr": 9, "recipe": Recipe(sparsity=0.5)}, "sparsity must be left to the"),
    "clusters": ({"min_snr": 9, "recipe": Recipe(clusters=8)}, "clusters must be left to the"),
    "bits": ({"min_snr": 9, "recipe": Recipe(bits=8)}, "bits must be left to the search"),
    "share": ({"min_snr": 9, "recipe": Recipe(error_share=0.1)}, "error_share must be left to"),
    "rule": (
        {"min_snr": 9, "recipe": Recipe(rules=(Rule("w0", (("sparsity", 0.5),)),))},
        "sparsity must be left to the search .* got a rule about it for w0",
    ),
    "two goals": ({"min_snr": 9, "target_size": 99}, "must be .* go without limits on the loss"),
    "no size": ({"target_size": 0}, "target_size must be at least 1 byte"),
    "no trials": ({"min_snr": 9, "max_trials": 0}, "max_trials must be a whole number"),
    "function": ({"validation_fn": len}, "validation_fn must come with max_drop"),
    "negative": ({"max_drop": -1}, "max_drop must be a finite number of at least 0, got -1"),
    "out of reach": ({"min_snr": 200.0, "max_trials": 4}, "its loss must keep within the limits"),
    "too small": ({"target_size": 20, "max_trials": 4}, "its size, at most 20 bytes, must keep"),
}


@pytest.mark.parametrize("conflict", CONFLICTS)
def test_what_does_not_go_together(classifier: Classifier, tmp_path: Path, conflict: str) -> None:
    options, message = CONFLICTS[conflict]
    with pytest.raises(InputError, match=message):
        wl_onnx.compress(classifier.model, tmp_path / "out.onnx", data=classifier.data, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_drop": 1}, "cannot keep within max_drop: there must be data"),
        ({"max_kl": 1}, "cannot keep within max_kl: there must be data"),
        ({"target_size": 1000}, "cannot keep within target_size: there must be data"),
        ({"validation_data": {}}, "cannot use validation_data: it must come with data"),
        ({"calibration_cache": "c.npz"}, "cannot use calibration_cache: it must come with data"),
    ],
)
def test_what_needs_data(classifier: Classifier, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        wl_onnx.compress(classifier.model, **options)


def test_what_is_excluded_stays(classifier: Classifier) -> None:
    result = wl_onnx.compress(
        classifier.model, data=classifier.data, min_snr=15.0, max_trials=3,
        recipe=Recipe(exclude=("w1",), min_elements=2),
    )  # fmt: skip
    before, after = arrays_of(classifier.model), arrays_of(decode(result))
    np.testing.assert_array_equal(after["w1"], before["w1"])
    tensors = tensors_of(result)
    assert tensors["w0"]["codec"] == "bundle"
    assert tensors["w1"]["reason"] == "is not selected by include and exclude"


def test_rules_reach_the_filters(classifier: Classifier) -> None:
    rules = tuple(
        Rule(key, (("codec", "bloomier"), ("layout", layout)))
        for key, layout in (("w0", "xor"), ("w1", "prefix"))
    )
    result = wl_onnx.compress(
        classifier.model, data=classifier.data, min_snr=15.0, max_trials=4,
        recipe=Recipe(rules=rules, allow_growth=True),
    )  # fmt: skip
    layouts = {name: one["layout"] for name, one in tensors_of(result).items() if one["layout"]}
    assert layouts == {"w0": "xor", "w1": "prefix"}


def test_stripped_and_compressed(classifier: Classifier) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(classifier.model)
    model.doc_string = "a model" * 100
    helper.set_model_props(model, {"author": "someone"})
    options = {"data": classifier.data, "min_snr": 15.0, "max_trials": 3}
    plain, stripped = (wl_onnx.compress(model, strip=one, **options) for one in (False, True))
    assert stripped.model.doc_string == ""
    assert blobs_of(stripped.model) == blobs_of(plain.model)
    assert stripped.report["search"] == plain.report["search"]


@pytest.mark.parametrize("blobs", ["attribute", "initializer"])
def test_files(classifier: Classifier, tmp_path: Path, blobs: Any) -> None:
    """A model with its tensors in another file, blobs in either place; nothing else is written."""
    path, small = tmp_path / "in.onnx", tmp_path / "small.onnx"
    copy = onnx.ModelProto()
    copy.CopyFrom(classifier.model)  # saving changes it
    onnx.save_model(copy, path, save_as_external_data=True, location="in.data", size_threshold=0)
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    recipe = Recipe(blobs=blobs)
    options = {"data": classifier.data, "min_snr": 15.0, "max_trials": 3, "recipe": recipe}
    result = wl_onnx.compress(path, small, **options)
    after = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) <= {"small.onnx", "small.onnx.data"}
    plain = wl_onnx.decompress(small)
    assert snr_db(run(classifier.model, classifier.x), run(plain, classifier.x)) > 13
    expected = wl_onnx.compress(classifier.model, **{**options, "recipe": Recipe()})
    assert result.report["search"] == expected.report["search"]
    np.testing.assert_array_equal(run(plain, classifier.x), run(decode(expected), classifier.x))
