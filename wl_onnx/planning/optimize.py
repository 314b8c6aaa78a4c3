"""The smallest file for a stated loss, or the least loss for a stated size."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from wl_onnx.errors import InputError
from wl_onnx.graph import load_model, measure_tensors
from wl_onnx.planning.assembly import assemble
from wl_onnx.planning.layer_coding import LayerCoder, code_layer
from wl_onnx.planning.layer_problem import LayerSettings
from wl_onnx.planning.search import search
from wl_onnx.planning.sequence import code_layers
from wl_onnx.planning.trial import Setting, Trial, form_blocks

if TYPE_CHECKING:
    from wl_onnx.evaluation import Validator
    from wl_onnx.graph import CompressibleModel
    from wl_onnx.planning.calibration import Calibration
    from wl_onnx.planning.encoding import EncodedWeight
    from wl_onnx.recipe import Recipe

__all__ = ["Optimum", "UnmetError", "optimize"]

Progress = Callable[[str, int, int], None]

_log = logging.getLogger(__name__)

# Where the search begins: the loss that a bit may cost in units of `Validator.loss_scale`.
_FIRST_LAM = 2e-8


class UnmetError(InputError):
    """No trial keeps within the limits.

    Attributes:
        excess: by how much the best one passes them, see `Trial.excess`.
    """

    def __init__(self, message: str, excess: float) -> None:
        super().__init__(message)
        self.excess = excess


@dataclasses.dataclass(frozen=True)
class Optimum:
    """The best trial of a search.

    Attributes:
        trial: the trial.
        num_trials: trials made.
        is_interrupted: whether the search was stopped before its end.
    """

    trial: Trial
    num_trials: int
    is_interrupted: bool

    def describe(self, baseline: float | None) -> dict[str, Any]:
        """What the report says of the search.

        Args:
            baseline: the original's accuracy in percent, or its value of the validation function.
        """
        score = self.trial.score
        return {
            "trials": self.num_trials,
            "interrupted": self.is_interrupted,
            "baseline": baseline,
            "drop": score.drop,
            "kl": score.kl,
            "snr_db": score.snr_db if math.isfinite(score.snr_db or 0) else None,
            "predicted_damage": self.trial.coded.damage,
        }


def optimize(
    calibration: Calibration,
    validator: Validator,
    recipe: Recipe,
    blind: Mapping[str, EncodedWeight],
    *,
    max_trials: int = 32,
    target_bytes: int | None = None,
    coder: LayerCoder = code_layer,
    measure_size: Callable[[CompressibleModel], int] = measure_tensors,
    progress: Progress | None = None,
) -> Optimum:
    """Searches for how to code the layers of a model.

    Args:
        calibration: the model and what its layers' errors count.
        validator: has the limits.
        recipe: which weights, and with which codecs.
        blind: by weight key, what stands for weights whose layers were not observed.
        max_trials: most trials of the whole model.
        target_bytes: most that may stand for all initializers; None where the limits are on the
            loss.
        coder: codes each layer.
        measure_size: the size of a model in bytes that is to be least.
        progress: called with what is done, the layers done and those of all trials.

    Raises:
        UnmetError: no trial keeps within the limits.
    """
    keys = [layer.site.key for layer in calibration.layers]
    bench = _Bench(
        calibration, validator, recipe, blind, target_bytes, coder, measure_size, progress,
        max_trials,
    )  # fmt: skip
    factors = (1.0,) * (max(bench.blocks, default=-1) + 1)
    first = Setting(lam=_FIRST_LAM * validator.loss_scale, factors=factors)
    result = search(
        bench.attempt,
        first,
        max_trials=max_trials if keys else 1,
        grows_with_lam=target_bytes is None,
    )
    if result.best is None:
        wanted = "loss" if target_bytes is None else f"size, at most {target_bytes} bytes,"
        closest = min(bench.excesses, default=0.0)
        raise UnmetError(
            f"cannot compress {calibration.model.name}: its {wanted} must keep within the limits, "
            f"got {closest:.0%} more at best in {result.num_trials} trials",
            closest,
        )
    if result.is_interrupted:
        _log.warning("interrupted after %d trials: the best so far is kept", result.num_trials)
    return Optimum(result.best, result.num_trials, result.is_interrupted)


class _Bench:
    """Makes trials."""

    def __init__(
        self,
        calibration: Calibration,
        validator: Validator,
        recipe: Recipe,
        blind: Mapping[str, EncodedWeight],
        target_bytes: int | None,
        coder: LayerCoder,
        measure_size: Callable[[CompressibleModel], int],
        progress: Progress | None,
        max_trials: int,
    ) -> None:
        self._calibration = calibration
        self._validator = validator
        self._recipe = recipe
        self._blind = blind
        self._target_bytes = target_bytes
        self._keys = [layer.site.key for layer in calibration.layers]
        self._coder = coder
        self._measure_size = measure_size
        self._original_bytes = measure_size(calibration.model)
        self._best: Trial | None = None
        self._progress = progress
        self._max_trials = max_trials
        self.blocks = form_blocks([layer.site.num_weights for layer in calibration.layers])
        self.excesses: list[float] = []

    def attempt(self, setting: Setting) -> Trial:
        original = self._calibration.model
        settings = self._spread(setting)
        coded = code_layers(
            self._calibration, settings, self._recipe, coder=self._coder, progress=self._report
        )
        assembly = assemble(original, coded, self._recipe, self._blind)
        model = _copy(original)
        assembly.apply(model)
        sizes = np.zeros(len(setting.factors))
        np.add.at(sizes, self.blocks, [coded.size_bits(key) for key in self._keys])
        trial = Trial(
            setting=setting,
            coded=coded,
            assembly=assembly,
            size_bytes=self._measure_size(model),
            score=self._validator.measure(model),
            shares=tuple(float(share) for share in sizes / max(1.0, sizes.sum())),
            target_bytes=self._target_bytes,
        )
        self.excesses.append(trial.excess)
        if trial.meets and (self._best is None or trial.cost < self._best.cost):
            self._best = trial
        _log.info(
            "trial %d: %.2fx, divergence %.4g, excess %+.3f at %s",
            len(self.excesses), self._original_bytes / trial.size_bytes, trial.divergence,
            trial.excess, setting,
        )  # fmt: skip
        return trial

    def _spread(self, setting: Setting) -> dict[str, LayerSettings]:
        """The settings of each layer."""
        settings = {}
        for key, block in zip(self._keys, self.blocks, strict=True):
            own = self._recipe.for_tensor(key) or self._recipe
            settings[key] = LayerSettings(
                codec=own.codec or "auto",
                lam=setting.lam / setting.factors[block],
                step_ratio=setting.step_ratio,
                damping=setting.damping,
            )
        return settings

    def _report(self, index: int, key: str) -> None:
        if self._progress is None:
            return
        done = len(self.excesses)
        best = (
            "" if self._best is None else f", {self._original_bytes / self._best.size_bytes:.1f}x"
        )
        total = self._max_trials * len(self._keys)
        self._progress(f"trial {done + 1}{best}: {key}", done * len(self._keys) + index, total)


def _copy(model: CompressibleModel) -> CompressibleModel:
    """A copy to change; external data stays where it is."""
    return load_model(model.proto, folder=model.folder)
