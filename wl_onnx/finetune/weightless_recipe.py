"""The recipe of Weightless: sparse, clustered, encoded layer by layer and retrained around it."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from wl_onnx.finetune.recipe import FinetuneRecipe, Stage

__all__ = ["WeightlessRecipe"]


@dataclasses.dataclass(frozen=True)
class WeightlessRecipe(FinetuneRecipe):
    """How a model is trained to be small, and retrained behind each layer that is encoded.

    Attributes:
        sparsify: training in which weights become zero.
        cluster: training of the centroids.
        encode: training of the rest after each layer that is frozen as it decodes; its epochs are
            shared by the layers.
    """

    kind: ClassVar[str] = "weightless"

    sparsify: Stage = dataclasses.field(default=Stage(20, 1e-3))
    cluster: Stage = dataclasses.field(default=Stage(5, 3e-4))
    encode: Stage = dataclasses.field(default=Stage(10, 3e-4))
