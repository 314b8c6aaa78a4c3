"""Calibration: second moments of what each weight is multiplied with.

The model runs with its layers' inputs as further outputs, a few layers at a time, so that no more
is held than one batch of activations and the moments that a budget allows.
"""

from __future__ import annotations

import dataclasses
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
from wl_onnx.runtime.patches import cut_rows, fits_output
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
            beside `model`, and the moments have `cross` and `skip_cross`: how to choose a layer's
            weight so that it makes up for what is lost before it and beside it.
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
    has_reference = reference is not None
    shared: dict[_Observed, list[WeightLayer]] = {}
    for layer in layers:
        shared.setdefault(_Observed.of(layer, has_reference=has_reference), []).append(layer)
    runs = _plan_runs(list(shared), budget_bytes, has_reference=has_reference)
    models = [model] if reference is None else [model, reference]
    for index, run in enumerate(runs):
        if progress is not None:
            progress(index, len(runs))
        values = sorted({value for one in run for value in one.values})
        sessions = [_Session(one, values, threads) for one in models]
        sums = [_Sums(observed, shared[observed][0].site.key) for observed in run]
        num_feeds = _run_feeds(sessions, feeds, sums, max_places, seed)
        if num_feeds == 0:
            raise InputError(
                f"cannot calibrate {model.name}: there must be at least one feed in each of "
                f"{len(runs)} runs, got none"
            )
        del sessions
        for observed in run:
            # Nothing of what was given stays here, least of all into the next run.
            yield tuple(layer.site.key for layer in shared[observed]), sums.pop(0).finish()
    if progress is not None:
        progress(len(runs), len(runs))


def _run_feeds(
    sessions: Sequence[_Session],
    feeds: Iterable[Feed],
    sums: Sequence[_Sums],
    max_places: int | None,
    seed: int,
) -> int:
    """Adds what the sessions give for each feed to the sums, and gives the number of feeds."""
    num_feeds = 0
    for feed in feeds:
        activations = [session.run(feed) for session in sessions]
        for one in sums:
            one.add(activations, max_places, np.random.default_rng((seed, num_feeds)))
        num_feeds += 1
    return num_feeds


@dataclasses.dataclass(frozen=True)
class _Observed:
    """What is observed at once for all layers that have it in common.

    Attributes:
        inputs: what their matrices are multiplied with.
        num_groups: of the matrices.
        num_columns: of the matrices.
        num_rows: of the matrices, where there is a skip value, else 0.
        skip: the value that is added to the product, or None.
    """

    inputs: tuple[LayerInput, ...]
    num_groups: int
    num_columns: int
    num_rows: int
    skip: str | None

    @classmethod
    def of(cls, layer: WeightLayer, *, has_reference: bool) -> _Observed:
        num_groups, num_rows, num_columns = _matrix_shape(layer)
        skip = layer.skip if has_reference else None
        return cls(layer.inputs, num_groups, num_columns, num_rows if skip else 0, skip)

    @property
    def is_diagonal(self) -> bool:
        return self.inputs[0].kind == "indices"

    @property
    def values(self) -> list[str]:
        return [one.value for one in self.inputs] + ([self.skip] if self.skip else [])

    def count_bytes(self, *, has_reference: bool) -> int:
        """Bytes of the sums, and of the float32 product that is added to them."""
        if self.is_diagonal:
            return 16 * self.num_groups * self.num_columns
        column_bytes = self.num_columns * (20 if has_reference else 12) + self.num_rows * 12
        return self.num_groups * self.num_columns * column_bytes


