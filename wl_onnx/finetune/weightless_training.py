"""Sparsify, quantise, and put layer after layer into its filter: the stages of "weightless"."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from wl_onnx.finetune.network import Network
from wl_onnx.finetune.rate_penalty import RatePenalty, measure_scale
from wl_onnx.finetune.rate_search import RateSearch, RateTarget, RateTrial
from wl_onnx.finetune.run import TrainerState

if TYPE_CHECKING:
    import onnx
    from torch import nn

    from wl_onnx.finetune.loop import Trainer
    from wl_onnx.finetune.recipe import Stage
    from wl_onnx.finetune.weightless_recipe import WeightlessRecipe

__all__ = ["WeightlessTraining"]

State = dict[str, Any]

# Of a tensor's penalty scale: what is nearer to 0 once sparsity is learned is made 0.
_NEAR_ZERO = 0.5
# Share of the first stage over which the penalty rises.
_WARMUP = 0.5


class WeightlessTraining:
    """One model on its way into few bytes.

    First its weights train under a penalty for their bits, which leaves few that are not 0; hidden
    units that are left without effect go. Then they train as whole multiples of a step, under the
    same penalty, in one round or until a target is met. Then, for filters, layer after layer, the
    largest first, is encoded, false positives and all, and what is not encoded yet, and the
    centroids of what is, train around what is wrong.

    Source: the order and the retraining are those of B. Reagen et al., "Weightless: lossy weight
    encoding for deep neural network compression" (ICML 2018), section 3.3.

    Args:
        proto: the model; not changed.
        recipe: of the stages; with the codec "palette" there are no filters.
        module: what `to_torch` made of the model as the recipe has it; it is trained.
        make_trainer: makes a trainer of a module.
        num_samples: samples of the training data.
        target: what is to be met.
        accuracy: that of the model, in 0..1; None where it is not known.
        save: told a state after each epoch, from which the training can go on; or None.
        state: such a state, or None.

    Attributes:
        network: the model as it is by now.
    """

    def __init__(
        self,
        proto: onnx.ModelProto,
        recipe: WeightlessRecipe,
        *,
        module: nn.Module,
        make_trainer: Callable[[nn.Module], Trainer],
        num_samples: int,
        target: RateTarget | None = None,
        accuracy: float | None = None,
        save: Callable[[State], None] | None = None,
        state: State | None = None,
    ) -> None:
        self._recipe = recipe
        self._coding = recipe.to_coding()
        self._make_trainer = make_trainer
        self._num_samples = num_samples
        self._accuracy = accuracy
        self._save = save
        self._stage = "begin"
        self._best: State | None = None
        self._resumed: TrainerState | None = None
        trials: list[RateTrial] = []
        if state is None:
            self.network = Network(
                proto, self._coding, module=module, update_statistics=recipe.update_statistics
            )
            self._scales = self._measure_scales()
            self._rate_weight = recipe.rate_weight
        else:
            self.network = self._restore(state["network"])
            self._stage = state["stage"]
            self._scales = dict(state["scales"])
            self._rate_weight = state["rate_weight"]
            self._best = state["best"]
            self._resumed = TrainerState(**state["trainer"])
            trials = [RateTrial(*trial) for trial in state["trials"]]
        target = target or RateTarget()
        self._search = RateSearch(recipe.rate_weight, target, recipe.max_rounds, trials)

    def run(self) -> RateTrial | None:
        """Goes through all stages that are left.

        Returns:
            The round of quantisation that is the result; None where none meets the target, and
            the network is the one that comes closest.

        Raises:
            TrainingError: the loss became NaN or infinite.
            EncodeError: no filter exists for a weight with the hash that the recipe names.
        """
        if self._stage == "begin":
            self._begin()
        if self._stage == "sparsify":
            self._sparsify()
        if self._stage == "quantize":
            self._quantize()
        best = self._search.best
        if best is not None and self._recipe.codec != "palette":
            self._encode()
        return best

    @property
    def trials(self) -> tuple[RateTrial, ...]:
        """The rounds of quantisation so far."""
        return tuple(self._search.trials)

    @property
    def closest(self) -> RateTrial:
        """The round that comes closest to the target."""
        return self._search.closest

    def _begin(self) -> None:
        if self._recipe.begin.epochs:
            self._train("begin", self._recipe.begin, warmup=_WARMUP)
            self._remove_units()
        self._stage = "sparsify"

    def _sparsify(self) -> None:
        recipe = self._recipe
        has_begun = recipe.begin.epochs > 0
        self._train("sparsify", recipe.sparsify, warmup=0.0 if has_begun else _WARMUP)
        self._remove_units()
        self.network.quantize(
            ratio=recipe.step_ratio, dead_zone=recipe.dead_zone, limits=self._limits
        )
        self._stage = "quantize"

    @property
    def _limits(self) -> dict[str, float]:
        """By key, the magnitude below which a weight is made 0."""
        return {key: _NEAR_ZERO * scale for key, scale in self._scales.items()}

    def _remove_units(self) -> None:
        self.network.zero_small(self._limits)
        if self._recipe.remove_units:
            self.network.remove_dead_units()

    def _quantize(self) -> None:
        while True:
            if self._resumed is None:
                chosen = self._search.choose()
                if chosen is None:
                    break
                self._rate_weight = chosen
            name = f"quantize {len(self._search.trials) + 1}"
            accuracy = self._train(name, self._recipe.quantize)
            trial = RateTrial(
                self._rate_weight, self._measure_bytes(), self._measure_drop(accuracy)
            )
            self._search.trials.append(trial)
            if trial in (self._search.best, self._search.closest):
                self._best = self.network.get_state()
        assert self._best is not None  # noqa: S101  there is a round at least
        self.network = self._restore(self._best)
        self._best = None
        self._stage = "encode"

    def _restore(self, state: State) -> Network:
        return Network.from_state(
            state, self._coding, update_statistics=self._recipe.update_statistics
        )

    def _encode(self) -> None:
        recipe = self._recipe
        while True:
            left = self.network.find_filterable(recipe.min_filter_elements)
            if self._resumed is None:
                if not left:
                    break
                self.network.put_into_filter(left[0], share=recipe.false_positive_share)
                name = f"retrain around {left[0].key}"
            else:
                name = self._resumed.stage
            if recipe.encode.epochs:
                self._train(name, recipe.encode)

    def _train(self, name: str, stage: Stage, *, warmup: float = 0.0) -> float | None:
        """Trains all there is under the penalty; the validation accuracy."""
        trainer = self._make_trainer(self.network.module)
        penalized = {
            one.key: one.original
            for one in self.network.tensors
            if one.key in self._scales and one.key not in self.network.filters
        }
        penalty = RatePenalty(
            penalized,
            self._scales,
            rate_weight=self._rate_weight,
            num_samples=self._num_samples,
            unit_weight=self._recipe.unit_weight,
            warmup=warmup,
        )

        def keep(state: TrainerState) -> None:
            if self.network.is_quantized:
                trainer.size_bytes = self.network.measure_bytes()
            if self._save is not None:
                self._save(self._get_state(state))

        resumed, self._resumed = self._resumed, None
        summary = trainer.run(
            name,
            stage.epochs,
            learning_rate=stage.learning_rate,
            schedule=stage.schedule,
            optimizer=stage.optimizer,
            penalty=penalty if penalized else None,
            parameters=self.network.parameters,
            resume=resumed,
            on_epoch=keep,
        )
        return summary.accuracy

    def _measure_bytes(self) -> int:
        """Bytes of the result as far as they can be known before filters are made."""
        recipe = self._recipe
        if recipe.codec == "palette":
            return self.network.measure_bytes()
        return self.network.predict_bytes(
            recipe.min_filter_elements, share=recipe.false_positive_share
        )

    def _measure_scales(self) -> Mapping[str, float]:
        scales = {
            one.key: self._recipe.penalty_scale * measure_scale(one.original)
            for one in self.network.tensors
        }
        return {key: scale for key, scale in scales.items() if scale > 0}

    def _measure_drop(self, accuracy: float | None) -> float | None:
        if accuracy is None or self._accuracy is None:
            return None
        return 100 * (self._accuracy - accuracy)

    def _get_state(self, trainer: TrainerState) -> State:
        return {
            "stage": self._stage,
            "rate_weight": self._rate_weight,
            "scales": dict(self._scales),
            "trials": [dataclasses.astuple(trial) for trial in self._search.trials],
            "best": self._best,
            "network": self.network.get_state(),
            "trainer": {
                field.name: getattr(trainer, field.name) for field in dataclasses.fields(trainer)
            },
        }
