"""Calibration: second moments of what each weight is multiplied with.

The model runs with its layers' inputs as further outputs, a few layers at a time, so that no more
is held than one batch of activations and the moments that a budget allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError
from wl_onnx.graph import (
    CompressibleModel,
    WeightLayer,
    find_layers,
)
from wl_onnx.runtime.part import PartSession
from wl_onnx.runtime.sums import MomentSums, Observed

if TYPE_CHECKING:
    from wl_onnx.runtime.moments import Moments

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
    shared: dict[Observed, list[WeightLayer]] = {}
    for layer in layers:
        shared.setdefault(Observed.of(layer, has_reference=has_reference), []).append(layer)
    runs = _plan_runs(list(shared), budget_bytes, has_reference=has_reference)
    models = [model] if reference is None else [model, reference]
    for index, run in enumerate(runs):
        if progress is not None:
            progress(index, len(runs))
        values = sorted({value for one in run for value in one.values})
        sessions = [PartSession(one, values, threads=threads) for one in models]
        sums = [MomentSums(observed, shared[observed][0].site.key) for observed in run]
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
    sessions: Sequence[PartSession],
    feeds: Iterable[Feed],
    sums: Sequence[MomentSums],
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


def _plan_runs(
    groups: Sequence[Observed], budget_bytes: int, *, has_reference: bool
) -> list[list[Observed]]:
    """Groups in order, each to the first run with room for it."""
    runs: list[list[Observed]] = []
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
