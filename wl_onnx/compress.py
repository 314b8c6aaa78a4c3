"""The main job: every weight of a model into a blob, and back."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
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
    Replacement,
    WeightSite,
    check_output,
    find_weights,
    fits_in_proto,
    hash_source,
    is_compressed,
    load_model,
    measure_file,
    measure_parts,
    measure_tensors,
    replace_weights,
    require_uncompressed,
    restore_weights,
    save_model,
    strip_model,
    to_proto,
)
from wl_onnx.kernels.clustering import all_finite
from wl_onnx.kernels.native import resolve_threads
from wl_onnx.planning.candidates import encode_smallest
from wl_onnx.recipe import Recipe
from wl_onnx.runtime.weights import WeightDecoder
from wl_onnx.simplify import Threshold, global_thresholds
from wl_onnx.version import __version__

if TYPE_CHECKING:
    from wl_onnx.planning.encoding import EncodedWeight

__all__ = ["Progress", "Result", "compress", "decompress"]

Model = str | os.PathLike[str] | onnx.ModelProto

Progress = Callable[[str, int, int], None]
"""Called with a weight's name, the weights done before it, and the weights to do in all."""

# What a decode node takes in the file beside its blob: names, attributes, a summary and value_info.
_NODE_BYTES = 384

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Result:
    """A compressed model.

    Attributes:
        model: the model; where it does not fit in a protobuf, with its tensors left in the files.
        report: what was done, as `--report` writes it: `file`, `weights`, `tensors`.
    """

    model: onnx.ModelProto
    report: dict[str, Any]


def compress(
    model: Model,
    output: str | os.PathLike[str] | None = None,
    *,
    recipe: Recipe | None = None,
    progress: Progress | None = None,
    force: bool = False,
    strip: bool = False,
) -> Result:
    """Compresses the weights of a model.

    Weights that would not shrink stay as they are, and where none shrinks so does the model. The
    same model and recipe give the same bytes.

    Args:
        model: path of an ONNX file, or a ModelProto.
        output: where the compressed model is written; external data goes to `<output>.data`.
        recipe: how; the default keeps the error within 2 % of each weight's energy.
        progress: called before each weight and once at the end.
        force: whether an existing output may be replaced.
        strip: whether doc strings, metadata of others and unused initializers go; see
            `strip_model`.

    Raises:
        InputError: the output cannot be written, a glob matches nothing, or a weight holds NaN or
            infinity.
        ModelError: the model is damaged, or compressed already.
        EncodeError: no filter exists for a weight with the hash that the recipe names.

    Example:
        >>> result = compress("model.onnx", "small.onnx")  # doctest: +SKIP
        >>> round(result.report["weights"]["ratio"], 1)  # doctest: +SKIP
        7.8
    """
    recipe = recipe or Recipe()
    loaded = load_model(model)
    require_uncompressed(loaded)
    if output is not None:
        check_output(output, source=loaded, force=force)
    file_bytes = measure_file(loaded)
    tensor_bytes = measure_tensors(loaded)
    source_sha256 = hash_source(loaded)
    if strip:
        strip_model(loaded)
    plain_bytes = measure_file(loaded)
    sites = find_weights(loaded)
    _check_globs(recipe, sites)

    reports, replacements = _encode_all(sites, recipe, progress)
    if replacements:
        metadata = {
            "version": __version__,
            "recipe": _describe_recipe(recipe),
            "source_sha256": source_sha256,
            "source_bytes": str(file_bytes),
            "seed": str(recipe.seed),
            "errors": format_errors(reports),
        }
        replace_weights(loaded, replacements, blobs=recipe.blobs, metadata=metadata)
        if measure_file(loaded) >= plain_bytes and not recipe.allow_growth:
            reason = "shrinks by no more than the metadata adds"
            reports = [
                _report(site, None, old.reason or reason)
                for site, old in zip(sites, reports, strict=True)
            ]
            loaded, replacements = load_model(model), {}
            if strip:
                strip_model(loaded)
    if not replacements:
        _log.warning("no weight of %s shrinks: the model is kept as it is", loaded.name)
    if output is not None:
        save_model(loaded, output, force=force)
    proto = _as_proto(loaded, output)
    report = {
        "file": summarize_file(file_bytes, measure_parts(loaded)),
        "weights": summarize_weights(tensor_bytes, measure_tensors(loaded)),
        "tensors": [tensor.as_dict() for tensor in reports],
    }
    return Result(proto, report)


