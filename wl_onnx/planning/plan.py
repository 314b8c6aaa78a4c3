"""A plan: how each weight of one model is coded, to be looked at, edited, and carried out."""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wl_onnx.errors import InputError
from wl_onnx.planning.layer_problem import CODECS, LayerSettings
from wl_onnx.recipe import Recipe, Rule

if TYPE_CHECKING:
    from wl_onnx.graph import WeightSite
    from wl_onnx.planning.encoding import EncodedWeight

__all__ = ["Plan", "load_plan"]

_FORMAT = "wl_onnx plan 1"
_RECIPE_FIELDS = (
    "codec", "sparsity", "clusters", "bits", "error_share", "layout", "hash", "codebook",
)  # fmt: skip
_LAYER_FIELDS = tuple(field.name for field in dataclasses.fields(LayerSettings))
_PREDICTED = (
    "shape", "size_bits", "predicted_damage", "information_bound_bits", "lossless_bound_bits",
    "tried",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Plan:
    """How each weight of a model is coded.

    Attributes:
        model: the model's name.
        source_sha256: what the model must be, in hex.
        is_calibrated: whether it was made, and is carried out, with calibration data.
        tensors: by weight key, the values of `LayerSettings` where it is calibrated, else those of
            a `Recipe` that hold for one tensor; codec "none" leaves a weight as it is.
        temperature: of the loss that a calibrated plan was made with, see `calibrate`.
    """

    model: str
    source_sha256: str
    is_calibrated: bool
    tensors: Mapping[str, Mapping[str, Any]]
    temperature: float | None = None

    @classmethod
    def of_settings(
        cls,
        model: str,
        source_sha256: str,
        settings: Mapping[str, LayerSettings],
        temperature: float | None,
    ) -> Plan:
        """The plan of a calibrated compression."""
        tensors = {key: dataclasses.asdict(one) for key, one in settings.items()}
        return cls(model, source_sha256, True, tensors, temperature)

    @classmethod
    def of_recipe(
        cls, model: str, source_sha256: str, recipe: Recipe, sites: Sequence[WeightSite],
        coded: Mapping[str, EncodedWeight],
    ) -> Plan:  # fmt: skip
        """The plan of a compression without data; weights that are not coded stay as they are."""
        tensors: dict[str, dict[str, Any]] = {}
        for site in sites:
            own = recipe.for_tensor(site.key)
            if own is None or site.key not in coded:
                tensors[site.key] = {"codec": "none"}
            else:
                tensors[site.key] = {name: getattr(own, name) for name in _RECIPE_FIELDS}
                tensors[site.key]["codec"] = own.codec or "bloomier"
                if recipe.prune_scope == "global":
                    share = float(coded[site.key].fields["sparsity"])
                    tensors[site.key]["sparsity"] = min(share, 1 - sys.float_info.epsilon)
        return cls(model, source_sha256, False, tensors)

    @property
    def settings(self) -> dict[str, LayerSettings]:
        """Of a calibrated plan, how each observed weight is coded."""
        return {key: LayerSettings(**values) for key, values in self.tensors.items()}

    def amend(self, recipe: Recipe) -> Recipe:
        """The recipe with which a plan without calibration is carried out.

        Of the recipe, what does not hold for single tensors stays.
        """
        if self.is_calibrated:
            return recipe
        rules = []
        for key, values in self.tensors.items():
            changes = {"skip": True} if values["codec"] == "none" else values
            rules.append(Rule(glob.escape(key), tuple(changes.items())))
        return dataclasses.replace(recipe, rules=tuple(rules), prune_scope="tensor", min_elements=1)

    def check_model(self, name: str, source_sha256: str) -> None:
        """Refuses a model that the plan is not for.

        Raises:
            InputError: the model's hash is another.
        """
        if self.source_sha256 != source_sha256:
            raise InputError(
                f"cannot carry out the plan on {name}: it must be made for this model "
                f"({source_sha256[:12]}), got one for {self.model} ({self.source_sha256[:12]})"
            )

    def check_weights(self, name: str, keys: Collection[str]) -> None:
        """Refuses tensors that cannot be coded as the plan says.

        Args:
            name: the model's.
            keys: of the weights that can be.

        Raises:
            InputError: the plan names another tensor.
        """
        for key in self.tensors:
            if key not in keys:
                known = ", ".join(sorted(keys)[:8]) + (", ..." if len(keys) > 8 else "")
                kind = "weights whose layers are observed" if self.is_calibrated else "weights"
                raise InputError(
                    f"cannot carry out the plan on {name}: its tensors must be {kind} "
                    f"({known or 'none'}), got {key}"
                )

    def describe(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """The plan as JSON has it, beside what is predicted of each tensor.

        Args:
            report: of the compression that the plan was made by.
        """
        predicted = {tensor["name"]: tensor for tensor in report["tensors"]}
        return {
            "format": _FORMAT,
            "model": self.model,
            "source_sha256": self.source_sha256,
            "calibrated": self.is_calibrated,
            "temperature": self.temperature,
            "weights": report["weights"],
            "tensors": [
                {
                    "name": key,
                    **values,
                    "predicted": {name: predicted[key].get(name) for name in _PREDICTED},
                }
                for key, values in self.tensors.items()
            ],
        }


def load_plan(source: str | os.PathLike[str] | Mapping[str, Any]) -> Plan:
    """A plan from the JSON that `Plan.describe` makes.

    Args:
        source: path of the file, or what is in it.

    Raises:
        InputError: no such file, not a plan, or a value out of its range.
    """
    if isinstance(source, Mapping):
        return _parse(source, "plan")
    path = Path(source)
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"cannot load plan {path}: it must be a file, got no such file") from None
    except OSError as error:
        raise InputError(
            f"cannot load plan {path}: it must be a readable file, got {error.strerror}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"cannot load plan {path}: it must be JSON, got {error}") from error
    return _parse(table, f"plan {path}")


def _parse(table: Any, name: str) -> Plan:
    if not isinstance(table, Mapping) or table.get("format") != _FORMAT:
        found = table.get("format") if isinstance(table, Mapping) else type(table).__name__
        raise InputError(f"cannot load {name}: its format must be {_FORMAT!r}, got {found!r}")
    kinds = {"model": str, "source_sha256": str, "calibrated": bool, "tensors": list}
    for field, kind in kinds.items():
        if not isinstance(table.get(field), kind):
            raise InputError(
                f"cannot load {name}: {field} must be of type {kind.__name__}, got "
                f"{table.get(field)!r:.60}"
            )
    tensors: dict[str, dict[str, Any]] = {}
    for entry in table["tensors"]:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise InputError(f"cannot load {name}: each tensor must have a name, got {entry!r:.60}")
        if entry["name"] in tensors:
            raise InputError(
                f"cannot load {name}: each tensor must stand there once, got {entry['name']} twice"
            )
        values = {key: v for key, v in entry.items() if key not in ("name", "predicted")}
        check = _check_settings if table["calibrated"] else _check_recipe
        try:
            check(values)
        except InputError as error:
            raise InputError(
                f"cannot load {name}: {entry['name']}: "
                f"{str(error).removeprefix('cannot use recipe: ')}"
            ) from error
        tensors[entry["name"]] = values
    temperature = table.get("temperature")
    if temperature is not None and not _is_above_zero(temperature):
        raise InputError(
            f"cannot load {name}: temperature must be null or a number above 0, got {temperature!r}"
        )
    return Plan(table["model"], table["source_sha256"], table["calibrated"], tensors, temperature)


def _check_recipe(values: Mapping[str, Any]) -> None:
    _check_names(values, _RECIPE_FIELDS)
    if values.get("codec") != "none":
        Recipe(**values)


def _check_settings(values: Mapping[str, Any]) -> None:
    _check_names(values, _LAYER_FIELDS)
    settings = LayerSettings(**values)
    if settings.codec not in CODECS:
        raise InputError(f"codec must be {', '.join(CODECS)}, got {settings.codec!r}")
    for field in ("lam", "step_ratio", "damping"):
        value = getattr(settings, field)
        if not _is_above_zero(value):
            raise InputError(f"{field} must be a number above 0, got {value!r}")


def _is_above_zero(value: Any) -> bool:
    """Whether a value is a number above 0; an integer may be more than a float can be."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 < value <= sys.float_info.max


def _check_names(values: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in values:
        if name not in known:
            raise InputError(f"fields must be among {', '.join(known)}, got {name}")
    if "codec" not in values:
        raise InputError("there must be a codec, got none")
