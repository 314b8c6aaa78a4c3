"""Noise-aware training, from a model to a stored one."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from collections.abc import Callable, Iterator
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
    make_mlp_classifier,
    run,
)
from tests.storages import run_stored
from tests.unit.finetune.graphs import values_of
from wl_onnx import Storage, finetune
from wl_onnx.analog import PROTECTIONS, find_device
from wl_onnx.errors import InputError
from wl_onnx.finetune.job import Job, Targets
from wl_onnx.finetune.losses import Objective
from wl_onnx.finetune.noisy_recipe import NoisyRecipe
from wl_onnx.finetune.recipe import Stage
from wl_onnx.finetune.teacher import compute_scores
from wl_onnx.finetune.training_data import TrainingData
from wl_onnx.finetune.weightless_recipe import WeightlessRecipe
from wl_onnx.graph import load_model
from wl_onnx.result import Source
from wl_onnx.runtime.opening import open_model

torch = pytest.importorskip("torch", reason="torch is not installed")

from wl_onnx.finetune import noisy  # noqa: E402  only where torch is
from wl_onnx.finetune.checkpoint import Checkpoint, Fingerprint  # noqa: E402

PCM = find_device("pcm-nandakumar2019")
YEAR_S = 3.15e7
ADAPTIVE = Storage(PCM, time_s=YEAR_S)
# Finds its layout in no time.
PLAIN = dataclasses.replace(ADAPTIVE, protect=frozenset(("sign", "sparsity")))
QUICK = NoisyRecipe(train=Stage(2, 1e-3), batch_size=40, reads=3)


def make_job(classifier: Classifier, recipe: NoisyRecipe = QUICK, **changes: Any) -> Job:
    data = TrainingData({"x": classifier.x}, classifier.labels.astype(np.int64))
    scores = compute_scores(open_model(classifier.model), data)
    job = Job(
        name="model",
        model=classifier.model,
        module=finetune.to_torch(classifier.model),
        source=Source.of(load_model(classifier.model)),
        data=data,
        validation=data,
        teacher_scores=scores.astype(np.float32),
        original_accuracy=None,
        recipe=recipe,
        targets=Targets(),
        storage=PLAIN,
    )
    return dataclasses.replace(job, **changes)


@pytest.fixture(scope="module", autouse=True)
def without_baselines() -> Iterator[None]:
    """Digital storage, which is searched for as a baseline, is nothing that these tests are on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noisy, "_MAX_TRIALS", 1)
        patch.setattr(sys.modules["wl_onnx.store"], "find_digital_cells", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return make_mlp_classifier()


@pytest.fixture(scope="module")
def hardened(classifier: Classifier) -> wl_onnx.Result:
    """What the quick recipe makes of the classifier."""
    return noisy.run(make_job(classifier))


def measure_losses(stored: onnx.ModelProto, classifier: Classifier) -> np.ndarray:
    """Cross-entropy with the labels of thirty writes, each read once."""
    losses = []
    for seed in range(30):
        tensors = wl_onnx.read_weights(stored, write_seed=seed, read_seed=seed)
        tensors |= {name: values_of(stored, name) for name in ("b0", "b1")}
        hidden = np.maximum(classifier.x @ tensors["w0"] + tensors["b0"], 0)
        logits = (hidden @ tensors["w1"] + tensors["b1"]).astype(np.float64)
        chosen = logits[np.arange(len(logits)), classifier.labels]
        losses.append(np.mean(np.log(np.exp(logits).sum(axis=1)) - chosen))
    return np.array(losses)


def is_less(lower: np.ndarray, higher: np.ndarray) -> bool:
    """By more than four standard errors."""
    error = np.sqrt((lower.var(ddof=1) + higher.var(ddof=1)) / len(lower))
    return bool(higher.mean() - lower.mean() > 4 * error)


def test_training_lowers_the_loss_under_noise(classifier: Classifier) -> None:
    storage = Storage(find_device("gaussian:0.2"), protect=frozenset(("sign",)))
    recipe = dataclasses.replace(QUICK, train=Stage(15, 3e-3))
    # Training without noise takes what more of the task there is to learn out of the comparison.
    plain = dataclasses.replace(recipe, strength=0.0)
    after, without = (
        measure_losses(noisy.run(make_job(classifier, one, storage=storage)).model, classifier)
        for one in (recipe, plain)
    )
    before = measure_losses(wl_onnx.store(classifier.model, storage=storage).model, classifier)
    assert is_less(after, before)
    assert is_less(after, without)


def test_the_seed_decides(classifier: Classifier, hardened: wl_onnx.Result) -> None:
    again, other = (
        noisy.run(make_job(classifier, dataclasses.replace(QUICK, seed=seed))).model
        for seed in (QUICK.seed, 1)
    )
    assert again == hardened.model
    assert other != hardened.model


@pytest.mark.parametrize(
    ("make", "protect"),
    [
        (make_mlp_classifier, ("sign", "sparsity")),
        (make_mlp_classifier, ("sign",)),
        (make_conv_classifier, PROTECTIONS),
    ],
)
def test_what_store_prunes_stays_pruned(
    make: Callable[[], Classifier], protect: tuple[str, ...]
) -> None:
    classifier = make()
    storage = Storage(PCM, time_s=YEAR_S, sparsity=0.5, protect=frozenset(protect))
    untrained = wl_onnx.store(
        classifier.model, storage=storage, data=classifier.data, validation_data=classifier.data,
        reads=1, max_trials=1,
    )  # fmt: skip
    trained = noisy.run(make_job(classifier, storage=storage))
    zeros = [find_zeros(one.model) for one in (untrained, trained)]
    for key, expected in zeros[0].items():
        assert expected.mean() == pytest.approx(0.5, abs=0.02)
        np.testing.assert_array_equal(zeros[1][key], expected)
    assert trained.report["cells"]["analog"] <= sum(one.size for one in zeros[0].values())


def find_zeros(stored: onnx.ModelProto) -> dict[str, np.ndarray]:
    """By weight where its targets are 0, without noise."""
    weights = wl_onnx.decompress(stored)
    return {key: values_of(weights, key) == 0 for key in wl_onnx.read_weights(stored)}


class Interrupted(Checkpoint):
    """A checkpoint of a run that ends when it has been saved so many times."""

    saves_left = 2

    def save(self, state: Any) -> None:
        super().save(state)
        self.saves_left -= 1
        if self.saves_left == 0:
            raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    classifier: Classifier, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(QUICK, train=Stage(4, 1e-3), ramp=0.7, refresh_every=7)
    # Layouts are found anew on the way.
    make = functools.partial(make_job, classifier, recipe, storage=ADAPTIVE)
    whole = noisy.run(make())
    path, fingerprint = tmp_path / "state", Fingerprint("model", "recipe", "data", 0)
    with pytest.raises(KeyboardInterrupt):
        noisy.run(make(checkpoint=Interrupted(path, fingerprint)))
    told: list[Any] = []
    resumed = noisy.run(make(checkpoint=Checkpoint(path, fingerprint), report=told.append))
    assert told[0].epoch == 3
    assert whole.model == resumed.model


def test_errors_grow_over_the_ramp(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    strengths = []

    class Recorder(noisy.NoisyRead):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            if self.training:
                strengths.append(self.strength)
            return super().forward(weight)

    monkeypatch.setattr(noisy, "NoisyRead", Recorder)
    noisy.run(make_job(classifier, dataclasses.replace(QUICK, ramp=0.5, strength=2.0)))
    each = np.array(strengths[::2])  # two weights, twenty steps
    np.testing.assert_allclose(each, 2 * np.minimum(1, np.arange(20) / 10))


def test_outliers_are_cut(classifier: Classifier) -> None:
    # Fine levels: targets are the trained weights.
    storage = Storage(PCM, protect=frozenset(("sign",)), write_bits=16)
    recipe = dataclasses.replace(QUICK, clip=2.0)
    weights = wl_onnx.decompress(noisy.run(make_job(classifier, recipe, storage=storage)).model)
    for name in ("w0", "w1"):
        values, before = values_of(weights, name), values_of(classifier.model, name)
        assert np.abs(before).max() > 2.3 * np.sqrt(np.square(before).mean())
        assert np.abs(values).max() < 2.1 * np.sqrt(np.square(values).mean())


def test_the_result_is_a_stored_model(classifier: Classifier, hardened: wl_onnx.Result) -> None:
    result = hardened
    onnx.checker.check_model(result.model)
    assert sum(node.op_type == "AnalogRead" for node in result.model.graph.node) == 2
    before = accuracy(run(classifier.model, classifier.x), classifier.labels)
    figures = result.report["finetune"]
    assert figures["baseline"] == pytest.approx(before)
    reads = [
        accuracy(
            run_stored(result.model, {"x": classifier.x}, write_seed=seed, read_seed=seed),
            classifier.labels,
        )
        for seed in range(QUICK.reads)
    ]
    assert figures["drop"] == pytest.approx(before - np.mean(reads))
    assert figures["spread"] == pytest.approx(np.std(reads, ddof=1))
    trained = run(wl_onnx.decompress(result.model), classifier.x)
    digital = before - accuracy(trained, classifier.labels)
    assert figures["retrained_drop"] == pytest.approx(digital, abs=0.6)  # levels are rounded
    assert figures["loss"] > 0
    json.dumps(result.report)


def test_store_measures_on_some_of_the_samples(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def store(*arguments: Any, validation_data: dict[str, np.ndarray], **options: Any) -> Any:
        given.append(validation_data)
        return wl_onnx.store(*arguments, validation_data=validation_data, **options)

    monkeypatch.setattr(noisy, "store", store)
    monkeypatch.setattr(noisy, "_MAX_STORE_SAMPLES", 100)
    noisy.run(make_job(classifier, dataclasses.replace(QUICK, train=Stage(0, 1e-3))))
    (arrays,) = given
    assert len(arrays["x"]) == len(arrays["labels"]) == 100
    known = {
        row.tobytes(): label for row, label in zip(classifier.x, classifier.labels, strict=True)
    }
    for row, label in zip(arrays["x"], arrays["labels"], strict=True):
        assert known[row.tobytes()] == label


def test_distillation_alone_takes_no_labels(classifier: Classifier) -> None:
    recipe = dataclasses.replace(QUICK, objective=Objective(0.0, 1.0))
    data = TrainingData({"x": classifier.x})
    figures = noisy.run(make_job(classifier, recipe, data=data, validation=data)).report["finetune"]
    assert figures["drop"] is None
    assert figures["kl"] > 0


def test_without_epochs_the_model_is_stored_as_it_is(classifier: Classifier) -> None:
    result = noisy.run(make_job(classifier, dataclasses.replace(QUICK, train=Stage(0, 1e-3))))
    assert result.report["finetune"]["loss"] is None
    assert values_of(result.model, "b0").tolist() == values_of(classifier.model, "b0").tolist()


def test_what_is_excluded_is_left_alone(classifier: Classifier) -> None:
    recipe = dataclasses.replace(QUICK, exclude=("w1", "b0"))
    result = noisy.run(make_job(classifier, recipe))
    assert wl_onnx.read_weights(result.model).keys() == {"w0"}
    for name in ("w1", "b0"):
        after, before = values_of(result.model, name), values_of(classifier.model, name)
        np.testing.assert_array_equal(after, before)
    assert (values_of(result.model, "b1") != values_of(classifier.model, "b1")).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"storage": None}, "a recipe of the kind noisy and a storage, got kind noisy and no stor"),
        ({"recipe": WeightlessRecipe()}, "a recipe of .*, got kind weightless and a storage"),
        ({"targets": Targets(ratio=4.0)}, "no target_ratio, got 4; cells are counted in the rep"),
    ],
)
def test_jobs_of_another_kind(
    classifier: Classifier, changes: dict[str, Any], message: str
) -> None:
    job = dataclasses.replace(make_job(classifier), **changes)
    with pytest.raises(
        InputError, match=f"^cannot fine-tune model for cells: there must be {message}"
    ):
        noisy.run(job)