def decompress(
    model: Model, output: str | os.PathLike[str] | None = None, *, force: bool = False
) -> onnx.ModelProto:
    """Makes a compressed model plain again: initializers in place of decode nodes.

    Args:
        model: path of a compressed model, or a ModelProto.
        output: where the plain model is written; external data goes to `<output>.data`.
        force: whether an existing output may be replaced.

    Returns:
        The plain model, its initializers bit for bit what the operators decode. Where it does not
        fit in a protobuf, its tensors stay in the files.

    Raises:
        InputError: the output cannot be written, or the model is not compressed.
        ModelError: the model is damaged.
        BlobError: a blob is damaged.
    """
    loaded = load_model(model)
    if not is_compressed(loaded):
        raise InputError(
            f"cannot decompress {loaded.name}: it must be a compressed model, got one without "
            "nodes of com.wl_onnx"
        )
    if output is not None:
        check_output(output, source=loaded, force=force)
    restore_weights(loaded, WeightDecoder(threads=0))
    if output is not None:
        save_model(loaded, output, force=force)
    return _as_proto(loaded, output)


@dataclasses.dataclass(frozen=True)
class _Job:
    """A weight that is to be encoded, and how."""

    site: WeightSite
    recipe: Recipe
    threshold: Threshold | None = None


def _encode_all(
    sites: Sequence[WeightSite], recipe: Recipe, progress: Progress | None
) -> tuple[list[TensorReport], dict[str, Replacement]]:
    jobs, reasons = _select(sites, recipe)
    if recipe.prune_scope == "global":
        jobs = _prune_together(jobs, recipe)
    num_weights = sum(job.site.num_weights for job in jobs)
    encoded: dict[str, EncodedWeight] = {}
    done = 0
    for job in jobs:
        key = job.site.key
        if progress is not None:
            progress(key, done, num_weights)
        outcome = _encode_job(job)
        if isinstance(outcome, str):
            reasons[key] = outcome
        else:
            encoded[key] = outcome
        done += job.site.num_weights
    if progress is not None and jobs:
        progress(jobs[-1].site.key, num_weights, num_weights)
    reports = [_report(site, encoded.get(site.key), reasons.get(site.key)) for site in sites]
    replacements = {
        report.name: Replacement(
            encoded[report.name].blob, _summarize(report), codec=encoded[report.name].codec
        )
        for report in reports
        if report.name in encoded
    }
    return reports, replacements


def _select(sites: Sequence[WeightSite], recipe: Recipe) -> tuple[list[_Job], dict[str, str]]:
    """What is to be encoded, and why the rest is not."""
    jobs: list[_Job] = []
    reasons: dict[str, str] = {}
    for site in sites:
        own = recipe.for_tensor(site.key)
        if site.skip_reason is not None:
            reasons[site.key] = site.skip_reason
        elif not recipe.selects(site.key):
            reasons[site.key] = "is not selected by include and exclude"
        elif own is None:
            reasons[site.key] = "is skipped by a rule"
        elif site.num_weights < recipe.min_elements:
            reasons[site.key] = f"has fewer than {recipe.min_elements} elements"
        else:
            jobs.append(_Job(site, own))
    return jobs, reasons


def _check_globs(recipe: Recipe, sites: Iterable[WeightSite]) -> None:
    keys = [site.key for site in sites]
    globs = [*recipe.include, *recipe.exclude, *(rule.match for rule in recipe.rules)]
    for glob in globs:
        if not any(Recipe(include=(glob,)).selects(key) for key in keys):
            known = ", ".join(keys[:8]) + (", ..." if len(keys) > 8 else "")
            raise InputError(
                f"cannot select weights: {glob} must match a weight's name, got no match among "
                f"{known or 'none'}"
            )


