"""Sums over what is seen of a layer's input, from which its moments follow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError
from wl_onnx.runtime.moments import Moments
from wl_onnx.runtime.patches import cut_rows, fits_input, fits_output

if TYPE_CHECKING:
    from wl_onnx.graph import LayerInput, WeightLayer

__all__ = ["MomentSums", "Observed"]

Float64 = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Observed:
    """What is observed at once for all layers that have it in common.

    Attributes:
        inputs: what their matrices are multiplied with.
        num_groups: of the matrices.
        num_columns: of the matrices.
        num_rows: of the matrices, where there is a skip value, else 0.
        skip: the value that is added to the product, or None.
    """

    inputs: tuple[LayerInput, ...]
    num_groups: int
    num_columns: int
    num_rows: int
    skip: str | None

    @classmethod
    def of(cls, layer: WeightLayer, *, has_reference: bool) -> Observed:
        """What is observed for a layer.

        Args:
            layer: the layer.
            has_reference: whether another model runs beside.

        Raises:
            InputError: the layer's input cannot be observed.
        """
        num_groups, num_rows, num_columns = _matrix_shape(layer)
        skip = layer.skip if has_reference else None
        return cls(layer.inputs, num_groups, num_columns, num_rows if skip else 0, skip)

    @property
    def is_diagonal(self) -> bool:
        """Whether inputs are one-hot, so that their second moments are a diagonal."""
        return self.inputs[0].kind == "indices"

    @property
    def values(self) -> list[str]:
        """Names of all values that are needed."""
        return [one.value for one in self.inputs] + ([self.skip] if self.skip else [])

    def count_bytes(self, *, has_reference: bool) -> int:
        """Bytes of the sums, and of the float32 product that is added to them."""
        if self.is_diagonal:
            return 16 * self.num_groups * self.num_columns
        column_bytes = self.num_columns * (20 if has_reference else 12) + self.num_rows * 12
        return self.num_groups * self.num_columns * column_bytes


class MomentSums:
    """Sums over what was seen of one input.

    Args:
        observed: what is observed.
        key: what an error calls it.
    """

    def __init__(self, observed: Observed, key: str) -> None:
        self._observed = observed
        self._key = key
        self._matrix_shape = (observed.num_groups, observed.num_rows, observed.num_columns)
        num_groups, k = observed.num_groups, observed.num_columns
        self._second = np.zeros((num_groups, k) if observed.is_diagonal else (num_groups, k, k))
        self._mean = np.zeros((num_groups, k))
        self._cross: Float64 | None = None
        self._reference_mean: Float64 | None = None
        self._skip_cross: Float64 | None = None
        self._skip_shift: Float64 | None = None
        self._has_skip = observed.skip is not None
        self._num_samples = 0

    def add(
        self,
        activations: Sequence[Mapping[str, npt.NDArray[Any]]],
        max_places: int | None,
        rng: np.random.Generator,
    ) -> None:
        """Adds what was seen in a batch.

        Args:
            activations: values by name in the model, and in the reference if there is one.
            max_places: of a convolution's places, how many are drawn for each sample.
            rng: draws them.

        Raises:
            InputError: an input does not fit its layer.
        """
        for one in self._observed.inputs:
            arrays = [values[one.value] for values in activations]
            if self._observed.is_diagonal:
                k = self._observed.num_columns
                indices = arrays[0].reshape(-1) % k  # negative ones count from the end
                self._second[0] += np.bincount(indices, minlength=k)
                self._num_samples += indices.size
                continue
            for array in arrays:
                if not fits_input(array.shape, one, self._matrix_shape):
                    raise InputError(
                        f"cannot calibrate {self._key}: the inputs must fit the model, got "
                        f"{one.value} of shape {list(array.shape)} before its layer"
                    )
            outputs = self._subtract_skips(activations, one)
            for rows in cut_rows(arrays, one, outputs=outputs, max_places=max_places, rng=rng):
                self._add_rows(*rows)

    def _subtract_skips(
        self, activations: Sequence[Mapping[str, npt.NDArray[Any]]], one: LayerInput
    ) -> list[npt.NDArray[Any]]:
        """What the reference's skip value is more than it is now; none where it is broadcast."""
        observed = self._observed
        if not self._has_skip or observed.skip is None:
            return []
        now, before = (values[observed.skip] for values in activations)
        shape = activations[0][one.value].shape
        self._has_skip = fits_output(shape, one, self._matrix_shape, now.shape)
        return [before - now] if self._has_skip else []

    def _add_rows(
        self,
        rows: npt.NDArray[np.float32],
        reference: npt.NDArray[np.float32] | None = None,
        skip: npt.NDArray[np.float32] | None = None,
    ) -> None:
        self._second += rows.swapaxes(1, 2) @ rows
        self._mean += rows.sum(axis=1, dtype=np.float64)
        self._num_samples += rows.shape[1]
        if reference is not None:
            self._cross, self._reference_mean = _add_product(
                self._cross, self._reference_mean, reference, rows
            )
        if skip is not None:
            self._skip_cross, self._skip_shift = _add_product(
                self._skip_cross, self._skip_shift, skip, rows
            )

    def finish(self) -> Moments:
        """The moments; nothing can be added after this.

        Raises:
            InputError: an input was not finite.
        """
        if self._observed.is_diagonal:
            self._mean += self._second
        if not self._has_skip:
            self._skip_cross = self._skip_shift = None
        moments = Moments(
            self._second,
            self._mean,
            self._num_samples,
            self._cross,
            self._reference_mean,
            self._skip_cross,
            self._skip_shift,
        )
        for array in vars(moments).values():
            if isinstance(array, np.ndarray):
                array /= max(1, self._num_samples)
        if not np.isfinite(self._second.sum()):
            raise InputError(
                f"cannot calibrate {self._key}: the inputs of its layer must be finite, got NaN or "
                "infinity"
            )
        return moments


def _add_product(
    product: Float64 | None,
    total: Float64 | None,
    left: npt.NDArray[np.float32],
    right: npt.NDArray[np.float32],
) -> tuple[Float64, Float64]:
    """Adds left^T right to a product and left's sum to a total; the first time to zeros."""
    added = left.swapaxes(1, 2) @ right
    if product is None or total is None:
        product, total = np.zeros(added.shape), np.zeros(added.shape[:2])
    product += added
    total += left.sum(axis=1, dtype=np.float64)
    return product, total


def _matrix_shape(layer: WeightLayer) -> tuple[int, int, int]:
    if layer.view is None:
        raise InputError(
            f"cannot observe {layer.site.key}: its layer's input must be observable, got one that "
            f"{layer.reason}"
        )
    return layer.view.matrix_shape
