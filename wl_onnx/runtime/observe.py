"""Calibration: second moments of what each weight is multiplied with.

The model runs with its layers' inputs as further outputs, a few layers at a time, so that no more
is held than one batch of activations and the moments that a budget allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from wl_onnx.errors import InputError, ModelError
from wl_onnx.graph import (
    CompressibleModel,
    LayerInput,
    WeightLayer,
    cut_model,
    externalize_weights,
    find_layers,
)
from wl_onnx.runtime.measure import run_session
from wl_onnx.runtime.moments import Moments
from wl_onnx.runtime.patches import cut_rows
from wl_onnx.runtime.weights import decode_weight, supply_weights

__all__ = ["observe_moments"]

Feed = Mapping[str, npt.NDArray[Any]]
Float64 = npt.NDArray[np.float64]


def observe_moments(
    model: CompressibleModel,
    feeds: Iterable[Feed],
    *,
    layers: Sequence[WeightLayer] | None = None,
    reference: CompressibleModel | None = None,
    budget_bytes: int = 1 << 30,
    max_places: int | None = None,
    seed: int = 0,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[tuple[str, ...], Moments]]:
    """Runs a model and gives the moments of its layers' inputs, group by group.

    Layers that read the same input the same way share one result. Where the moments of all do not
    fit in the budget, the model runs several times, and those of a run are given before the next.

    Args:
        model: what is run; may be compressed already.
        feeds: input name to array, batch after batch; iterated once a run.
        layers: which layers; all of `find_layers(reference or model)` that have a view by
            default.
        reference: the model before it was compressed, whose values have the same names. It runs
            beside `model`, and the moments have `cross`: how to choose a layer's weight so that
            it makes up for what is lost before it.
        budget_bytes: for moments and work arrays in a run; one layer is always taken. Beside it
            there is one batch of activations, and the sessions.
        max_places: of a convolution's places, how many are drawn for each sample; all by default.
        seed: of those draws.
        threads: threads of onnxruntime; 0 leaves its default.
        progress: called before each run with the runs done and the runs in all.

    Yields:
        Keys of the weights that share an input, and its moments.

    Raises:
        InputError: there is no feed, one does not fit the model, or an input is not finite.
        ModelError: onnxruntime does not load the model.
    """
    if layers is None:
        layers = [one for one in find_layers(reference or model) if one.view is not None]
    shared: dict[tuple[tuple[LayerInput, ...], int], list[WeightLayer]] = {}
    for layer in layers:
        shared.setdefault((layer.inputs, _matrix_shape(layer)[2]), []).append(layer)
    groups = [(inputs, users) for (inputs, _), users in shared.items()]
    runs = _plan_runs(groups, budget_bytes, has_reference=reference is not None)
    for index, run in enumerate(runs):
        if progress is not None:
            progress(index, len(runs))
        values = sorted({one.value for inputs, _ in run for one in inputs})
        sessions = [_Session(model, values, threads)]
        if reference is not None:
            sessions.append(_Session(reference, values, threads))
        sums = [_Sums(inputs, users[0]) for inputs, users in run]
        num_feeds = 0
        for feed in feeds:
            rngs = [np.random.default_rng((seed, num_feeds)) for _ in sessions]
            activations = [session.run(feed) for session in sessions]
            for one in sums:
                one.add(activations, rngs, max_places)
            num_feeds += 1
        if num_feeds == 0:
            raise InputError(
                f"cannot calibrate {model.name}: there must be at least one feed in each of "
                f"{len(runs)} runs, got none"
            )
        del sessions
        for one, (_, users) in zip(sums, run, strict=True):
            yield tuple(user.site.key for user in users), one.finish()
    if progress is not None:
        progress(len(runs), len(runs))


Run = list[tuple[tuple[LayerInput, ...], list[WeightLayer]]]


def _plan_runs(groups: Run, budget_bytes: int, *, has_reference: bool) -> list[Run]:
    """Groups in order, each to the first run with room for it."""
    runs: list[Run] = []
    rooms: list[int] = []
    for group in groups:
        size = _count_bytes(group[1][0], has_reference=has_reference)
        for index, room in enumerate(rooms):
            if size <= room:
                runs[index].append(group)
                rooms[index] -= size
                break
        else:
            runs.append([group])
            rooms.append(budget_bytes - size)
    return runs


def _count_bytes(layer: WeightLayer, *, has_reference: bool) -> int:
    """Bytes of a layer's sums, and of the float32 product that is added to them."""
    num_groups, _, k = _matrix_shape(layer)
    if layer.inputs[0].kind == "indices":
        return 16 * num_groups * k
    return num_groups * k * k * (20 if has_reference else 12)


