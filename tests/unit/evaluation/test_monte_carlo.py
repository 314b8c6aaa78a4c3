"""The mean over writes, against runs of the operators themselves."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest

import wl_onnx
from tests.classifiers import Classifier, accuracy, divergence, make_mlp_classifier, run, snr_db
from tests.storages import run_stored
from wl_onnx import Storage
from wl_onnx.analog import find_device
from wl_onnx.errors import InputError
from wl_onnx.evaluation import Limits, MonteCarloValidator, load_feeds
from wl_onnx.graph import load_model
from wl_onnx.runtime.opening import open_model

TIME_S = 3600.0


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return make_mlp_classifier()


@pytest.fixture(scope="module")
def stored(classifier: Classifier) -> onnx.ModelProto:
    return wl_onnx.store(classifier.model, storage=Storage(find_device("gaussian:0.3"))).model


def make_validator(
    classifier: Classifier, limits: Limits | None = None, *, reads: int = 5, seed: int = 0
) -> MonteCarloValidator:
    model = load_model(classifier.model)
    feeds = load_feeds(classifier.data, open_model(model).get_inputs())
    return MonteCarloValidator(
        model, feeds, limits or Limits(), time_s=TIME_S, reads=reads, seed=seed
    )


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 3])
def test_the_mean_over_writes_by_hand(
    classifier: Classifier, stored: onnx.ModelProto, seed: int
) -> None:
    validator = make_validator(classifier, seed=seed)
    score = validator.measure(stored)
    before = run(classifier.model, classifier.x)
    logits = [
        run_stored(stored, {"x": classifier.x}, write_seed=one, read_seed=one, time_s=TIME_S)
        for one in ((seed + index) % 2**63 for index in range(5))
    ]
    drops = [
        accuracy(before, classifier.labels) - accuracy(now, classifier.labels) for now in logits
    ]
    assert np.std(drops) > 0
    assert score.drop == pytest.approx(np.mean(drops))
    assert validator.spread == pytest.approx(np.std(drops, ddof=1))
    assert score.kl == pytest.approx(np.mean([divergence(before, now) for now in logits]), rel=1e-3)
    noise = np.mean([10 ** (-snr_db(before, now) / 10) for now in logits])
    assert score.snr_db == pytest.approx(-10 * np.log10(noise), abs=1e-3)
    assert score.meets


def test_a_model_without_cells_is_measured_once(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    validator = make_validator(classifier)
    score = validator.measure(classifier.model)
    assert (score.drop, score.kl, validator.spread) == (0.0, 0.0, 0.0)
    compressed = wl_onnx.compress(classifier.model).model
    monkeypatch.setattr(MonteCarloValidator, "_read", None)
    assert validator.measure(compressed).kl > 0


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seeds: list[int] = []
    read = MonteCarloValidator._read

    def counted(self: MonteCarloValidator, model: object, seed: int) -> object:
        seeds.append(seed)
        return read(self, model, seed)  # type: ignore[arg-type]

    monkeypatch.setattr(MonteCarloValidator, "_read", counted)
    return seeds


@pytest.mark.parametrize("limits", [Limits(max_kl=1e-4), Limits(max_drop=0.0), Limits(min_snr=60)])
def test_what_is_beyond_the_limits_for_certain_is_left_early(
    classifier: Classifier, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    worse = wl_onnx.store(classifier.model, storage=Storage(find_device("gaussian:0.5"))).model
    seeds = count_reads(monkeypatch)
    score = make_validator(classifier, limits, reads=20).measure(worse)
    assert not score.meets
    assert seeds == [0, 1, 2, 3]


def test_what_keeps_within_the_limits_is_read_to_the_end(
    classifier: Classifier, stored: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = count_reads(monkeypatch)
    kl = make_validator(classifier, reads=8).measure(stored).kl
    assert kl is not None
    assert seeds == list(range(8))
    # A limit at the mean itself: no read decides alone, however far beyond the limit it is.
    for factor, meets in ((1.0001, True), (0.9999, False)):
        seeds.clear()
        score = make_validator(classifier, Limits(max_kl=factor * kl), reads=8).measure(stored)
        assert (score.meets, score.kl) == (meets, pytest.approx(kl))
        assert len(seeds) == 8


@pytest.mark.parametrize("bad", [0, 2])
def test_one_read_that_gives_no_numbers_fails_the_model(
    classifier: Classifier, stored: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch, bad: int
) -> None:
    read = MonteCarloValidator._read

    def spoil(self: MonteCarloValidator, model: object, seed: int) -> object:
        restored = read(self, model, seed)  # type: ignore[arg-type]
        if seed == bad:
            (w1,) = (one for one in restored.proto.graph.initializer if one.name == "w1")
            w1.raw_data = np.full(w1.dims, np.nan, np.float32).tobytes()
        return restored

    monkeypatch.setattr(MonteCarloValidator, "_read", spoil)
    for limits in (Limits(), Limits(max_kl=100.0), Limits(max_drop=100.0)):
        score = make_validator(classifier, limits).measure(stored)
        assert (score.meets, score.excess, score.kl) == (False, math.inf, math.inf)


def test_no_reads_are_refused(classifier: Classifier) -> None:
    with pytest.raises(InputError, match="reads must be at least 1, got 0"):
        make_validator(classifier, reads=0)
