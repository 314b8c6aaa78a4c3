"""The recipe weightless from end to end, on a perceptron that trains in a second."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.unit.finetune import perceptron
from wl_onnx import InputError, decompress
from wl_onnx.finetune.recipe import Stage
from wl_onnx.finetune.weightless_recipe import WeightlessRecipe
from wl_onnx.result import Result

torch = pytest.importorskip("torch", reason="torch is not installed")

from wl_onnx.finetune.tuning import finetune  # noqa: E402  needs torch

RECIPE = WeightlessRecipe(
    begin=Stage(2, 5e-3, "constant"),
    sparsify=Stage(6, 5e-3),
    quantize=Stage(4, 2e-3),
    encode=Stage(2, 1e-3),
    batch_size=64,
    rate_weight=1.0,
    unit_weight=0.0,
    min_filter_elements=16,
)
TRAIN = perceptron.draw_samples(1024, seed=1)
VALIDATION = perceptron.draw_samples(512, seed=2)


def run(recipe: WeightlessRecipe = RECIPE, **arguments: Any) -> Result:
    return finetune(
        perceptron.trained(), data=TRAIN, validation_data=VALIDATION, recipe=recipe, **arguments
    )


def weights_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """As the model decodes them."""
    return {
        one.name: onnx.numpy_helper.to_array(one) for one in decompress(model).graph.initializer
    }


def accuracy(model: onnx.ModelProto) -> float:
    """By NumPy, of the weights that the model decodes to."""
    w = weights_of(model)
    hidden = np.maximum(VALIDATION.inputs["x"] @ w["fc1.weight"].T + w["fc1.bias"], 0)
    scores = hidden @ w["fc2.weight"].T + w["fc2.bias"]
    return float((scores.argmax(1) == VALIDATION.labels).mean())


def as_bytes(result: Result) -> bytes:
    return result.model.SerializeToString(deterministic=True)


@pytest.fixture(scope="module")
def made() -> Result:
    """With filters, by the recipe as it is."""
    return run()


@pytest.mark.parametrize("codec", ["palette", "bloomier"])
def test_a_model_becomes_small_and_stays_right(codec: Any, made: Result) -> None:
    is_made = codec == RECIPE.codec
    result = made if is_made else run(dataclasses.replace(RECIPE, codec=codec))
    report = result.report
    assert report["finetune"]["accuracy"]["result"] == pytest.approx(accuracy(result.model))
    assert accuracy(result.model) > 0.95
    assert report["weights"]["original_bytes"] == 4 * (64 * 40 + 64 + 4 * 64 + 4)
    assert report["weights"]["ratio"] > (20 if codec == "bloomier" else 40)
    codecs = {tensor["name"]: tensor["codec"] for tensor in report["tensors"]}
    assert codecs["fc1.weight"] == ("bloomier" if codec == "bloomier" else "bundle")
    # The features that tell nothing about the class are no longer read.
    w = weights_of(result.model)
    energy = np.square(w["fc1.weight"]).sum(0)
    share = 0.9 if codec == "palette" else 0.6  # false positives read all of them
    assert energy[:3].sum() > share * energy.sum()


def test_one_seed_gives_the_same_bytes_and_another_one_others(made: Result) -> None:
    assert as_bytes(run()) == as_bytes(made)
    assert as_bytes(run(dataclasses.replace(RECIPE, seed=1))) != as_bytes(made)


def test_a_ratio_is_met() -> None:
    result = run(dataclasses.replace(RECIPE, codec="palette"), target_ratio=60.0)
    assert result.report["weights"]["ratio"] >= 60.0
    assert accuracy(result.model) > 0.9


def test_a_drop_is_kept() -> None:
    recipe = dataclasses.replace(RECIPE, codec="palette", max_rounds=4)
    result = run(recipe, max_drop=2.0)
    accuracies = result.report["finetune"]["accuracy"]
    assert 100 * (accuracies["original"] - accuracies["result"]) <= 2.0
    rounds = result.report["finetune"]["rounds"]
    assert len(rounds) > 1
    kept = [one["size_bytes"] for one in rounds if one["drop"] <= 2.0]
    assert result.report["weights"]["compressed_bytes"] == min(kept)


def test_a_target_that_cannot_be_met_says_what_was_reached() -> None:
    recipe = dataclasses.replace(RECIPE, codec="palette", max_rounds=2)
    with pytest.raises(InputError, match=r"^cannot fine-tune .* to a ratio of 100000: .*, got a r"):
        run(recipe, target_ratio=100_000.0)


class _StopError(Exception):
    pass


# Takes two rounds to its target, and trains for two epochs or more in every stage.
LONG = {
    "recipe": dataclasses.replace(RECIPE, rate_weight=0.3, encode=Stage(4, 1e-3)),
    "target_ratio": 22.0,
}


@pytest.fixture(scope="module")
def whole() -> Result:
    return run(**LONG)


@pytest.mark.parametrize("stage", ["begin", "sparsify", "quantize 2", "retrain around fc2.weight"])
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    stage: str, whole: Result, tmp_path: Path
) -> None:
    def stop(report: Any) -> None:
        if report.stage == stage and report.epoch == 2:
            raise _StopError

    arguments = {**LONG, "checkpoint": tmp_path / "state"}
    with pytest.raises(_StopError):
        run(progress=stop, **arguments)
    assert (tmp_path / "state").exists()
    assert as_bytes(run(**arguments)) == as_bytes(whole)
    assert not (tmp_path / "state").exists()


def test_filters_stand_beside_what_the_same_weights_take_without_loss(made: Result) -> None:
    assert any(tensor["codec"] == "bloomier" for tensor in made.report["tensors"])
    for tensor in made.report["tensors"]:
        if tensor["codec"] == "bloomier":
            assert tensor["tried"]["palette"]["size_bits"] > 0
            assert tensor["information_bound_bits"] < tensor["size_bits"]
            assert tensor["lossless_bound_bits"] > 0


def test_what_is_not_included_trains_and_what_is_excluded_does_not() -> None:
    before = {
        one.name: onnx.numpy_helper.to_array(one) for one in perceptron.trained().graph.initializer
    }
    recipe = dataclasses.replace(RECIPE, include=("fc1.*",), remove_units=False)
    for excluded in ((), ("*.bias",)):
        result = run(dataclasses.replace(recipe, exclude=excluded))
        after = weights_of(result.model)
        unchanged = {name for name, values in before.items() if np.array_equal(after[name], values)}
        assert unchanged == ({"fc1.bias", "fc2.bias"} if excluded else set())
        codecs = {one["name"]: one["codec"] for one in result.report["tensors"]}
        assert codecs["fc1.weight"] == "bloomier"
        assert codecs["fc2.weight"] == "none"


def with_normalisation() -> onnx.ModelProto:
    """The perceptron with a normalisation behind its first product, of statistics far off."""
    model = perceptron.trained()
    first = model.graph.node[0]
    first.output[0] = "n"
    size = perceptron.HIDDEN
    arrays = {"scale": 1, "shift": 0, "mean": 0.5, "variance": 1}
    for name, value in arrays.items():
        array = np.full(size, value, np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    node = onnx.helper.make_node("BatchNormalization", ["n", *arrays], ["a"], momentum=0.8)
    model.graph.node.insert(1, node)
    return model


@pytest.mark.parametrize("update", [True, False])
def test_statistics_are_updated_where_the_recipe_says_so(update: bool) -> None:
    recipe = dataclasses.replace(
        RECIPE, codec="palette", update_statistics=update, remove_units=False
    )
    result = finetune(with_normalisation(), data=TRAIN, validation_data=VALIDATION, recipe=recipe)
    w = weights_of(result.model)
    if not update:
        assert (w["mean"] == 0.5).all()
        assert (w["variance"] == 1).all()
        return
    # The weights hardly move at the end, so that these are about the statistics of all samples.
    hidden = TRAIN.inputs["x"] @ w["fc1.weight"].T + w["fc1.bias"]
    scale = hidden.std(0).max()
    np.testing.assert_allclose(w["mean"], hidden.mean(0), atol=0.1 * scale)
    np.testing.assert_allclose(w["variance"], hidden.var(0), rtol=0.25, atol=1e-3)
