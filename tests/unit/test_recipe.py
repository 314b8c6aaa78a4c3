"""Recipes: ranges, globs, rules, TOML, and what wins over what."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import pytest

from wl_onnx.errors import InputError
from wl_onnx.recipe import BUILTIN_RECIPES, Recipe, Rule, load_recipe

NAMES = ", ".join(sorted(path.stem for path in BUILTIN_RECIPES.glob("*.toml")))
BAD = [
    ({"sparsity": 1}, "sparsity must be auto or in [0, 1), got 1"),
    ({"sparsity": -1e-9}, "sparsity must be auto or in [0, 1), got -1e-09"),
    ({"sparsity": math.nan}, "sparsity must be auto or in [0, 1), got nan"),
    ({"sparsity": True}, "sparsity must be auto or in [0, 1), got True"),
    ({"sparsity": "0.5"}, "sparsity must be auto or in [0, 1), got '0.5'"),
    ({"sparsity": None}, "sparsity must be auto or in [0, 1), got None"),
    ({"clusters": 0}, "clusters must be a whole number from 1 to 4096, got 0"),
    ({"clusters": 4097}, "clusters must be a whole number from 1 to 4096, got 4097"),
    ({"clusters": 16.0}, "clusters must be a whole number from 1 to 4096, got 16.0"),
    ({"clusters": True}, "clusters must be a whole number from 1 to 4096, got True"),
    ({"bits": 0}, "bits must be auto or a whole number from 1 to 16, got 0"),
    ({"bits": 17}, "bits must be auto or a whole number from 1 to 16, got 17"),
    ({"bits": 3}, "bits must be at least log2 of clusters (16), got 3"),
    ({"bits": 4, "clusters": 17}, "bits must be at least log2 of clusters (17), got 4"),
    ({"error_share": 0}, "error_share must be in (0, 1), got 0"),
    ({"error_share": math.nan}, "error_share must be in (0, 1), got nan"),
    ({"layout": "Ribbon"}, "layout must be ribbon or xor or prefix, got 'Ribbon'"),
    ({"layout": ["ribbon"]}, "layout must be ribbon or xor or prefix, got ['ribbon']"),
    ({"hash": ""}, "hash must be auto or tabulation or murmur3, got ''"),
    ({"codebook": "int8"}, "codebook must be float16 or float32, got 'int8'"),
    ({"blobs": 1}, "blobs must be attribute or initializer, got 1"),
    (
        {"prune_scope": "global"},
        "sparsity must be a number where prune_scope is global",
    ),
    ({"min_elements": 0}, "min_elements must be a whole number of at least 1, got 0"),
    ({"seed": 2**32}, "seed must be a whole number from 0 to 2**32 - 1, got 4294967296"),
    ({"threads": 1025}, "threads must be a whole number from 0 (one for each core) to 1024"),
    ({"include": "fc*"}, "include must be a tuple of texts, got 'fc*'"),
    ({"exclude": (1,)}, "exclude must be a tuple of texts, got (1,)"),
    ({"allow_growth": "no"}, "allow_growth must be true or false, got 'no'"),
    ({"rules": (Rule("*", (("bits", 2),)),)}, "bits must be at least log2 of clusters (16), got 2"),
    ({"rules": (Rule("*", (("skip", "no"),)),)}, "skip of a rule must be true or false, got 'no'"),
    (
        {
            "sparsity": 0.5,
            "prune_scope": "global",
            "rules": (Rule("*", (("sparsity", 0.1),)),),
        },
        "sparsity of a rule must be absent where prune_scope is global, got 0.1",
    ),
]


@pytest.mark.parametrize(("values", "message"), BAD, ids=[message[:60] for _, message in BAD])
def test_values_out_of_range(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^cannot use recipe: {re.escape(message)}"):
        Recipe(**values)


def test_values_at_the_ends_of_their_ranges() -> None:
    Recipe(sparsity=0, clusters=1, bits=1, min_elements=1, seed=0, threads=0)
    Recipe(sparsity=0.999999, clusters=4096, bits=12, seed=2**32 - 1, threads=1024)
    Recipe(clusters=16, bits=4, error_share=1e-300)


def test_the_defaults_do_what_the_help_says() -> None:
    recipe = Recipe()
    assert (recipe.sparsity, recipe.bits, recipe.clusters) == ("auto", "auto", 16)
    assert (recipe.error_share, recipe.min_elements, recipe.seed) == (0.02, None, 0)
    assert (recipe.layout, recipe.blobs, recipe.allow_growth) == (None, "attribute", False)
    assert recipe.table_layout == "ribbon"
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.seed = 1  # type: ignore[misc]
    assert hash(recipe) == hash(Recipe())


def test_include_and_exclude() -> None:
    recipe = Recipe(include=("fc*", "conv?.weight"), exclude=("fc2*",))
    names = ["fc1.weight", "fc2.weight", "conv1.weight", "conv10.weight", "FC1.weight"]
    assert [name for name in names if recipe.selects(name)] == ["fc1.weight", "conv1.weight"]
    assert all(Recipe().selects(name) for name in names)
    assert not Recipe(exclude=("*",)).selects("anything")


def test_of_several_rules_the_last_wins_field_by_field() -> None:
    rules = (
        Rule("fc*", (("clusters", 64), ("bits", 8))),
        Rule("*.weight", (("clusters", 4),)),
        Rule("fc2*", (("skip", True),)),
        Rule("fc22*", (("skip", False),)),
    )
    recipe = Recipe(sparsity=0.5, rules=rules)
    fc1 = recipe.for_tensor("fc1.weight")
    assert fc1 is not None
    assert (fc1.clusters, fc1.bits, fc1.sparsity, fc1.rules) == (4, 8, 0.5, ())
    assert recipe.for_tensor("fc2.weight") is None
    assert recipe.for_tensor("fc22") is not None
    assert recipe.for_tensor("conv") == recipe
    assert recipe.for_tensor("FC1") == recipe


def test_rules_that_contradict_each_other_are_refused() -> None:
    rules = (Rule("a*", (("clusters", 256), ("bits", 8))), Rule("*b", (("bits", 4),)))
    with pytest.raises(InputError, match="bits must be at least log2 of clusters"):
        Recipe(rules=rules).for_tensor("ab")


def test_toml(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'sparsity = 0.9\nclusters = 8\ninclude = ["fc*"]\nexclude = "fc2*"\n'
        '[[rules]]\nmatch = "fc1*"\nbits = 5\n[[rules]]\nmatch = "fc3*"\nskip = true\n',
        encoding="utf-8",
    )
    assert load_recipe(path) == Recipe(
        sparsity=0.9,
        clusters=8,
        include=("fc*",),
        exclude=("fc2*",),
        rules=(Rule("fc1*", (("bits", 5),)), Rule("fc3*", (("skip", True),))),
    )
    changed = load_recipe(str(path), clusters=4, seed=0, include=("conv*",))
    assert (changed.clusters, changed.sparsity, changed.include) == (4, 0.9, ("conv*",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sparsity = ", "it must be TOML, got"),
        ("a = 1\na = 2", "it must be TOML, got"),
        ("sparsty = 1", "fields must be among .*sparsity.*, got sparsty$"),
        ("[sparsity]\nvalue = 1", "sparsity must be auto or in"),
        ("rules = 3", "rules must be tables, got 3$"),
        ("rules = [3]", "each rule must have a text `match`, got 3$"),
        ("[[rules]]\nbits = 3", "each rule must have a text `match`, got"),
        ("[[rules]]\nmatch = 3", "each rule must have a text `match`, got"),
        ('[[rules]]\nmatch = "w"\nseed = 3', "the rule for w may set .*bits.*, got seed$"),
        ("include = 3", "include must be texts, got 3$"),
        ("include = [3]", r"include must be texts, got \[3\]$"),
        ("allow_growth = 1", "allow_growth must be true or false, got 1$"),
    ],
)
def test_toml_that_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=rf"^cannot (load|use) recipe.*{message}"):
        load_recipe(path)


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    for source in ("nowhere", "", tmp_path, tmp_path / "absent.toml"):
        with pytest.raises(InputError, match=f"must be a TOML file or one of {NAMES},"):
            load_recipe(source)


def test_built_in_recipes_load_by_name() -> None:
    paths = sorted(BUILTIN_RECIPES.glob("*.toml"))
    assert len({load_recipe(path) for path in paths}) == len(paths) > 1
    for path in paths:
        assert load_recipe(path.stem) == load_recipe(path)
        assert load_recipe(path.stem, seed=5).seed == 5


def test_a_file_wins_over_a_built_in_recipe_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = next(BUILTIN_RECIPES.glob("*.toml")).stem
    monkeypatch.chdir(tmp_path)
    Path(name).write_text("seed = 77", encoding="utf-8")
    assert load_recipe(name).seed == 77


def test_a_recipe_from_fields() -> None:
    fields = {"codec": "palette", "rules": [{"match": "fc*", "clusters": 64}], "include": "fc*"}
    recipe = load_recipe(fields, seed=3)
    assert recipe == Recipe(
        codec="palette", rules=(Rule("fc*", (("clusters", 64),)),), include=("fc*",), seed=3
    )
    with pytest.raises(InputError, match="cannot load recipe from fields: fields must be among"):
        load_recipe({"colour": 1})
