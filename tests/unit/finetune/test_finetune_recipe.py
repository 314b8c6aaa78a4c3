"""Recipes of fine-tuning: files, defaults, overrides, and values that cannot be."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from wl_onnx.errors import InputError
from wl_onnx.finetune.losses import Objective
from wl_onnx.finetune.noisy_recipe import NoisyRecipe
from wl_onnx.finetune.recipe import FinetuneRecipe, Stage, scale_epochs
from wl_onnx.finetune.recipe_file import BUILTIN_FINETUNE_RECIPES, load_finetune_recipe
from wl_onnx.finetune.weightless_recipe import WeightlessRecipe

FILE = """
kind = "weightless"
batch_size = 64
include = "fc*"

[objective]
distill_weight = 0.5

[encode]
epochs = 2.5
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_built_in_recipes_load_by_name() -> None:
    names = sorted(path.stem for path in BUILTIN_FINETUNE_RECIPES.glob("*.toml"))
    assert names == ["lossless", "noisy", "weightless"]
    recipes = {name: load_finetune_recipe(name) for name in names}
    assert recipes == {
        "lossless": WeightlessRecipe(codec="palette"),
        "noisy": NoisyRecipe(),
        "weightless": WeightlessRecipe(),
    }


def test_a_file_sets_what_it_names_and_leaves_the_rest(tmp_path: Path) -> None:
    recipe = load_finetune_recipe(write(tmp_path, FILE), batch_size=32)
    default = WeightlessRecipe()
    assert recipe == dataclasses.replace(
        default,
        batch_size=32,
        include=("fc*",),
        objective=Objective(default.objective.task_weight, 0.5, default.objective.temperature),
        encode=dataclasses.replace(default.encode, epochs=2.5),
    )


def test_parts_may_be_given_whole(tmp_path: Path) -> None:
    stage = Stage(3, 0.5, "constant", "sgd")
    recipe = load_finetune_recipe(write(tmp_path, FILE), encode=stage, objective=Objective(2.0))
    assert isinstance(recipe, WeightlessRecipe)
    assert recipe.encode == stage
    assert recipe.objective == Objective(2.0)


@dataclasses.dataclass(frozen=True)
class Plain(FinetuneRecipe):
    kind: ClassVar[str] = "plain"

    first: Stage = dataclasses.field(default=Stage(6, 0.1))
    speed: float = 1.0
    second: Stage = dataclasses.field(default=Stage(2, 0.2))


def test_stages_are_told_in_their_order() -> None:
    assert list(Plain().stages.items()) == [("first", Plain().first), ("second", Plain().second)]
    assert NoisyRecipe().stages == {"train": NoisyRecipe().train}


def test_epochs_are_shared_as_the_recipe_shares_them() -> None:
    scaled = scale_epochs(Plain(speed=3.0), 4)
    assert scaled == Plain(first=Stage(3, 0.1), speed=3.0, second=Stage(1, 0.2))
    still = Plain(first=Stage(0, 0.1), second=Stage(0, 0.1))
    with pytest.raises(InputError, match=r"^cannot fine-tune for 4 epochs: the recipe must have a"):
        scale_epochs(still, 4)
    with pytest.raises(InputError, match=r"^cannot fine-tune: epochs must be above 0, got 0$"):
        scale_epochs(Plain(), 0)


def test_globs_choose_tensors() -> None:
    recipe = Plain(include=("fc*",), exclude=("*.bias",))
    assert [name for name in ("fc1", "fc1.bias", "conv1") if recipe.selects(name)] == ["fc1"]


def test_a_description_tells_recipes_apart() -> None:
    assert json.loads(NoisyRecipe().describe())["kind"] == "noisy"
    assert Plain(seed=1).describe() != Plain().describe()
    assert Plain(second=Stage(1, 1)).describe() != Plain().describe()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind = 'fast'", "kind must be weightless or noisy, got 'fast'"),
        ("batch_size = 3", "kind must be weightless or noisy, got None"),
        ("kind = 'noisy'\nspeed = 3", "fields must be among .*train.*, got speed"),
        (
            "kind = 'noisy'\n[train]\nrate = 1",
            r"recipe.toml\.train: fields must be among epochs, .*",
        ),
        ("kind = 'noisy'\ntrain = 3", r"recipe.toml\.train: it must be a table, got 3"),
        ("kind = ", "it must be TOML, got"),
    ],
)
def test_files_that_cannot_be(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^cannot load recipe .*{message}"):
        load_finetune_recipe(write(tmp_path, text))


def test_names_that_are_not_there() -> None:
    with pytest.raises(
        InputError, match="must be a TOML file or one of lossless, noisy, weightless, got no"
    ):
        load_finetune_recipe("fast")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        ({"batch_size": True}, "batch_size must be a whole number of at least 1, got True"),
        ({"validation_share": 1.0}, r"validation_share must be in \(0, 1\), got 1\.0"),
        ({"update_statistics": 1}, "update_statistics must be true or false, got 1"),
        ({"include": (1,)}, r"include must be texts, got \(1,\)"),
        ({"seed": -1}, r"seed must be a whole number from 0 to 2\*\*32 - 1, got -1"),
    ],
)
def test_recipes_that_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^cannot use recipe: {message}$"):
        Plain(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": -1}, "epochs must be a number of at least 0, got -1"),
        ({"epochs": float("nan")}, "epochs must be a number of at least 0, got nan"),
        ({"learning_rate": 0}, "learning_rate must be a number above 0, got 0"),
        ({"schedule": "step"}, "schedule must be cosine or constant or one-cycle, got 'step'"),
        ({"optimizer": "lamb"}, "optimizer must be adam or sgd, got 'lamb'"),
    ],
)
def test_stages_that_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^cannot use recipe: {message}$"):
        Stage(**{"epochs": 1, "learning_rate": 0.1, **values})


def test_a_file_says_what_is_not_as_by_default() -> None:
    assert json.loads(WeightlessRecipe().describe_changes()) == {"kind": "weightless"}
    recipe = WeightlessRecipe(rate_weight=2.5, encode=Stage(7, 1e-3))
    assert json.loads(recipe.describe_changes()) == {
        "kind": "weightless",
        "rate_weight": 2.5,
        "encode": dataclasses.asdict(Stage(7, 1e-3)),
    }