def test_a_drop_that_is_not_reached_is_told(classifier: Classifier) -> None:
    storage = Storage(find_device("gaussian:0.5"), protect=frozenset())
    job = make_job(classifier, storage=storage, targets=Targets(max_drop=0.5))
    expected = r"^cannot fine-tune model: as stored it must lose at most 0.5 points, got \d+\.\d\d;"
    with pytest.raises(InputError, match=expected):
        noisy.run(job)
    with pytest.raises(InputError, match=r"within max_drop: the validation data must have labels"):
        noisy.run(dataclasses.replace(job, validation=TrainingData({"x": classifier.x})))


def test_a_model_without_a_weight_to_store_is_refused() -> None:
    classifier = make_mlp_classifier(constants=("w0", "w1"))
    expected = r"^cannot fine-tune model for cells: it must have a weight that can be trained and "
    with pytest.raises(InputError, match=expected):
        noisy.run(make_job(classifier))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strength": -1.0}, "strength must be a number of at least 0, got -1.0"),
        ({"ramp": 1.5}, "ramp must be in 0..1, got 1.5"),
        ({"clip": 0.0}, "clip must be a number above 0, got 0.0"),
        ({"gradient": "none"}, "gradient must be straight-through or exact, got 'none'"),
        ({"refresh_every": 0}, "refresh_every must be a whole number of at least 1, got 0"),
        ({"reads": 2.5}, "reads must be a whole number of at least 1, got 2.5"),
    ],
)
def test_recipes_out_of_range(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        NoisyRecipe(**values)
