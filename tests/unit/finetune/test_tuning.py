"""Fine-tuning as one call: what a kind is given, what is written, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import wl_onnx
from tests.classifiers import make_mlp_classifier
from tests.unit.finetune import kinds
from tests.unit.finetune.graphs import make
from wl_onnx import finetune
from wl_onnx.errors import InputError, ModelError
from wl_onnx.finetune.job import Job, Targets

torch = pytest.importorskip("torch", reason="torch is not installed")

CLASSIFIER = make_mlp_classifier()
MODEL, DATA = CLASSIFIER.model, CLASSIFIER.data
UNLABELLED = {"x": CLASSIFIER.x}


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs that were run."""
    seen: list[Job] = []

    def run(job: Job) -> wl_onnx.Result:
        seen.append(job)
        return kinds.run(job)

    kinds.use(monkeypatch, run)
    return seen


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(kinds.RECIPE, encoding="utf-8")
    return path


def rows_of(data: Any) -> set[bytes]:
    return {row.tobytes() for row in data.inputs["x"]}


def test_the_result_is_written_and_measured(jobs: list[Job], recipe: Path, tmp_path: Path) -> None:
    output, reports = tmp_path / "out.onnx", []
    result = finetune.finetune(
        MODEL, output, data=DATA, recipe=recipe, progress=reports.append, checkpoint=tmp_path / "c"
    )
    (job,) = jobs
    figures = result.report["finetune"]
    assert (figures["samples"], figures["validation_samples"]) == (360, 40)
    assert figures["recipe"]["batch_size"] == 50
    assert figures["accuracy"]["original"] == job.original_accuracy
    feed = {"x": job.validation.inputs["x"]}
    (scores,) = wl_onnx.InferenceSession(output).run(None, feed)
    assert figures["accuracy"]["result"] == (scores.argmax(1) == job.validation.labels).mean()
    assert {report.stage for report in reports} == {"sparsify"}
    assert not (tmp_path / "c").exists()
    assert onnx.load(output) == result.model


def test_no_sample_is_validated_on_that_was_trained_on(jobs: list[Job], recipe: Path) -> None:
    finetune.finetune(MODEL, data=DATA, recipe=recipe)
    other = make_mlp_classifier(num_samples=60)
    finetune.finetune(MODEL, data=DATA, recipe=recipe, validation_data=other.data)
    split, given = jobs
    assert not rows_of(split.data) & rows_of(split.validation)
    assert rows_of(split.data) | rows_of(split.validation) == rows_of(given.data)
    np.testing.assert_array_equal(given.validation.inputs["x"], other.x)


def test_the_teacher_is_the_original(jobs: list[Job], recipe: Path) -> None:
    chosen = finetune.load_finetune_recipe(recipe, objective=finetune.Objective(0, 1))
    finetune.finetune(MODEL, data=UNLABELLED, recipe=chosen)
    finetune.finetune(MODEL, data=DATA, recipe=recipe)
    taught, untaught = jobs
    session = wl_onnx.InferenceSession(MODEL)
    (scores,) = session.run(None, {"x": taught.data.inputs["x"]})
    np.testing.assert_allclose(taught.teacher_scores, scores, rtol=1e-5, atol=1e-5)
    assert taught.original_accuracy is None
    assert untaught.teacher_scores is None


def test_arguments_win_over_the_recipe(jobs: list[Job], recipe: Path) -> None:
    finetune.finetune(MODEL, data=DATA, recipe=recipe, epochs=1, seed=7, max_drop=2.0)
    (job,) = jobs
    assert sum(stage.epochs for stage in job.recipe.stages.values()) == pytest.approx(1)
    assert job.recipe.batch_size == 50
    assert job.seed == job.recipe.seed == 7
    assert job.targets == Targets(max_drop=2.0)


def test_the_same_seed_gives_the_same_bytes(jobs: list[Job], recipe: Path) -> None:
    first, again, other = (
        finetune.finetune(MODEL, data=DATA, recipe=recipe, seed=seed).model for seed in (1, 1, 2)
    )
    assert first.SerializeToString() == again.SerializeToString()
    assert first.SerializeToString() != other.SerializeToString()


def test_an_interrupted_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, recipe: Path, tmp_path: Path
) -> None:
    kinds.use(monkeypatch, kinds.run)
    arguments = {"data": DATA, "recipe": recipe, "checkpoint": tmp_path / "c"}
    whole = finetune.finetune(MODEL, **arguments)
    steps: list[int] = []

    def interrupt(report: finetune.StepReport) -> None:
        if report.step == 10:  # in the second epoch of seven steps
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune.finetune(MODEL, tmp_path / "o.onnx", progress=interrupt, **arguments)
    assert (tmp_path / "c").is_file()
    assert not (tmp_path / "o.onnx").exists()
    with pytest.raises(InputError, match=r"the same run, got one with another recipe; remove it"):
        finetune.finetune(MODEL, epochs=1, **arguments)

    resumed = finetune.finetune(
        MODEL, tmp_path / "o.onnx", progress=lambda report: steps.append(report.step), **arguments
    )
    assert min(steps) == 8
    assert resumed.model.SerializeToString() == whole.model.SerializeToString()
    assert not (tmp_path / "c").exists()


