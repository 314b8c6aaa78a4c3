"""What a job that rewrites a model gives back, and the steps that such jobs share."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import onnx

from wl_onnx.errors import InputError
from wl_onnx.evaluation.tensor_report import TensorReport
from wl_onnx.graph import (
    CompressibleModel,
    Parameter,
    WeightSite,
    fits_in_proto,
    hash_source,
    measure_file,
    measure_tensors,
    to_proto,
)
from wl_onnx.recipe import Recipe

if TYPE_CHECKING:
    from wl_onnx.planning.assembly import Assembly

__all__ = [
    "Model",
    "Progress",
    "Result",
    "Source",
    "as_proto",
    "check_globs",
    "describe_recipe",
    "report_all",
]

Model = str | os.PathLike[str] | onnx.ModelProto

Progress = Callable[[str, int, int], None]
"""Called with a weight's name, the weights done before it, and the weights to do in all."""


@dataclasses.dataclass(frozen=True)
class Result:
    """A compressed model.

    Attributes:
        model: the model; where it does not fit in a protobuf, with its tensors left in the files.
        report: what was done, as `--report` writes it: `file`, `weights`, `tensors`, and with
            data `search`.
        plan: how each weight was coded, as `plan --save` writes it; `compress(..., plan=)` takes
            it, or an edited one.
    """

    model: onnx.ModelProto
    report: dict[str, Any]
    plan: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Source:
    """The original."""

    file_bytes: int
    tensor_bytes: int
    sha256: str

    @classmethod
    def of(cls, model: CompressibleModel) -> Source:
        """Measures the original."""
        return cls(measure_file(model), measure_tensors(model), hash_source(model))


def check_globs(recipe: Recipe, sites: Iterable[WeightSite]) -> None:
    """Refuses globs of a recipe that no weight matches.

    Raises:
        InputError: one matches nothing.
    """
    keys = [site.key for site in sites]
    globs = [*recipe.include, *recipe.exclude, *(rule.match for rule in recipe.rules)]
    for glob in globs:
        if not any(Recipe(include=(glob,)).selects(key) for key in keys):
            known = ", ".join(keys[:8]) + (", ..." if len(keys) > 8 else "")
            raise InputError(
                f"cannot select weights: {glob} must match a weight's name, got no match among "
                f"{known or 'none'}"
            )


def report_all(
    sites: Sequence[WeightSite], assembly: Assembly, reasons: Mapping[str, str]
) -> list[TensorReport]:
    """What becomes of each weight, and of the parameters that go with them.

    Args:
        sites: the model's weights.
        assembly: what is put into the model.
        reasons: by weight key, why a weight is left as it is.
    """
    owners: list[WeightSite | Parameter] = [*sites, *assembly.parameters]
    reports = []
    for owner in owners:
        original_bits = 8 * owner.size_bytes
        fields = assembly.fields.get(owner.key, {"size_bits": original_bits})
        reports.append(
            TensorReport(
                name=owner.key,
                op_types=owner.op_types if isinstance(owner, WeightSite) else (),
                codec=assembly.codecs.get(owner.key, "none"),
                shape=owner.shape,
                num_weights=owner.num_weights,
                original_bits=original_bits,
                reason=reasons.get(owner.key),
                **fields,
            )
        )
    return reports


def describe_recipe(recipe: Recipe) -> str:
    """The fields that decide about the bytes, as JSON."""
    fields = dataclasses.asdict(recipe)
    del fields["threads"]
    return json.dumps(fields, separators=(",", ":"))


def as_proto(model: CompressibleModel, output: str | os.PathLike[str] | None) -> onnx.ModelProto:
    """The model as a protobuf; where it does not fit in one, as it is in its file."""
    if output is None or fits_in_proto(model):
        return to_proto(model)
    return onnx.load(os.fspath(output), load_external_data=False)
