"""What is known of a model's layers before anything is compressed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wl_onnx.runtime.observe import observe_moments
from wl_onnx.runtime.sensitivity import measure_sensitivity

if TYPE_CHECKING:
    from wl_onnx.evaluation import Feeds
    from wl_onnx.graph import CompressibleModel, WeightLayer

__all__ = ["Calibration", "CalibrationSettings", "calibrate"]

Feed = Mapping[str, npt.NDArray[Any]]
Float64 = npt.NDArray[np.float64]
Progress = Callable[[str, int, int], None]

# What each layer is observed on: so many samples for each input of the widest layer that sees one
# row for each sample; at least so many as have these elements together, from 64 to 1,024; and so
# many patches for each input of a convolution, over all samples.
_SAMPLES_PER_INPUT = 5
_MIN_SAMPLES = (64, 1024)
_MIN_ELEMENTS = 1 << 24
_PATCHES_PER_INPUT = 64
_NUM_PATCHES = (1 << 14, 1 << 16)

# Second moments and those with the reference, and a product that is added to them.
_BYTES_OF_MOMENT = 20

# The sensitivity is measured on at most so many samples, fewer where samples are large, and in at
# most so many runs over all layers.
_PROBES = (8, 128)
_PROBE_ELEMENTS = 1 << 19
_RUNS = 4096
_RUNS_OF_LAYER = (8, 512)


@dataclasses.dataclass(frozen=True)
class CalibrationSettings:
    """How a model is calibrated.

    Attributes:
        budget_bytes: for the moments of a run, see `observe_moments`.
        seed: of every draw.
        threads: of onnxruntime and of the core; 0 means one for each core.
    """

    budget_bytes: int = 1 << 30
    seed: int = 0
    threads: int = 0

    def fits(self, layer: WeightLayer) -> bool:
        """Whether a layer can be observed, and its moments fit in the budget."""
        if layer.view is None:
            return False
        num_groups, _, num_columns = layer.view.matrix_shape
        return _BYTES_OF_MOMENT * num_groups * num_columns**2 <= self.budget_bytes


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A model, data, and what the errors of its layers' outputs count.

    Attributes:
        model: the model as it was.
        layers: those whose inputs can be observed, in the order in which they run.
        feeds: the calibration data.
        row_weights: by weight key, float64 `[num_groups, num_rows]`: the loss that a squared error
            of an output of the layer causes.
        settings: how it was made.
    """

    model: CompressibleModel
    layers: tuple[WeightLayer, ...]
    feeds: Feeds
    row_weights: Mapping[str, Float64]
    settings: CalibrationSettings

    @property
    def observed_feeds(self) -> tuple[Feed, ...]:
        """The feeds on which layers are observed, one after another."""
        widths = [
            layer.view.matrix_shape[2]
            for layer in self.layers
            if layer.view is not None and all(one.window is None for one in layer.inputs)
        ]
        least = int(np.clip(_MIN_ELEMENTS // _count_elements(self.feeds), *_MIN_SAMPLES))
        wanted = max(least, _SAMPLES_PER_INPUT * max(widths, default=0))
        return _take_first(self.feeds.batches, wanted)

    def count_places(self, layer: WeightLayer) -> int:
        """At how many places of each sample a layer is observed that sees many."""
        num_columns = layer.view.matrix_shape[2] if layer.view is not None else 1
        num_patches = int(np.clip(_PATCHES_PER_INPUT * num_columns, *_NUM_PATCHES))
        return -(-num_patches // sum(map(_count_samples, self.observed_feeds)))


def calibrate(
    model: CompressibleModel,
    feeds: Feeds,
    layers: Sequence[WeightLayer],
    *,
    temperature: float | None,
    settings: CalibrationSettings | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Measures how much the model's outputs change with those of each layer.

    Args:
        model: the model as it was.
        feeds: unlabelled inputs.
        layers: which layers; each has a view.
        temperature: where the outputs are logits, what they are divided by for the divergence
            that is the loss; None: the loss is the energy of the change over that of each output.
        settings: how it is done.
        progress: called with what is done, the layers done and all of them.

    Raises:
        InputError: a feed does not fit the model.
        ModelError: onnxruntime does not load the model.
    """
    settings = settings or CalibrationSettings()
    probes = _draw_probes(feeds)
    by_key = {layer.site.key: layer for layer in layers}
    max_runs = int(np.clip(_RUNS // max(1, len(by_key)), *_RUNS_OF_LAYER))
    row_weights: dict[str, Float64] = {}
    groups = observe_moments(
        model,
        probes,
        layers=layers,
        budget_bytes=settings.budget_bytes,
        max_places=_NUM_PATCHES[1] // _PROBES[1],
        seed=settings.seed,
        threads=settings.threads,
    )
    for keys, moments in groups:
        measured = measure_sensitivity(
            model,
            probes,
            [by_key[key] for key in keys],
            dict.fromkeys(keys, moments),
            metric="mse" if temperature is None else "kl",
            temperature=temperature or 1.0,
            max_runs=max_runs,
            seed=settings.seed,
            threads=settings.threads,
        )
        for key, weights in measured:
            if progress is not None:
                progress(f"sensitivity of {key}", len(row_weights), len(by_key))
            row_weights[key] = weights
    return Calibration(model, tuple(layers), feeds, row_weights, settings)


def _draw_probes(feeds: Feeds) -> tuple[Feed, ...]:
    """The first few samples, or batches where samples are not known."""
    count = int(np.clip(_PROBE_ELEMENTS // _count_elements(feeds), *_PROBES))
    if feeds.rows is not None:
        if feeds.rows.is_fixed:
            count = max(count, feeds.rows.size)
        return feeds.take(np.arange(min(count, feeds.num_samples))).batches
    return _take_first(feeds.batches, count)


def _take_first(feeds: Sequence[Feed], num_samples: int) -> tuple[Feed, ...]:
    """The first batches with so many samples in all, or all of them."""
    sizes = np.cumsum([_count_samples(feed) for feed in feeds])
    return tuple(feeds[: int(np.searchsorted(sizes, min(num_samples, sizes[-1]))) + 1])


def _count_elements(feeds: Feeds) -> int:
    """Of one sample."""
    sizes = (math.prod(array.shape[1:]) for array in feeds.sample.values() if array.ndim)
    return max(1, sum(sizes))


def _count_samples(feed: Feed) -> int:
    return max((len(array) for array in feed.values() if array.ndim), default=1)
