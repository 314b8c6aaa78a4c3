"""Calibration layer by layer, while the layers before are being compressed.

Once a layer is compressed, what it gives does not change again. So the values that later layers
need are kept, batch by batch, and each step runs the nodes between two layers instead of the whole
model up to there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import helper

from wl_onnx.errors import InputError
from wl_onnx.graph import find_live, follows_from, hash_part
from wl_onnx.runtime.part import PartSession, is_plain
from wl_onnx.runtime.sums import MomentSums, Observed

if TYPE_CHECKING:
    from wl_onnx.graph import CompressibleModel, WeightLayer
    from wl_onnx.runtime.moments import Moments

__all__ = ["StepwiseObserver"]

Feed = Mapping[str, npt.NDArray[Any]]


class StepwiseObserver:
    """Gives the moments of one layer after another, each as `observe_moments` would.

    Layers are best asked for in the order of `find_layers`, and models changed no earlier than at
    the last one. Anything else is right too, but runs from the model's inputs again.

    Args:
        reference: the model before it was compressed.
        feeds: input name to array, batch after batch.
        budget_bytes: for the values that are kept, of each of the two models; where they do not
            fit, the next step runs from the model's inputs again.
        seed: see `observe_moments`.
        threads: threads of onnxruntime; 0 leaves its default.

    Raises:
        InputError: there is no feed.
    """

    def __init__(
        self,
        reference: CompressibleModel,
        feeds: Sequence[Feed],
        *,
        budget_bytes: int = 1 << 29,
        seed: int = 0,
        threads: int = 0,
    ) -> None:
        if not feeds:
            raise InputError(
                f"cannot calibrate {reference.name}: there must be at least one feed, got none"
            )
        self._reference = reference
        self._tracks = [_Track(feeds, budget_bytes, threads) for _ in range(2)]
        self._seed = seed

    def observe(
        self, model: CompressibleModel, layer: WeightLayer, *, max_places: int | None = None
    ) -> Moments:
        """The moments of a layer's input in a model, with those that need the reference.

        Args:
            model: the model as it is now, whose values have the reference's names.
            layer: a layer of the reference.
            max_places: see `observe_moments`.

        Raises:
            InputError: a feed does not fit the model, an input is not finite, or the layer's
                cannot be observed.
            ModelError: onnxruntime does not load the model.
        """
        observed = Observed.of(layer, has_reference=True)
        sums = MomentSums(observed, layer.site.key)
        models = (model, self._reference)
        runs = [
            track.run(one, layer.site.name, observed.values)
            for track, one in zip(self._tracks, models, strict=True)
        ]
        for index, activations in enumerate(zip(*runs, strict=True)):
            sums.add(activations, max_places, np.random.default_rng((self._seed, index)))
        return sums.finish()


class _Track:
    """One model's values, as far as it has been run."""

    def __init__(self, feeds: Sequence[Feed], budget_bytes: int, threads: int) -> None:
        self._feeds = feeds
        self._budget_bytes = budget_bytes
        self._threads = threads
        self._kept: list[Feed] = []
        self._hash = ""

    def run(
        self, model: CompressibleModel, weight: str, values: Sequence[str]
    ) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Values of the model, batch after batch; keeps what is live where a weight is used."""
        live = find_live(model, weight)
        batches = self._take_kept(model, [*live, *values])
        given = None
        if batches is not None:
            types = {name: array.dtype for name, array in batches[0].items()}
            given = {n: helper.np_dtype_to_tensor_dtype(one) for n, one in types.items()}
        batches = list(self._feeds) if batches is None else batches
        known = given.keys() if given else set()
        wanted = sorted({*live, *values} - known)
        session = PartSession(model, wanted, given=given, threads=self._threads) if wanted else None
        kept: list[Feed] = []
        room, keeps = self._budget_bytes, True
        batches.reverse()
        while batches:
            batch = batches.pop()
            outputs = session.run(batch) if session else {}
            found = {**batch, **outputs}
            if keeps:
                kept.append({name: found[name] for name in live})
                room -= sum(array.nbytes for array in kept[-1].values() if is_plain(array))
                keeps = room >= 0 and all(is_plain(array) for array in kept[-1].values())
            if not keeps:
                kept.clear()
            yield {name: found[name] for name in values}
            del batch, outputs, found
        self._kept = kept
        self._hash = hash_part(model, live) if kept else ""

    def _take_kept(self, model: CompressibleModel, values: Sequence[str]) -> list[Feed] | None:
        """What was kept, where the values follow from it and it still is what the model gives."""
        kept, self._kept = self._kept, []
        if not kept or hash_part(model, kept[0]) != self._hash:
            return None
        return kept if follows_from(model, values, kept[0]) else None