def _plan_runs(
    groups: Sequence[_Observed], budget_bytes: int, *, has_reference: bool
) -> list[list[_Observed]]:
    """Groups in order, each to the first run with room for it."""
    runs: list[list[_Observed]] = []
    rooms: list[int] = []
    for group in groups:
        size = group.count_bytes(has_reference=has_reference)
        for index, room in enumerate(rooms):
            if size <= room:
                runs[index].append(group)
                rooms[index] -= size
                break
        else:
            runs.append([group])
            rooms.append(budget_bytes - size)
    return runs


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

    def __init__(self, observed: _Observed, key: str) -> None:
        self._observed = observed
        self._key = key
        num_groups, k = observed.num_groups, observed.num_columns
        self._second = np.zeros((num_groups, k) if observed.is_diagonal else (num_groups, k, k))
        self._mean = np.zeros((num_groups, k))
        self._cross: Float64 | None = None
        self._reference_mean: Float64 | None = None
        self._skip_cross: Float64 | None = None
        self._skip_shift: Float64 | None = None
        self._has_skip = observed.skip is not None
        self._num_samples = 0

    def add(
        self,
        activations: Sequence[Mapping[str, npt.NDArray[Any]]],
        max_places: int | None,
        rng: np.random.Generator,
    ) -> None:
        for one in self._observed.inputs:
            arrays = [values[one.value] for values in activations]
            if self._observed.is_diagonal:
                k = self._observed.num_columns
                indices = arrays[0].reshape(-1) % k  # negative ones count from the end
                self._second[0] += np.bincount(indices, minlength=k)
                self._num_samples += indices.size
                continue
            outputs = self._subtract_skips(activations, one)
            for rows in cut_rows(arrays, one, outputs=outputs, max_places=max_places, rng=rng):
                self._add_rows(*rows)

    def _subtract_skips(
        self, activations: Sequence[Mapping[str, npt.NDArray[Any]]], one: LayerInput
    ) -> list[npt.NDArray[Any]]:
        """What the reference's skip value is more than it is now; none where it is broadcast."""
        observed = self._observed
        if not self._has_skip or observed.skip is None:
            return []
        now, before = (values[observed.skip] for values in activations)
        shape = (observed.num_groups, observed.num_rows, observed.num_columns)
        self._has_skip = fits_output(activations[0][one.value].shape, one, shape, now.shape)
        return [before - now] if self._has_skip else []

    def _add_rows(
        self,
        rows: npt.NDArray[np.float32],
        reference: npt.NDArray[np.float32] | None = None,
        skip: npt.NDArray[np.float32] | None = None,
    ) -> None:
        self._second += rows.swapaxes(1, 2) @ rows
        self._mean += rows.sum(axis=1, dtype=np.float64)
        self._num_samples += rows.shape[1]
        if reference is not None:
            self._cross, self._reference_mean = _add_product(
                self._cross, self._reference_mean, reference, rows
            )
        if skip is not None:
            self._skip_cross, self._skip_shift = _add_product(
                self._skip_cross, self._skip_shift, skip, rows
            )

    def finish(self) -> Moments:
        if self._observed.is_diagonal:
            self._mean += self._second
        if not self._has_skip:
            self._skip_cross = self._skip_shift = None
        moments = Moments(
            self._second,
            self._mean,
            self._num_samples,
            self._cross,
            self._reference_mean,
            self._skip_cross,
            self._skip_shift,
        )
        for array in vars(moments).values():
            if isinstance(array, np.ndarray):
                array /= max(1, self._num_samples)
        if not np.isfinite(self._second.sum()):
            raise InputError(
                f"cannot calibrate {self._key}: the inputs of its layer must be finite, got NaN or "
                "infinity"
            )
        return moments


def _add_product(
    product: Float64 | None,
    total: Float64 | None,
    left: npt.NDArray[np.float32],
    right: npt.NDArray[np.float32],
) -> tuple[Float64, Float64]:
    """Adds left^T right to a product and left's sum to a total; the first time to zeros."""
    added = left.swapaxes(1, 2) @ right
    if product is None or total is None:
        product, total = np.zeros(added.shape), np.zeros(added.shape[:2])
    product += added
    total += left.sum(axis=1, dtype=np.float64)
    return product, total
