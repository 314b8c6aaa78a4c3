"""Recipes of fine-tuning from TOML files, of whichever kind the file says."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wl_onnx.errors import InputError
from wl_onnx.finetune.noisy_recipe import NoisyRecipe
from wl_onnx.finetune.weightless_recipe import WeightlessRecipe
from wl_onnx.recipe import read_table

if TYPE_CHECKING:
    from wl_onnx.finetune.recipe import FinetuneRecipe

__all__ = ["BUILTIN_FINETUNE_RECIPES", "KINDS", "load_finetune_recipe"]

BUILTIN_FINETUNE_RECIPES = Path(__file__).parent / "recipes"

KINDS: Mapping[str, type[FinetuneRecipe]] = {
    one.kind: one for one in (WeightlessRecipe, NoisyRecipe)
}
"""The class of each kind's recipes; the module of the kind's name has `run(job)`, which does it."""


def load_finetune_recipe(source: str | os.PathLike[str], **overrides: Any) -> FinetuneRecipe:
    """A recipe from a TOML file or the name of a built-in one, with overrides on top.

    The field `kind` says which class the other fields are of. Tables (`objective`, stages) set what
    they name and leave the rest of it at the kind's defaults.

    Args:
        source: path of a TOML file, or a built-in recipe's name.
        **overrides: fields that win over the file.

    Raises:
        InputError: no such recipe, not TOML, an unknown kind or field, or a value out of range.
    """
    origin = os.fspath(source)
    table = {**read_table(Path(source), BUILTIN_FINETUNE_RECIPES), **overrides}
    kind = table.pop("kind", None)
    if kind not in KINDS:
        raise InputError(
            f"cannot load recipe {origin}: kind must be {' or '.join(KINDS)}, got {kind!r}"
        )
    defaults = KINDS[kind]()
    values = {name: getattr(defaults, name) for name in _names(defaults)}
    for name, value in table.items():
        _check_known(name, values, origin)
        is_table = dataclasses.is_dataclass(values[name])
        values[name] = _fill_in(values[name], value, f"{origin}.{name}") if is_table else value
    return KINDS[kind](**values)


def _fill_in(default: Any, value: Any, origin: str) -> Any:
    """A dataclass with those fields changed that a table has."""
    if isinstance(value, type(default)):
        return value
    if not isinstance(value, Mapping):
        raise InputError(f"cannot load recipe {origin}: it must be a table, got {value!r}")
    for name in value:
        _check_known(name, _names(default), origin)
    return dataclasses.replace(default, **value)


def _names(value: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(value)]


def _check_known(name: str, known: Any, origin: str) -> None:
    if name not in known:
        raise InputError(
            f"cannot load recipe {origin}: fields must be among {', '.join(sorted(known))}, got "
            f"{name}"
        )
