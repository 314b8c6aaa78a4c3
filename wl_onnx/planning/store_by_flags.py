"""Weights into cells one by one, each as a storage's flags say, with no search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wl_onnx.graph import why_not_analog
from wl_onnx.planning.by_recipe import read_weights
from wl_onnx.planning.cell_writer import CellWriter, Tensor
from wl_onnx.runtime.observe import observe_moments
from wl_onnx.simplify import prune, threshold_for_sparsity
from wl_onnx.simplify.surgeon import prune_layer

if TYPE_CHECKING:
    from wl_onnx.analog.storage import Storage
    from wl_onnx.graph import WeightLayer, WeightSite
    from wl_onnx.planning.calibration import Calibration
    from wl_onnx.planning.cell_writer import StoredTensor

__all__ = ["find_channel_axis", "store_by_flags"]

Float64 = npt.NDArray[np.float64]
Progress = Callable[[str, int, int], None]

_LAST_AXIS = frozenset(("MatMul", "FusedMatMul", "TransposeMatMul"))


def store_by_flags(
    sites: Sequence[WeightSite],
    storage: Storage,
    *,
    calibration: Calibration | None = None,
    threads: int = 0,
    progress: Progress | None = None,
) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """Stores every weight that can be.

    Without data weights are pruned by magnitude and all errors count the same. With a calibration,
    weights of layers that it observes are pruned by what the others cannot make up for, the others
    are fitted, and errors count by what they cost at the model's outputs.

    Args:
        sites: the weights, in the model's order: their numbers in the draws.
        storage: how.
        calibration: what errors of the layers' outputs count.
        threads: threads to use; 0 means one for each core.
        progress: called with a weight's key, the weights done before it and all of them.

    Returns:
        By key what was stored; and of the others why not.

    Raises:
        InputError: a weight holds NaN or infinity, or fewer cells are asked for than weights.
    """
    observed = {} if calibration is None else _observe(calibration)
    writer = CellWriter(storage, threads=threads)
    stored: dict[str, StoredTensor] = {}
    reasons: dict[str, str] = {}
    for number, site in enumerate(sites):
        if progress is not None:
            progress(site.key, number, len(sites))
        reason = why_not_analog(site)
        if reason is not None:
            reasons[site.key] = reason
            continue
        values = read_weights(site)
        if storage.sparsity > 0 and site.key not in observed:
            values = prune(values, threshold_for_sparsity(values, storage.sparsity))
        weights = values.astype(np.float64).reshape(site.shape)
        costs = None
        if site.key in observed:
            weights, costs = _simplify(weights, storage, *observed[site.key])
        kept = np.ones(weights.shape, bool) if "sparsity" not in storage.protect else weights != 0
        tensor = Tensor(weights, kept, number, costs)
        stored[site.key] = writer.store(tensor, channel_axis=find_channel_axis(site))
    return stored, reasons


def find_channel_axis(site: WeightSite) -> int:
    """The axis of a weight's outputs, as its operators take it; the first where they do not say."""
    if len(site.shape) > 1 and any(name in _LAST_AXIS for name in site.op_types):
        return len(site.shape) - 1
    return 1 if "ConvTranspose" in site.op_types and len(site.shape) > 1 else 0


_Observed = Mapping[str, tuple["WeightLayer", Float64, Float64]]


def _observe(calibration: Calibration) -> _Observed:
    """By weight key the layer, the second moments of its input, and its row weights."""
    found = {}
    by_key = {layer.site.key: layer for layer in calibration.layers}
    settings = calibration.settings
    groups = observe_moments(
        calibration.model,
        calibration.observed_feeds,
        layers=calibration.layers,
        budget_bytes=settings.budget_bytes,
        max_places=max(map(calibration.count_places, calibration.layers), default=1),
        seed=settings.seed,
        threads=settings.threads,
    )
    for keys, moments in groups:
        for key in keys:
            second = moments.second
            if second.ndim == 2:
                second = np.einsum("gi,ij->gij", second, np.eye(second.shape[1]))
            found[key] = (by_key[key], second, calibration.row_weights[key])
    return found


def _simplify(
    weights: Float64, storage: Storage, layer: WeightLayer, second: Float64, row_weights: Float64
) -> tuple[Float64, Float64]:
    """The weights, pruned and fitted, and what a squared error of each costs."""
    view = layer.view
    assert view is not None  # noqa: S101  a calibration has no others
    matrices = np.asarray(view.to_matrices(weights), np.float64)
    energies = np.einsum("gii->gi", second)
    costs = row_weights[:, :, None] * energies[:, None, :]
    if storage.sparsity > 0:
        matrices = prune_layer(matrices, second, storage.sparsity, row_weights=row_weights)
        weights = np.ascontiguousarray(view.from_matrices(matrices))
    return weights, np.ascontiguousarray(view.from_matrices(costs)).reshape(weights.shape)
