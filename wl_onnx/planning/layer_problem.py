"""What a layer's weight is to come close to, and what stands for it in the end."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wl_onnx.codecs import bounds, bundle
from wl_onnx.simplify.compensate import measure_damage

if TYPE_CHECKING:
    from wl_onnx.codecs.bundle import BundleTensor
    from wl_onnx.graph import MatrixView, WeightLayer

__all__ = [
    "CODECS",
    "CodedLayer",
    "LayerProblem",
    "LayerSettings",
    "choose_codebook_type",
    "decode_tensor",
    "round_step",
]

Float64 = npt.NDArray[np.float64]

CODECS = ("auto", "palette", "bloomier", "none")
"""What the settings of a layer may ask for."""


@dataclasses.dataclass(frozen=True)
class LayerSettings:
    """How a layer is coded.

    Attributes:
        codec: "palette", "bloomier", "auto" for the better of both, or "none".
        lam: loss that a bit may cost.
        step_ratio: see `choose_step`.
        damping: see `damp`.
    """

    codec: str = "auto"
    lam: float = 1e-8
    step_ratio: float = 0.12
    damping: float = 0.05


@dataclasses.dataclass(frozen=True)
class LayerProblem:
    """What a layer's weight is to come close to, and what errors count.

    Attributes:
        layer: the layer.
        view: how its weight is read as matrices.
        weight: the original, float64 `[num_groups, num_rows, k]`.
        target: what to come close to, see `retarget`.
        covariance: of the layer's input, `[num_groups, k, k]`.
        row_weights: loss for a squared error of each output `[num_groups, num_rows]`.
        energies: mean square of each input `[num_groups, k]`.
    """

    layer: WeightLayer
    view: MatrixView
    weight: Float64
    target: Float64
    covariance: Float64
    row_weights: Float64
    energies: Float64

    @property
    def row_length(self) -> int:
        """Length of the rows in the tensor's own order."""
        return max(1, math.prod(self.layer.site.shape[1:]))

    def to_natural(self, matrices: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Codes as matrices in the tensor's own order, flat."""
        natural = np.ascontiguousarray(self.view.from_matrices(matrices)).reshape(-1)
        return natural.astype(np.int64)

    def to_matrices(self, natural: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
        """The inverse of `to_natural`."""
        matrices: npt.NDArray[np.integer] = self.view.to_matrices(
            natural.reshape(self.layer.site.shape)
        )
        return matrices

    def measure(self, values: Float64) -> float:
        """The loss that is predicted for a weight, as matrices."""
        return measure_damage(values - self.target, self.covariance, self.row_weights)

    def measure_error(self, values: Float64) -> dict[str, float | None]:
        """What the report says of the error of a weight, as matrices."""
        error = float(np.square(values - self.weight).sum())
        energy = float(np.square(self.weight).sum())
        return {"error_share": bounds.epsilon(error, energy), "meets_share": None}


@dataclasses.dataclass(frozen=True)
class CodedLayer:
    """A layer's weight as it is stored.

    Attributes:
        codec: "palette", "bundle", "bloomier" or "analog".
        blob: what is stored; empty for a part of a bundle, which has it with others.
        tensor: the part of a bundle.
        size_bits: what is stored; of a part of a bundle what it takes by itself, of analog cells
            as many digital bits as the cells could hold.
        values: what is decoded, as matrices.
        damage: the loss that is predicted.
        fields: those fields of `TensorReport` that the coding decides.
        tried: by codec, size in bits and predicted loss, of the others as they are predicted.
    """

    codec: str
    blob: bytes
    tensor: BundleTensor | None
    size_bits: int
    values: Float64
    damage: float
    fields: Mapping[str, Any]
    tried: Mapping[str, tuple[int, float]] = dataclasses.field(default_factory=dict)

    @property
    def family(self) -> str:
        """The codec as settings have it: what is lossless is a palette, a bundle's part too."""
        return self.codec if self.codec in ("bloomier", "analog") else "palette"

    def cost(self, lam: float) -> float:
        """Damage plus lambda times bits."""
        return self.damage + lam * self.size_bits


def decode_tensor(tensor: BundleTensor) -> npt.NDArray[np.float32]:
    """What a part of a bundle decodes to: float32 [n]."""
    return bundle.decode(bundle.encode([tensor]))[0]


def round_step(step: float) -> float:
    """A step of few bits, which takes less room: 11 of them, as in float16, in any range."""
    mantissa, exponent = np.frexp(step)
    return float(np.ldexp(np.rint(mantissa * 2048), exponent - 11))


def choose_codebook_type(codebook: npt.NDArray[np.floating]) -> str:
    """The smaller of float16 and float32 that moves no centroid far towards its neighbours.

    Args:
        codebook: ascending.

    Returns:
        "float16" or "float32".
    """
    with np.errstate(over="ignore"):
        moved = np.abs(codebook.astype(np.float16) - codebook.astype(np.float64))
    distance = float(np.diff(codebook).min(initial=np.abs(codebook).max()))
    return "float16" if moved.max() <= distance / 4 else "float32"