def test_a_fixed_batch_stays_full(jobs: list[Job], recipe: Path) -> None:
    fixed = make_mlp_classifier(batch=40)
    result = finetune.finetune(fixed.model, data=fixed.data, recipe=recipe)
    (job,) = jobs
    assert (job.data.num_samples, job.validation.num_samples) == (360, 40)
    assert job.data.fixed_batch == 40
    assert result.report["finetune"]["accuracy"]["result"] is not None


def test_models_with_external_data(
    jobs: list[Job], recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = onnx.ModelProto.FromString(MODEL.SerializeToString())
    onnx.save(copied, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    monkeypatch.chdir(tmp_path.parent)
    finetune.finetune(tmp_path / "m.onnx", data=DATA, recipe=recipe)
    finetune.finetune(MODEL, data=DATA, recipe=recipe)
    for one, other in zip(jobs[0].module.parameters(), jobs[1].module.parameters(), strict=True):
        assert torch.equal(one, other)


def with_unknown_operator() -> onnx.ModelProto:
    model = onnx.ModelProto.FromString(MODEL.SerializeToString())
    model.opset_import.add(domain="com.other", version=1)
    node = helper.make_node("Frobnicate", ["x"], ["unused"], "odd one", domain="com.other")
    model.graph.node.append(node)
    return model


def without_classes() -> onnx.ModelProto:
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[1])
    return make([node], {}, ("n", 24))  # type: ignore[arg-type]


COMPRESSED = wl_onnx.compress(MODEL, recipe=wl_onnx.Recipe(min_elements=1)).model
STORAGE = wl_onnx.Storage(wl_onnx.analog.find_device("gaussian"))

MISTAKES: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "both targets": (
        {"target_ratio": 9, "max_drop": 1.0},
        InputError,
        "there must be one target, the ratio or the drop, got target_ratio 9 and max_drop 1.0",
    ),
    "no labels": ({"data": UNLABELLED}, InputError, "it must hold an array named labels"),
    "no labels to measure the drop on": (
        {"validation_data": UNLABELLED, "max_drop": 1.0},
        InputError,
        "it must hold an array named labels",
    ),
    "compressed already": ({"model": COMPRESSED}, ModelError, "decompress it first"),
    "an operator that the bridge does not know": (
        {"model": with_unknown_operator()},
        ModelError,
        "cannot bring node odd one to torch",
    ),
    "no class scores": ({"model": without_classes()}, ModelError, "must be class scores"),
    "another input": ({"data": {"z": CLASSIFIER.x}}, InputError, "must hold an array named x"),
    "labels out of range": (
        {"data": {**UNLABELLED, "labels": CLASSIFIER.labels + 1}},
        InputError,
        "labels must be 0 to 4, the classes of the model, got 5",
    ),
    "no such recipe": ({"recipe": "fast"}, InputError, "one of lossless, noisy, weightless, got"),
    "no epochs": ({"epochs": 0}, InputError, "epochs must be above 0, got 0"),
    "no such device": ({"torch_device": "abacus"}, InputError, "got 'abacus': "),
    "a glob without a match": (
        {"recipe": finetune.WeightlessRecipe(include=("conv*",))},
        InputError,
        "conv* must match the name of one that trains, got no match among ",
    ),
    "cells for what is digital": (
        {"storage": STORAGE},
        InputError,
        "a storage must go with the recipe noisy, got one with weightless",
    ),
    "a ratio for cells": (
        {"recipe": "noisy", "target_ratio": 9},
        InputError,
        "target_ratio must go with a recipe that compresses, got 9 with noisy",
    ),
    "a seed out of range": ({"seed": -1}, InputError, "seed must be a whole number from 0 to"),
    "a checkpoint in no folder": ({"checkpoint": "none/c"}, InputError, "its folder must exist"),
    "a checkpoint over the output": (
        {"checkpoint": "out.onnx"},
        InputError,
        "cannot keep checkpoints in out.onnx: the file must be of its own, got out.onnx",
    ),
    "an output in no folder": ({"output": "none/out.onnx"}, InputError, "cannot write none/out"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line_and_leave_no_file(
    mistake: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    kinds.use(monkeypatch, kinds.run)
    changes, error, message = MISTAKES[mistake]
    arguments = {"model": MODEL, "output": "out.onnx", "data": DATA, **changes}
    with pytest.raises(error) as caught:
        finetune.finetune(**arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_an_output_that_exists_is_kept(jobs: list[Job], recipe: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    output.write_text("mine")
    with pytest.raises(InputError, match="cannot write"):
        finetune.finetune(MODEL, output, data=DATA, recipe=recipe)
    assert output.read_text() == "mine"
    assert not jobs
    finetune.finetune(MODEL, output, data=DATA, recipe=recipe, force=True)
    assert onnx.load(output).graph.node


def test_what_a_kind_tells_stands_in_the_report(
    monkeypatch: pytest.MonkeyPatch, recipe: Path
) -> None:
    def run(job: Job) -> wl_onnx.Result:
        result = kinds.run(job)
        return dataclasses.replace(result, report={**result.report, "finetune": {"loss": 1.5}})

    kinds.use(monkeypatch, run)
    report = finetune.finetune(MODEL, data=DATA, recipe=recipe).report["finetune"]
    assert report["loss"] == 1.5
    assert report["samples"] == 360
