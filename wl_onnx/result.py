"""What a job that rewrites a model gives back, and the steps that such jobs share."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import onnx

from wl_onnx.errors import InputError
from wl_onnx.evaluation.tensor_report import (
    TensorReport,
    format_errors,
    summarize_file,
    summarize_weights,
)
from wl_onnx.graph import (
    CompressibleModel,
    Parameter,
    WeightSite,
    fits_in_proto,
    hash_source,
    measure_file,
    measure_parts,
    measure_tensors,
    to_proto,
)
from wl_onnx.portable import find_portable
from wl_onnx.version import __version__

if TYPE_CHECKING:
    from wl_onnx.planning.assembly import Assembly
    from wl_onnx.recipe import Recipe

__all__ = [
    "Model",
    "Progress",
    "Result",
    "Source",
    "as_proto",
    "check_globs",
    "describe_recipe",
    "form_metadata",
    "form_report",
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


def check_globs(
    globs: Iterable[str], names: Sequence[str], *, wanted: str = "a weight's name"
) -> None:
    """Refuses globs that match nothing.

    Args:
        globs: as a recipe has them.
        names: what they are to match.
        wanted: what these are, for the message.

    Raises:
        InputError: one matches nothing.
    """
    for glob in globs:
        if not any(fnmatch.fnmatchcase(name, glob) for name in names):
            known = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
            raise InputError(
                f"cannot select weights: {glob} must match {wanted}, got no match among "
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
        fields = {"size_bits": original_bits, **assembly.fields.get(owner.key, {})}
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


def form_metadata(
    source: Source,
    reports: Sequence[TensorReport],
    *,
    recipe: str,
    seed: int,
    others: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """What a file tells of itself, for `write_metadata`.

    Args:
        source: the original.
        reports: what became of each weight.
        recipe: the fields that decide about the bytes, as JSON.
        seed: of all that was drawn.
        others: what the job tells beside.
    """
    return {
        "version": __version__,
        "recipe": recipe,
        **(others or {}),
        "source_sha256": source.sha256,
        "source_bytes": str(source.file_bytes),
        "seed": str(seed),
        "errors": format_errors(reports),
    }


def form_report(
    source: Source, model: CompressibleModel, reports: Sequence[TensorReport]
) -> dict[str, Any]:
    """The report's `file`, `weights` and `tensors`.

    Args:
        source: the original.
        model: what was made of it.
        reports: what became of each weight.
    """
    portable = [tensor for weight in find_portable(model) for tensor in weight.tensors]
    return {
        "file": summarize_file(source.file_bytes, measure_parts(model, blobs=portable)),
        "weights": summarize_weights(source.tensor_bytes, measure_tensors(model)),
        "tensors": [one.as_dict() for one in reports],
    }


def as_proto(model: CompressibleModel, output: str | os.PathLike[str] | None) -> onnx.ModelProto:
    """The model as a protobuf; where it does not fit in one, as it is in its file."""
    if output is None or fits_in_proto(model):
        return to_proto(model)
    return onnx.load(os.fspath(output), load_external_data=False)
