"""Measuring models whose weights are read with noise: the mean over many writes and reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from onnx import ModelProto

from wl_onnx.errors import InputError
from wl_onnx.evaluation.limits import Limits, Score, Validator
from wl_onnx.graph import find_stored, load_model, restore_weights
from wl_onnx.runtime.weights import WeightReader

if TYPE_CHECKING:
    from wl_onnx.evaluation.data import Feeds
    from wl_onnx.graph import CompressibleModel

__all__ = ["MonteCarloValidator"]

# A model is beyond the limits for certain where so many reads, or more, pass them by so many
# standard errors of their mean.
_FIRST_READS = 4
_CERTAIN = 2.0
_SEEDS = 1 << 63


class MonteCarloValidator(Validator):
    """Measures models by the mean over several writes, each with a read.

    A model that has no analog weights is measured once.

    Args:
        original: the model before compression.
        feeds: what the models are run on.
        limits: what a model may lose on average.
        time_s: time since programming at which weights are read.
        reads: how many writes and reads, at least 1.
        seed: of the first; the others follow.
        threads: threads of onnxruntime; 0 leaves its default.

    Attributes:
        spread: deviation of the loss (drop, without labels KL divergence, else SNR) over the writes
            of the model that was measured last; 0 where there was one.
        reads: as given.
    """

    def __init__(
        self,
        original: CompressibleModel,
        feeds: Feeds,
        limits: Limits,
        *,
        time_s: float,
        reads: int = 20,
        seed: int = 0,
        threads: int = 0,
    ) -> None:
        if reads < 1:
            raise InputError(f"cannot validate: reads must be at least 1, got {reads}")
        super().__init__(original, feeds, limits, threads=threads)
        self._time_s = time_s
        self._seed = seed
        self.reads = reads
        self.spread = 0.0

    def measure(self, model: CompressibleModel | ModelProto) -> Score:
        """The mean over the writes; see `Validator.measure`."""
        loaded = load_model(model) if isinstance(model, ModelProto) else model
        if not any(one.codec == "analog" for one in find_stored(loaded)):
            self.spread = 0.0
            return super().measure(loaded)
        scores: list[Score] = []
        for index in range(self.reads):
            scores.append(super().measure(self._read(loaded, (self._seed + index) % _SEEDS)))
            if self._is_beyond([one.excess for one in scores]):
                break
        self.spread = _measure_spread(scores)
        return self._average(scores)

    def _read(self, model: CompressibleModel, seed: int) -> CompressibleModel:
        """The model with the weights of one write and read as initializers, which run faster."""
        copy = load_model(model.proto, folder=model.folder)
        reader = WeightReader(seed, seed, self._time_s, threads=self._threads)
        restore_weights(copy, reader)
        return copy

    def _is_beyond(self, excesses: Sequence[float]) -> bool:
        if len(excesses) < _FIRST_READS:
            return False
        if not np.isfinite(excesses).all():
            return max(excesses) > 0
        error = float(np.std(excesses, ddof=1)) / math.sqrt(len(excesses))
        return float(np.mean(excesses)) > _CERTAIN * error

    def _average(self, scores: Sequence[Score]) -> Score:
        drop, kl = _mean([one.drop for one in scores]), _mean([one.kl for one in scores])
        snr_db = _mean_snr([one.snr_db for one in scores])
        excess = self._find_excess(drop, kl, math.inf if snr_db is None else snr_db)
        if any(one.excess == math.inf for one in scores):
            excess = math.inf
        return Score(
            drop=drop,
            kl=kl,
            snr_db=snr_db,
            divergence=float(np.mean([one.divergence for one in scores])),
            meets=excess <= 0,
            excess=excess,
        )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _mean_snr(values: Sequence[float | None]) -> float | None:
    """The SNR of the mean noise."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    noise = float(np.mean([10 ** (-value / 10) for value in known]))
    return -10 * math.log10(noise) if noise > 0 else math.inf


def _measure_spread(scores: Sequence[Score]) -> float:
    for name in ("drop", "kl", "snr_db"):
        values = [getattr(one, name) for one in scores]
        if values[0] is not None and all(map(math.isfinite, values)):
            return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return 0.0
