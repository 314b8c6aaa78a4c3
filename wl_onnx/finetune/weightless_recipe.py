"""The recipe of Weightless: sparse, quantised, encoded layer by layer and retrained around it."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal

from wl_onnx.finetune.recipe import FinetuneRecipe, Stage
from wl_onnx.recipe import Recipe, is_number, is_whole, require_field

__all__ = ["WeightlessRecipe"]


@dataclasses.dataclass(frozen=True)
class WeightlessRecipe(FinetuneRecipe):
    """How a model is trained to be small, and retrained around each layer that is encoded.

    What is not included trains along, and is stored as it is; what is excluded keeps its values,
    though units of it may go.

    The defaults were chosen on LeNet-300-100, whose size at a given validation error they make
    small among a few that were tried.

    Attributes:
        begin: training under the penalty for bits, after which hidden units that it left without
            effect go: what follows is faster for that.
        sparsify: training under the penalty until weights become levels.
        quantize: training of levels; with a target, of each round.
        encode: training after each layer that is put into a filter.
        rate_weight: what a bit may cost of the mean loss, in units of ln(2) / samples; higher gives
            smaller models. With a target it is where the search begins.
        unit_weight: of what hidden units cost beside their weights, see `RatePenalty`.
        max_rounds: most rounds of quantisation, with a target.
        penalty_scale: magnitude, in root mean squares of a tensor as it was, below which a weight
            is as good as 0.
        step_ratio: distance of levels, in mean magnitudes of the weights that are not near 0.
        dead_zone: by how many steps the interval of 0 is wider on either side than a half.
        codec: "bloomier" puts weights into filters; "palette" codes all without loss.
        layout: of filters, see `wl_onnx.Recipe`.
        bits: of filters' cells, 1 to 16, or "auto" for those that give the next field.
        false_positive_share: energy of a filter's false positives over that of its weights.
        min_filter_elements: smaller weights are coded without loss.
        remove_units: whether hidden units without effect are taken out of the graph.
    """

    kind: ClassVar[str] = "weightless"

    begin: Stage = dataclasses.field(default=Stage(2, 2e-3, schedule="constant"))
    sparsify: Stage = dataclasses.field(default=Stage(12, 2e-3))
    quantize: Stage = dataclasses.field(default=Stage(10, 1e-3))
    encode: Stage = dataclasses.field(default=Stage(3, 3e-4))
    rate_weight: float = 1.0
    unit_weight: float = 1.0
    max_rounds: int = 8
    penalty_scale: float = 0.3
    step_ratio: float = 0.7
    dead_zone: float = 0.3
    codec: Literal["bloomier", "palette"] = "bloomier"
    layout: str = "prefix"
    bits: int | Literal["auto"] = "auto"
    false_positive_share: float = 0.3
    min_filter_elements: int = 1024
    remove_units: bool = True

    def __post_init__(self) -> None:
        """Checks every field."""
        super().__post_init__()
        for name in ("rate_weight", "penalty_scale", "step_ratio", "false_positive_share"):
            value = getattr(self, name)
            is_fine = is_number(value) and 0 < value < math.inf
            require_field(is_fine, name, "a number above 0", value)
        for name in ("max_rounds", "min_filter_elements"):
            value = getattr(self, name)
            require_field(is_whole(value) and value >= 1, name, "a whole number above 0", value)
        require_field(
            is_number(self.dead_zone) and 0 <= self.dead_zone <= 1,
            "dead_zone",
            "a number from 0 to 1",
            self.dead_zone,
        )
        require_field(
            is_number(self.unit_weight) and 0 <= self.unit_weight < math.inf,
            "unit_weight",
            "a number of at least 0",
            self.unit_weight,
        )
        require_field(
            self.codec in ("bloomier", "palette"), "codec", "bloomier or palette", self.codec
        )
        require_field(
            isinstance(self.remove_units, bool), "remove_units", "true or false", self.remove_units
        )
        for name in ("sparsify", "quantize"):
            stage = getattr(self, name)
            require_field(stage.epochs > 0, f"epochs of {name}", "above 0", stage.epochs)
        self.to_coding()

    def to_coding(self) -> Recipe:
        """Which weights are selected and how filters are made, as the encoders take it."""
        return Recipe(
            codec=self.codec,
            layout=self.layout,
            clusters=1,  # what there are is decided by the levels
            bits=self.bits,
            include=self.include,
            exclude=self.exclude,
            seed=self.seed,
        )
