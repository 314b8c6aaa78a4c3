"""Weights into cells one by one, each as a storage's flags say, with no search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wl_onnx.graph import find_layers, why_not_analog
from wl_onnx.planning.by_recipe import read_weights
from wl_onnx.planning.cell_writer import CellWriter, Tensor
from wl_onnx.runtime.observe import observe_moments
from wl_onnx.simplify import prune, threshold_for_sparsity
from wl_onnx.simplify.surgeon import prune_layer

if TYPE_CHECKING:
    from wl_onnx.analog.storage import Storage
    from wl_onnx.graph import CompressibleModel, MatrixView, WeightLayer, WeightSite
    from wl_onnx.planning.calibration import Calibration
    from wl_onnx.planning.cell_writer import StoredTensor

__all__ = ["Observed", "find_channel_axes", "observe", "prepare_tensor", "store_by_flags"]

Float64 = npt.NDArray[np.float64]
Progress = Callable[[str, int, int], None]


def store_by_flags(
    model: CompressibleModel,
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
        model: the model; left as it is.
        sites: those of its weights that are stored; their order is their numbers in the draws.
        storage: how.
        calibration: what errors of the layers' outputs count.
        threads: threads to use; 0 means one for each core.
        progress: called with a weight's key, the weights done before it and all of them.

    Returns:
        By key what was stored; and of the others why not.

    Raises:
        InputError: a weight holds NaN or infinity, or fewer cells are asked for than weights.
    """
    observed = {} if calibration is None else observe(calibration)
    axes = find_channel_axes(model) if storage.scale == "channel" else {}
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
        tensor = prepare_tensor(site, number, storage, observed.get(site.key))
        stored[site.key] = writer.store(tensor, channel_axis=axes.get(site.key, 0))
    return stored, reasons


def prepare_tensor(
    site: WeightSite, number: int, storage: Storage, observed: Observed | None
) -> Tensor:
    """A weight, pruned as the storage asks for, and what its errors cost; see `store_by_flags`.

    Args:
        site: the weight.
        number: of the tensor in its model.
        storage: how it is stored.
        observed: of its layer, by `observe`; None: it is pruned by magnitude.

    Raises:
        InputError: the weight holds NaN or infinity.
    """
    values = read_weights(site)
    # What has as many zeros already was pruned before, and trained since.
    is_dense = np.count_nonzero(values) > values.size - round(storage.sparsity * values.size)
    if is_dense and observed is None:
        values = prune(values, threshold_for_sparsity(values, storage.sparsity))
    weights, costs = values.astype(np.float64).reshape(site.shape), None
    if observed is not None:
        weights, costs = _simplify(weights, storage.sparsity if is_dense else 0.0, observed)
    kept = np.ones(weights.shape, bool) if "sparsity" not in storage.protect else weights != 0
    return Tensor(weights, kept, number, costs)


def find_channel_axes(model: CompressibleModel) -> dict[str, int]:
    """By weight key, the axis along which its layer's outputs lie, where one axis has them all."""
    found = {}
    for layer in find_layers(model):
        axis = None if layer.view is None else _find_row_axis(layer.view)
        if axis is not None:
            found[layer.site.key] = axis
    return found


def _find_row_axis(view: MatrixView) -> int | None:
    """The axis along which all weights of a row, and of no other, have the same index."""
    num_groups, num_rows, _ = view.matrix_shape
    for axis, size in enumerate(view.shape):
        if size == num_groups * num_rows:
            dims = [size if other == axis else 1 for other in range(len(view.shape))]
            indices = np.broadcast_to(np.arange(size).reshape(dims), view.shape)
            rows = view.to_matrices(indices)
            if bool((rows == rows[:, :, :1]).all()):
                return axis
    return None


Observed = tuple["WeightLayer", Float64, Float64]
"""A layer, the second moments of its input, and its row weights."""


def observe(calibration: Calibration) -> dict[str, Observed]:
    """By weight key, what is known of a layer that the calibration observes."""
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


def _simplify(weights: Float64, sparsity: float, observed: Observed) -> tuple[Float64, Float64]:
    """The weights, pruned and fitted, and what a squared error of each costs."""
    layer, second, row_weights = observed
    view = layer.view
    assert view is not None  # noqa: S101  a calibration has no others
    matrices = np.asarray(view.to_matrices(weights), np.float64)
    energies = np.einsum("gii->gi", second)
    costs = row_weights[:, :, None] * energies[:, None, :]
    if sparsity > 0:
        matrices = prune_layer(matrices, second, sparsity, row_weights=row_weights)
        weights = np.ascontiguousarray(view.from_matrices(matrices))
    return weights, np.ascontiguousarray(view.from_matrices(costs)).reshape(weights.shape)