def _matrix_shape(layer: WeightLayer) -> tuple[int, int, int]:
    if layer.view is None:
        raise InputError(
            f"cannot observe {layer.site.key}: its layer's input must be observable, got one that "
            f"{layer.reason}"
        )
    return layer.view.matrix_shape


class _Session:
    """A session of the part of a model that leads to some values, which are its outputs."""

    def __init__(self, model: CompressibleModel, values: Sequence[str], threads: int) -> None:
        self._name = model.name
        part = cut_model(model, values)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        external = externalize_weights(part, lambda decoder: decode_weight(decoder, threads=0))
        kept = supply_weights(external, options, lambda decoder: decode_weight(decoder, threads=0))
        try:
            self._session = onnxruntime.InferenceSession(
                external.proto.SerializeToString(), options, ["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions have no public base
            raise ModelError(
                f"cannot calibrate {self._name}: it must be a model that onnxruntime loads, got: "
                f"{str(error).strip().splitlines()[0]}"
            ) from error
        del kept

    def run(self, feed: Feed) -> dict[str, npt.NDArray[Any]]:
        return run_session(self._session, feed, self._name)


class _Sums:
    """Sums over what was seen of one input."""

    def __init__(self, inputs: tuple[LayerInput, ...], layer: WeightLayer) -> None:
        num_groups, _, k = _matrix_shape(layer)
        self._inputs = inputs
        self._key = layer.site.key
        self._is_diagonal = inputs[0].kind == "indices"
        shape = (num_groups, k) if self._is_diagonal else (num_groups, k, k)
        self._second = np.zeros(shape)
        self._mean = np.zeros((num_groups, k))
        self._cross: Float64 | None = None
        self._reference_mean: Float64 | None = None
        self._num_samples = 0

    def add(
        self,
        activations: Sequence[Mapping[str, npt.NDArray[Any]]],
        rngs: Sequence[np.random.Generator],
        max_places: int | None,
    ) -> None:
        for one in self._inputs:
            arrays = [values[one.value] for values in activations]
            if self._is_diagonal:
                k = self._second.shape[-1]
                indices = arrays[0].reshape(-1) % k  # negative ones count from the end
                self._second[0] += np.bincount(indices, minlength=k)
                self._num_samples += indices.size
                continue
            pieces = [
                cut_rows(array, one, max_places=max_places, rng=rng)
                for array, rng in zip(arrays, rngs, strict=True)
            ]
            for rows in zip(*pieces, strict=True):
                self._add_rows(*rows)

    def _add_rows(
        self, rows: npt.NDArray[np.float32], reference: npt.NDArray[np.float32] | None = None
    ) -> None:
        self._second += rows.swapaxes(1, 2) @ rows
        self._mean += rows.sum(axis=1, dtype=np.float64)
        self._num_samples += rows.shape[1]
        if reference is not None:
            cross = reference.swapaxes(1, 2) @ rows
            mean = reference.sum(axis=1, dtype=np.float64)
            if self._cross is None or self._reference_mean is None:
                self._cross = np.zeros(cross.shape)
                self._reference_mean = np.zeros(mean.shape)
            self._cross += cross
            self._reference_mean += mean

    def finish(self) -> Moments:
        if self._is_diagonal:
            self._mean += self._second
        for array in (self._second, self._mean, self._cross, self._reference_mean):
            if array is not None:
                array /= max(1, self._num_samples)
        if not np.isfinite(self._second.sum()):
            raise InputError(
                f"cannot calibrate {self._key}: the inputs of its layer must be finite, got NaN or "
                "infinity"
            )
        return Moments(
            self._second, self._mean, self._num_samples, self._cross, self._reference_mean
        )
