"""Weights as analog cells would give them back: a parametrisation that draws a read at each use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from wl_onnx.errors import InputError
from wl_onnx.planning import cell_writer

if TYPE_CHECKING:
    from wl_onnx.analog.read_error import ReadError
    from wl_onnx.planning.cell_writer import CellWriter

__all__ = ["Gradient", "NoisyRead"]

Gradient = Literal["straight-through", "exact"]

_NUM_KNOTS = 257
# The root of 0 has no slope.
_LEAST_VARIANCE = 1e-20
_BUFFERS = ("_edges", "_errors", "_zero_error", "_num_cells", "_scales")


# nn.Module is of no known type where torch is not installed.
class NoisyRead(nn.Module):  # type: ignore[misc, unused-ignore]
    """A weight as it is read from analog cells; for `torch.nn.utils.parametrize`.

    In training mode each call is a write and a read of its own: other programming noise, drift and
    read noise. The tensor is laid on cells as `wl_onnx.store` would with the same storage, and the
    errors are normal numbers with the mean and the deviation that `store` reckons with, by place in
    the range, after the way back through the response and with the drift compensated on average.
    What is not in it: the rounding of targets to levels, the skew of reads near 0, and the noise of
    the reference read. In evaluation mode the weight is given as it is.

    Zeros are exact where the storage protects them ("sparsity"), but their gradient is not held
    back: a mask before this one does that. A parameter that a module takes at several places is
    read anew at each of them, unless `torch.nn.utils.parametrize.cached` is around the call.

    Args:
        writer: has the storage: device, time, cells, protections. Tensors may share it.
        costs: the loss of a squared error of each weight, in the weight's shape; None: all count 1.
        channel_axis: whose lines have scales of their own where the storage asks for them.
        refresh_every: after so many reads the layout is found anew for the weight as it is then.
        strength: factor of the errors; 1 is the device's. May be set at any time.
        gradient: "straight-through": the read's gradient is the weight's own. "exact": errors are
            differentiated as well, so that weights are drawn to where they are read best.
        seed: of the draws, 0 to 2**63 - 1. Draws are the same on the same kind of device.

    Raises:
        InputError: a number is out of range.

    Example:
        >>> from wl_onnx.analog import Storage, find_device
        >>> from wl_onnx.planning.cell_writer import CellWriter
        >>> read = NoisyRead(CellWriter(Storage(find_device("pcm-nandakumar2019"))), seed=1)
        >>> weight = torch.linspace(-1, 1, 1000)
        >>> bool(0.01 < (read(weight) - weight).std() < 0.1)
        True
    """

    _edges: Tensor  # of magnitudes, [num_ranges + 1]
    _errors: Tensor  # see _tabulate
    _zero_error: Tensor | None  # of pairs: the errors of the other cell, which holds 0
    _num_cells: Tensor | None  # of each weight; None: one
    _scales: Tensor | None  # of channels

    def __init__(
        self,
        writer: CellWriter,
        *,
        costs: npt.NDArray[np.float64] | None = None,
        channel_axis: int = 0,
        refresh_every: int = 200,
        strength: float = 1.0,
        gradient: Gradient = "straight-through",
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check("refresh_every", refresh_every, "at least 1", refresh_every >= 1)
        _check("strength", strength, "finite and not negative", 0 <= strength < float("inf"))
        is_known = gradient in ("straight-through", "exact")
        _check("gradient", gradient, "straight-through or exact", is_known)
        self.strength = strength
        self._writer = writer
        self._costs = costs
        self._channel_axis = channel_axis
        self._refresh_every = refresh_every
        self._gradient = gradient
        self._generator: torch.Generator | None = None
        self.restart(seed)
        self._spans_zero = False  # whether ranges lie about zero: of a cell with offset
        for name in _BUFFERS:
            self.register_buffer(name, None, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """One read in training mode, the weight itself in evaluation mode; same shape and type."""
        if not self.training or self.strength == 0:
            return weight
        if self._reads_left <= 0:
            self.refresh(weight)
        self._reads_left -= 1
        if self._gradient == "exact":
            return self._read(weight)
        with torch.no_grad():
            read = self._read(weight)
        return read + (weight - weight.detach())

    def restart(self, seed: int) -> None:
        """Draws from a new seed, and finds the layout anew at the next read.

        Args:
            seed: 0 to 2**63 - 1.
        """
        _check("seed", seed, "in 0..2**63 - 1", 0 <= seed < 1 << 63)
        self._seed = seed
        self._generator = None
        self._reads_left = 0

    def refresh(self, weight: Tensor) -> None:
        """Lays the weight on cells anew: ranges, curve, scales, and cells of each weight.

        Args:
            weight: the weight, finite.

        Raises:
            InputError: the costs are of another shape, or fewer cells are asked for than there are
                weights to store.
        """
        storage = self._writer.storage
        if self._costs is not None and self._costs.shape != tuple(weight.shape):
            wanted = f"of the weight's shape {list(weight.shape)}"
            _check("costs", list(self._costs.shape), wanted, False)
        values = weight.detach().cpu().double().numpy()
        kept = values != 0 if "sparsity" in storage.protect else np.ones(values.shape, bool)
        tensor = cell_writer.Tensor(values, kept, 0, self._costs)
        layout = self._writer.lay_out(tensor, channel_axis=self._channel_axis)
        scale, edges = layout.mapping.round_edges()
        kind = layout.mapping.kind
        self._spans_zero = kind == "offset"
        self._reads_left = self._refresh_every
        error = self._writer.find_error(layout.mapping.curve)
        errors = _tabulate(error)
        num_cells = layout.count_cells(values.size).reshape(values.shape)
        arrays = (
            scale * edges.astype(np.float64),
            errors,
            errors[:, 0] if kind == "pair" else None,
            num_cells if (num_cells != 1).any() else None,
            layout.scales,
        )
        for name, array in zip(_BUFFERS, arrays, strict=True):
            setattr(self, name, None if array is None else torch.as_tensor(array).to(weight))

    def _read(self, weight: Tensor) -> Tensor:
        scaled = weight if self._scales is None else weight / self._scales
        magnitudes = scaled.abs()
        ranges = torch.bucketize(magnitudes.detach(), self._edges[1:-1], right=True)
        high = self._edges[ranges + 1]
        low = -high if self._spans_zero else self._edges[ranges]
        if self._zero_error is not None:
            low = torch.zeros_like(high)  # pairs: the ranges lie within one another
        values = scaled if self._spans_zero else magnitudes
        width = high - low
        # Neighbouring edges may be one to float16: a range without a width has no error either.
        positions = ((values - low) / torch.where(width > 0, width, 1.0)).clamp(0.0, 1.0)
        read = low + width * (positions + self.strength * self._draw_errors(positions))
        if not self._spans_zero:
            read = torch.where(scaled < 0, -read, read)
        if self._scales is not None:
            read = read * self._scales
        if "sparsity" in self._writer.storage.protect:
            read = torch.where(weight == 0, torch.zeros_like(read), read)
        return read

    def _draw_errors(self, positions: Tensor) -> Tensor:
        """Errors of positions that are written and read once."""
        bias, bend, variance = _interpolate(self._errors, positions)
        if self._zero_error is not None:
            zero_bias, zero_bend, zero_variance = self._zero_error
            bias, bend, variance = bias - zero_bias, bend - zero_bend, variance + zero_variance
        if self._num_cells is not None:
            bend, variance = bend / self._num_cells, variance / self._num_cells
        noise = torch.empty_like(positions).normal_(generator=self._find_generator(positions))
        return bias + bend + torch.sqrt(variance.clamp(min=_LEAST_VARIANCE)) * noise

    def _find_generator(self, like: Tensor) -> torch.Generator:
        if self._generator is None or self._generator.device != like.device:
            self._generator = torch.Generator(like.device).manual_seed(self._seed)
        return self._generator


def _tabulate(error: ReadError) -> npt.NDArray[np.float64]:
    """Bias, bend and variance at positions that lie evenly in 0..1, float64 [3, _NUM_KNOTS]."""
    positions = np.linspace(0.0, 1.0, _NUM_KNOTS)
    rows = error.bias, error.bend, np.square(error.deviation)
    return np.stack([np.interp(positions, error.positions, one) for one in rows])


def _interpolate(table: Tensor, positions: Tensor) -> list[Tensor]:
    """The rows of a table at positions between its knots, each in the positions' shape."""
    places = positions.reshape(-1) * (_NUM_KNOTS - 1)
    below = places.detach().floor().clamp(max=_NUM_KNOTS - 2)
    shares, index = places - below, below.long()
    return [
        torch.addcmul(row.index_select(0, index), slopes.index_select(0, index), shares).reshape(
            positions.shape
        )
        for row, slopes in zip(table, table.diff(dim=1), strict=True)
    ]


def _check(name: str, value: Any, wanted: str, holds: bool) -> None:
    if not holds:
        raise InputError(f"cannot read with noise: {name} must be {wanted}, got {value}")