class _LazyArrays(Sequence[npt.NDArray[np.float32]]):
    """Weights that are read when they are asked for, so that one is held at a time."""

    def __init__(self, sites: Sequence[WeightSite]) -> None:
        self._sites = sites

    def __len__(self) -> int:
        return len(self._sites)

    def __getitem__(self, index: Any) -> Any:
        return _read_weights(self._sites[index])


def _prune_together(jobs: Sequence[_Job], recipe: Recipe) -> list[_Job]:
    """The jobs with one pruning threshold over all of their weights."""
    arrays = _LazyArrays([job.site for job in jobs])
    thresholds = global_thresholds(arrays, float(recipe.sparsity), threads=recipe.threads)
    return [
        dataclasses.replace(job, threshold=threshold)
        for job, threshold in zip(jobs, thresholds, strict=True)
    ]


def _encode_job(job: _Job) -> EncodedWeight | str:
    """The encoded weight, or the reason to leave it as it is."""
    site, recipe = job.site, job.recipe
    encoded = encode_smallest(
        site.key,
        _read_weights(site),
        site.shape,
        recipe,
        threshold=job.threshold,
        threads=resolve_threads(recipe.threads),
    )
    is_automatic = recipe.sparsity == "auto" and recipe.bits == "auto"
    if is_automatic and encoded.fields["meets_share"] is False and not recipe.allow_growth:
        return (
            f"keeps within error_share {recipe.error_share:g} with no choice of sparsity and bits; "
            f"{recipe.clusters} clusters are too few"
        )
    if len(encoded.blob) + _NODE_BYTES >= site.size_bytes and not recipe.allow_growth:
        return f"would not shrink: {site.size_bytes} bytes would become {len(encoded.blob)}"
    return encoded


def _read_weights(site: WeightSite) -> npt.NDArray[np.float32]:
    array = site.numpy()
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(array, np.float32).reshape(-1)
    if not all_finite(values, threads=0):
        bad = array.reshape(-1)[~np.isfinite(values)][0]
        raise InputError(
            f"cannot compress {site.key}: weights must be finite float32 numbers, got {bad}; "
            f"exclude it to leave it as it is"
        )
    return values


def _report(site: WeightSite, encoded: EncodedWeight | None, reason: str | None) -> TensorReport:
    original_bits = 8 * site.size_bytes
    fields = {"size_bits": original_bits} if encoded is None else encoded.fields
    return TensorReport(
        name=site.key,
        op_types=site.op_types,
        codec="none" if encoded is None else encoded.codec,
        shape=site.shape,
        num_weights=site.num_weights,
        original_bits=original_bits,
        reason=reason,
        **fields,
    )


def _describe_recipe(recipe: Recipe) -> str:
    """The fields that decide about the bytes, as JSON."""
    fields = dataclasses.asdict(recipe)
    del fields["threads"]
    return json.dumps(fields, separators=(",", ":"))


def _summarize(report: TensorReport) -> str:
    if report.codec == "palette":
        return (
            f"Palette: {report.num_weights} weights, {report.num_nonzero} of them not zero, "
            f"{report.clusters} centroids, {report.ratio:.1f}x smaller"
        )
    bits = str(report.bits)
    if report.layout == "prefix" and report.num_nonzero and report.information_bound_bits:
        bits = f"{report.information_bound_bits / report.num_nonzero:.2f}"  # the mean of all codes
    return (
        f"Bloomier filter ({report.layout}): {report.num_nonzero} of {report.num_weights} weights "
        f"in {bits} bits, {report.clusters} centroids, {report.ratio:.1f}x smaller"
    )


def _as_proto(model: CompressibleModel, output: str | os.PathLike[str] | None) -> onnx.ModelProto:
    if output is None or fits_in_proto(model):
        return to_proto(model)
    return onnx.load(os.fspath(output), load_external_data=False)
