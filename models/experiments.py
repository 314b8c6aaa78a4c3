"""What `reproduce.py` reproduces: recipes, limits, and the figures of the literature."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, TypeAlias

from wl_onnx.finetune import Objective, Stage, WeightlessRecipe

Codec: TypeAlias = Literal["palette", "bloomier"]

CODECS: tuple[Codec, ...] = ("palette", "bloomier")
"""All without loss; filters, retrained around their false positives."""

HELD_OUT = 4000
"""The last training images: they validate, and nothing trains on them."""

QUICK_SAMPLES, QUICK_HELD_OUT = 1000, 200
_QUICK_EPOCHS, _QUICK_BASELINE_EPOCHS = 8, 4
_FULL_SAMPLES = 50_000


@dataclasses.dataclass(frozen=True)
class Published:
    """A ratio that a paper gives.

    Attributes:
        name: of the method.
        ratio: bytes of the dense weights over those that the paper counts.
        source: the paper.
    """

    name: str
    ratio: float
    source: str


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One reproduction.

    Attributes:
        title: what a table is headed with.
        dataset: "MNIST" or "CIFAR-10".
        network: which network, as files are named.
        recipe: how it is made small; codec and seed are put in.
        filter_rate: factor of the recipe's `rate_weight` where there are filters, whose false
            positives leave less room for other errors.
        baseline_epochs: for which the network is trained first; None where its ONNX file is given.
        layer: the weight that is counted alone; None: all initializers.
        max_error: most test error in percent that the comparison allows, or None.
        max_drop: most points of test error above the baseline's, where `max_error` is None.
        at_least: ratio to reach.
        stretch: ratio to hope for.
        published: what others reached within the limit.
    """

    title: str
    dataset: str
    network: str
    recipe: WeightlessRecipe
    filter_rate: float = 0.5
    baseline_epochs: int | None = None
    layer: str | None = None
    max_error: float | None = None
    max_drop: float | None = None
    at_least: float = 1.0
    stretch: float = 1.0
    published: tuple[Published, ...] = ()

    def find_limit(self, baseline_error: float) -> float:
        """The most test error that the comparison allows, in percent.

        Args:
            baseline_error: the baseline's, in percent.
        """
        return baseline_error + (self.max_drop or 0) if self.max_error is None else self.max_error

    def choose_recipe(self, codec: Codec, seed: int) -> WeightlessRecipe:
        """The recipe of one result.

        Args:
            codec: "palette" or "bloomier".
            seed: of all that is drawn.
        """
        rate_weight = self.recipe.rate_weight * (self.filter_rate if codec == "bloomier" else 1)
        return dataclasses.replace(self.recipe, codec=codec, seed=seed, rate_weight=rate_weight)

    def shorten(self, num_samples: int) -> Experiment:
        """The same in few epochs of so few samples; a bit costs what it costs of them all."""
        recipe = self.recipe
        share = _QUICK_EPOCHS / sum(stage.epochs for stage in recipe.stages.values())
        changes: dict[str, Any] = {
            name: dataclasses.replace(stage, epochs=share * stage.epochs)
            for name, stage in recipe.stages.items()
        }
        changes["rate_weight"] = recipe.rate_weight * num_samples / _FULL_SAMPLES
        return dataclasses.replace(
            self,
            title=f"{self.title} (quick)",
            recipe=dataclasses.replace(recipe, **changes),
            baseline_epochs=None if self.baseline_epochs is None else _QUICK_BASELINE_EPOCHS,
        )


_WEIGHTLESS = (
    "B. Reagen et al., Weightless: lossy weight encoding for deep neural network compression, "
    "ICML 2018"
)
_PENALISED = (
    "D. Oktay et al., Scalable model compression by entropy penalized reparameterization, ICLR 2020"
)
_BAYESIAN = "C. Louizos et al., Bayesian compression for deep learning, NeurIPS 2017"
_MIRACLE = "M. Havasi et al., Minimal random code learning, ICLR 2019"
_DEEP_COMPRESSION = "S. Han et al., Deep compression, ICLR 2016"

EXPERIMENTS: dict[str, Experiment] = {
    "lenet300": Experiment(
        title="LeNet-300-100 on MNIST",
        dataset="MNIST",
        network="lenet300",
        baseline_epochs=30,
        recipe=WeightlessRecipe(
            augment="affine",
            rate_weight=1.5,
            begin=Stage(2, 2e-3, schedule="constant"),
            sparsify=Stage(24, 2e-3),
            quantize=Stage(16, 1e-3),
            encode=Stage(6, 1e-3),
            false_positive_share=0.1,
        ),
        filter_rate=0.75,
        max_error=1.9,
        at_least=150,
        stretch=300,
        published=(
            Published("Deep Compression", 40, _DEEP_COMPRESSION),
            Published("entropy-penalised", 124, _PENALISED),
        ),
    ),
    "lenet5": Experiment(
        title="LeNet-5 on MNIST",
        dataset="MNIST",
        network="lenet5",
        baseline_epochs=10,
        recipe=WeightlessRecipe(
            augment="affine",
            rate_weight=1.15,
            unit_weight=2.0,
            begin=Stage(2, 2e-3, schedule="constant"),
            sparsify=Stage(20, 2e-3),
            quantize=Stage(20, 1e-3),
            encode=Stage(4, 1e-3),
            false_positive_share=0.1,
        ),
        max_error=1.0,
        at_least=500,
        stretch=1200,
        published=(
            Published("Weightless", 382, _WEIGHTLESS),
            Published("entropy-penalised", 606, _PENALISED),
            Published("Bayesian compression", 771, _BAYESIAN),
            Published("MIRACLE", 1110, _MIRACLE),
        ),
    ),
    "lenet5-layer": Experiment(
        title="The largest layer of LeNet-5 on MNIST, alone",
        dataset="MNIST",
        network="lenet5",
        baseline_epochs=10,
        layer="fc1.weight",
        recipe=WeightlessRecipe(
            include=("fc1.weight",),
            augment="affine",
            rate_weight=0.25,
            unit_weight=2.0,
            begin=Stage(2, 2e-3, schedule="constant"),
            sparsify=Stage(10, 2e-3),
            quantize=Stage(8, 1e-3),
            encode=Stage(4, 1e-3),
            false_positive_share=0.1,
        ),
        filter_rate=1.0,
        max_drop=0.1,
        at_least=496,
        stretch=1500,
        published=(Published("Weightless, its best layer", 496, _WEIGHTLESS),),
    ),
    "resnet20": Experiment(
        title="ResNet-20 on CIFAR-10",
        dataset="CIFAR-10",
        network="resnet20",
        recipe=WeightlessRecipe(
            objective=Objective(0.5, 0.5, temperature=2.0),
            augment="mirror",
            precision="bfloat16",
            rate_weight=0.1,
            unit_weight=0.0,
            step_ratio=1.6,
            begin=Stage(0, 5e-4, schedule="constant"),
            sparsify=Stage(0.5, 5e-4),
            quantize=Stage(7, 6e-4),
            encode=Stage(0.25, 2e-4),
        ),
        max_drop=1.0,
        at_least=20,
        stretch=35,
    ),
}
"""By the name that the command takes. The constants of each recipe stand here and nowhere else."""
