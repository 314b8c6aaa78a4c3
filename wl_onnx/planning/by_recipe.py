"""Weights one by one, each as a recipe says, without looking at any data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError
from wl_onnx.kernels.clustering import all_finite
from wl_onnx.kernels.native import resolve_threads
from wl_onnx.planning.candidates import encode_smallest
from wl_onnx.simplify import Threshold, global_thresholds

if TYPE_CHECKING:
    from wl_onnx.graph import WeightSite
    from wl_onnx.planning.encoding import EncodedWeight
    from wl_onnx.recipe import Recipe

__all__ = ["encode_by_recipe", "find_reason", "read_weights"]

Progress = Callable[[str, int, int], None]

# What a decode node takes in the file beside its blob: names, attributes, a summary and value_info.
_NODE_BYTES = 384
# Smaller tensors are left where the recipe does not say.
_MIN_ELEMENTS = 1024


@dataclasses.dataclass(frozen=True)
class _Job:
    """A weight that is to be encoded, and how."""

    site: WeightSite
    recipe: Recipe
    threshold: Threshold | None = None


def encode_by_recipe(
    sites: Sequence[WeightSite],
    recipe: Recipe,
    progress: Progress | None = None,
    *,
    portable: bool = False,
) -> tuple[dict[str, EncodedWeight], dict[str, str]]:
    """Encodes the weights that a recipe selects.

    Args:
        sites: the weights.
        recipe: how.
        progress: called with a weight's key, the elements done before it, and all to do.
        portable: whether the file is to be portable, which decides about sizes and palettes.

    Returns:
        By key, the encoded weights; and of the others, why they are left as they are.

    Raises:
        InputError: a weight holds NaN or infinity, or the recipe's layout has no portable form.
        EncodeError: no filter exists for a weight with the hash that the recipe names.
    """
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
        outcome = _encode_job(job, portable=portable)
        if isinstance(outcome, str):
            reasons[key] = outcome
        else:
            encoded[key] = outcome
        done += job.site.num_weights
    if progress is not None and jobs:
        progress(jobs[-1].site.key, num_weights, num_weights)
    return encoded, reasons


def _select(sites: Sequence[WeightSite], recipe: Recipe) -> tuple[list[_Job], dict[str, str]]:
    """What is to be encoded, and why the rest is not."""
    jobs: list[_Job] = []
    reasons: dict[str, str] = {}
    for site in sites:
        own = recipe.for_tensor(site.key)
        reason = find_reason(site, recipe, min_elements=_MIN_ELEMENTS)
        if reason is not None or own is None:
            reasons[site.key] = reason or ""
        else:
            jobs.append(_Job(site, own))
    return jobs, reasons


def find_reason(site: WeightSite, recipe: Recipe, *, min_elements: int = 1) -> str | None:
    """Why a weight is left as it is; None where it is not.

    Args:
        site: the weight.
        recipe: which weights are selected.
        min_elements: of smaller weights, where the recipe does not say.
    """
    if site.skip_reason is not None:
        return site.skip_reason
    if not recipe.selects(site.key):
        return "is not selected by include and exclude"
    if recipe.for_tensor(site.key) is None:
        return "is skipped by a rule"
    least = min_elements if recipe.min_elements is None else recipe.min_elements
    return f"has fewer than {least} elements" if site.num_weights < least else None


class _LazyArrays(Sequence[npt.NDArray[np.float32]]):
    """Weights that are read when they are asked for, so that one is held at a time."""

    def __init__(self, sites: Sequence[WeightSite]) -> None:
        self._sites = sites

    def __len__(self) -> int:
        return len(self._sites)

    def __getitem__(self, index: Any) -> Any:
        return read_weights(self._sites[index])


def _prune_together(jobs: Sequence[_Job], recipe: Recipe) -> list[_Job]:
    """The jobs with one pruning threshold over all of their weights."""
    arrays = _LazyArrays([job.site for job in jobs])
    thresholds = global_thresholds(arrays, float(recipe.sparsity), threads=recipe.threads)
    return [
        dataclasses.replace(job, threshold=threshold)
        for job, threshold in zip(jobs, thresholds, strict=True)
    ]


def _encode_job(job: _Job, *, portable: bool) -> EncodedWeight | str:
    """The encoded weight, or the reason to leave it as it is."""
    site, recipe = job.site, job.recipe
    encoded = encode_smallest(
        site.key,
        read_weights(site),
        site.shape,
        recipe,
        threshold=job.threshold,
        threads=resolve_threads(recipe.threads),
        portable_type=site.data_type if portable else None,
    )
    is_automatic = recipe.sparsity == "auto" and recipe.bits == "auto"
    if is_automatic and encoded.fields["meets_share"] is False and not recipe.allow_growth:
        return (
            f"keeps within error_share {recipe.error_share:g} with no choice of sparsity and bits; "
            f"{recipe.clusters} clusters are too few"
        )
    node_bytes = 0 if portable else _NODE_BYTES
    if encoded.size_bytes + node_bytes >= site.size_bytes and not recipe.allow_growth:
        return f"would not shrink: {site.size_bytes} bytes would become {encoded.size_bytes}"
    return encoded


def read_weights(site: WeightSite) -> npt.NDArray[np.float32]:
    """A weight as float32 [num_weights].

    Raises:
        InputError: it holds NaN or infinity, or what float32 cannot hold.
    """
    array = site.numpy()
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(array, np.float32).reshape(-1)
    if not all_finite(values, threads=0):
        bad = array.reshape(-1)[~np.isfinite(values)][0]
        raise InputError(
            f"cannot use {site.key}: weights must be finite float32 numbers, got {bad}; "
            f"exclude it to leave it as it is"
        )
    return values
