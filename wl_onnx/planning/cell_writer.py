"""A weight tensor into analog cells: its mapping, its allocation and its blob."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wl_onnx.analog.allocation import allocate_lines, spread_lines
from wl_onnx.analog.choice import choose_adaptive, choose_mapping
from wl_onnx.analog.curve import apply_curve
from wl_onnx.analog.ledger import Ledger
from wl_onnx.analog.mapping import map_weights
from wl_onnx.analog.profile import make_profile
from wl_onnx.analog.read_error import ReadPredictor, find_reference_level
from wl_onnx.codecs import bounds, cells
from wl_onnx.codecs.cells import CellInfo, CellTensor, Lines, Symbol
from wl_onnx.errors import InputError
from wl_onnx.evaluation.tensor_report import analog_fields
from wl_onnx.planning.palette import row_lengths

if TYPE_CHECKING:
    from wl_onnx.analog.allocation import LineExponents
    from wl_onnx.analog.mapping import MappedWeights, Mapping
    from wl_onnx.analog.read_error import ReadError
    from wl_onnx.analog.storage import Storage

__all__ = ["CellWriter", "Layout", "StoredTensor", "Tensor"]

Float64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# The reference read takes in at most so many cells; see FORMAT.md.
_REFERENCE_CELLS = 1 << 14


@dataclasses.dataclass(frozen=True)
class Tensor:
    """What is to be stored.

    Attributes:
        weights: float64 in the tensor's shape, finite.
        kept: which have cells; the others are exact zeros. The same shape.
        number: of the tensor in its model, for its draws.
        costs: the loss of a squared error of each weight, in the same shape; None: all count 1.
    """

    weights: Float64
    kept: Mask
    number: int
    costs: Float64 | None = None

    @property
    def lines(self) -> tuple[int, int]:
        """Rows and columns, as cells are allocated to them."""
        rows = self.weights.shape[0] if self.weights.ndim else 1
        return rows, self.weights.size // rows

    def weigh(self, energy: Float64) -> Float64:
        """The loss of errors with an energy at each weight, in the tensor's shape."""
        return energy if self.costs is None else energy * self.costs


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a tensor is laid on cells.

    Attributes:
        mapping: of the weights over their scales.
        scales: of channels, float64 that broadcasts against the weights, or None.
        lines: how many cells weights get, by row and column; None: each as many.
        cells_each: how many; 1 with lines.
    """

    mapping: Mapping
    scales: Float64 | None
    lines: LineExponents | None
    cells_each: int

    def count_cells(self, num_weights: int) -> npt.NDArray[np.int64]:
        """The cells of each weight that is stored, [num_weights]."""
        if self.lines is not None:
            return spread_lines(self.lines).reshape(-1)
        return np.full(num_weights, self.cells_each)


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor in cells.

    Attributes:
        blob: for an `AnalogRead` node.
        values: what the targets stand for, without noise, float64 in the tensor's shape.
        noise: the expected energy of the error that a read adds to each weight, same shape.
        ledger: what the tensor takes.
        info: what the blob says of itself.
    """

    blob: bytes
    values: Float64
    noise: Float64
    ledger: Ledger
    info: CellInfo

    def describe(self, original: Float64) -> dict[str, Any]:
        """The fields of a `TensorReport`.

        Args:
            original: the weights before anything was done to them, in any shape.
        """
        flat = original.reshape(-1)
        energy = float(np.square(flat).sum())
        error = float(np.square(self.values.reshape(-1) - flat).sum())
        return {
            **analog_fields(self.info),
            "epsilon": None,
            "error_share": bounds.epsilon(error, energy),
            "noise_share": bounds.epsilon(float(self.noise.sum()), energy),
        }


class CellWriter:
    """Stores tensors in the cells of one storage.

    Args:
        storage: device, time and flags.
        threads: threads to use; 0 means one for each core. The result does not depend on it.

    Attributes:
        storage: as given.
    """

    def __init__(self, storage: Storage, *, threads: int = 0) -> None:
        self.storage = storage
        self._threads = threads
        self._predictor = ReadPredictor(
            storage.device,
            storage.time_s,
            inverts_response=storage.inverts_response,
            compensates_drift=storage.compensates_drift,
        )
        self._errors: dict[float, ReadError] = {}

    def find_error(self, curve: float) -> ReadError:
        """The error of one cell at the storage's time; see `ReadPredictor`."""
        if curve not in self._errors:
            self._errors[curve] = self._predictor.predict(curve)
        return self._errors[curve]

    def store(self, tensor: Tensor, *, channel_axis: int = 0) -> StoredTensor:
        """Stores a tensor as the storage's flags say.

        Args:
            tensor: the tensor.
            channel_axis: whose lines have scales of their own where the storage asks for them.

        Raises:
            InputError: fewer cells are asked for than there are weights to store.
        """
        layout = self.lay_out(tensor, channel_axis=channel_axis)
        channels = None
        if layout.scales is not None:
            channels = layout.scales, channel_axis
            tensor = _divide(tensor, layout.scales)
        return self.store_mapped(
            tensor,
            layout.mapping,
            lines=layout.lines,
            cells_each=layout.cells_each,
            channels=channels,
        )

    def lay_out(self, tensor: Tensor, *, channel_axis: int = 0) -> Layout:
        """How `store` lays a tensor on cells; takes what it does."""
        storage = self.storage
        scales = None
        if storage.scale == "channel":
            scales = _find_channel_scales(tensor, channel_axis)
            tensor = _divide(tensor, scales)
        profile = make_profile(tensor.weights, tensor.kept, tensor.costs)
        if "adaptive" in storage.protect:
            choice = choose_adaptive(profile, storage.kind, storage.ranges, self.find_error)
        else:
            choice = choose_mapping(profile, storage.kind, self.find_error)
        if "sensitivity" in storage.protect:
            return Layout(choice.mapping, scales, self._allocate(tensor, choice.mapping), 1)
        return Layout(choice.mapping, scales, None, int(storage.cells))

    def store_mapped(
        self,
        tensor: Tensor,
        mapping: Mapping,
        *,
        lines: LineExponents | None = None,
        cells_each: int = 1,
        channels: tuple[Float64, int] | None = None,
    ) -> StoredTensor:
        """Stores a tensor by a mapping.

        Args:
            tensor: its weights divided by the scales of their channels where there are any.
            mapping: how weights are laid on cells.
            lines: how many cells weights get, by row and column; None: each as many.
            cells_each: how many; 1 with lines.
            channels: scales that broadcast against the weights, and their axis.
        """
        storage, weights = self.storage, tensor.weights
        mapped = map_weights(weights.reshape(-1), tensor.kept.reshape(-1), mapping)
        targets = _find_targets(mapped, mapping.curve)
        scales, inner = None, 1
        if channels is not None:
            scales = channels[0].reshape(-1).astype(np.float16)
            inner = math.prod(weights.shape[channels[1] + 1 :])
        columns = tensor.lines[1]
        blob = cells.encode(
            CellTensor(
                num_weights=weights.size,
                symbols=_form_symbols(mapped, mapping.curve, cells_each),
                labels=mapped.labels if len(mapped.low) > 1 else None,
                levels=np.rint(targets * (2**storage.write_bits - 1)).astype(np.uint16),
                device_record=storage.device.record(),
                write_bits=storage.write_bits,
                is_pair=mapped.kind == "pair",
                inverts_response=storage.inverts_response,
                compensates_drift=storage.compensates_drift and storage.device.has_drift,
                tensor=tensor.number,
                write_seed=storage.seed,
                time_s=storage.time_s,
                reference_level=find_reference_level(
                    storage.device, targets[:_REFERENCE_CELLS], storage.time_s
                ),
                scale=mapped.scale,
                channel_scales=scales,
                channel_inner=inner,
                row_exponents=None if lines is None else Lines(lines.rows, columns),
                column_exponents=None if lines is None else Lines(lines.columns, 1),
                row_length=row_lengths(weights.shape),
            ),
            threads=self._threads,
        )
        num_cells = np.full(weights.size, cells_each)
        if lines is not None:
            num_cells = spread_lines(lines).reshape(-1)
        noise = self._predict_noise(mapped, mapping.curve, num_cells).reshape(weights.shape)
        if channels is not None:
            noise = noise * np.square(channels[0])
        info = cells.inspect(blob)
        values = cells.decode(blob, threads=self._threads).astype(np.float64)
        ledger = Ledger(
            info.num_cells, info.digital_bits, info.num_weights, storage.digital_bits_per_cell
        )
        return StoredTensor(blob, values.reshape(weights.shape), noise, ledger, info)

    def _predict_noise(
        self, mapped: MappedWeights, curve: float, num_cells: npt.NDArray[np.int64]
    ) -> Float64:
        """The expected energy of the error that a read adds to each weight, flat."""
        stored = mapped.is_stored[mapped.labels]
        error = self.find_error(curve)
        own = num_cells[stored]
        find_energy = error.pair_energy if mapped.kind == "pair" else error.energy
        energy = find_energy(np.abs(mapped.positions), own)
        widths = mapped.high.astype(np.float64) - mapped.low.astype(np.float64)
        noise = np.zeros(mapped.labels.size)
        noise[stored] = energy * np.square(mapped.scale * widths[mapped.labels[stored]])
        return noise

    def _allocate(self, tensor: Tensor, mapping: Mapping) -> LineExponents:
        """Cells by reverse water-filling, as many in all as the storage has for all weights."""
        storage, kept = self.storage, tensor.kept
        budget = storage.cells * kept.size
        if budget < kept.sum():
            raise InputError(
                f"cannot store weights: cells must be at least {kept.mean():.3g}, one for each "
                f"weight that is not pruned, got {storage.cells:g}"
            )
        mapped = map_weights(tensor.weights.reshape(-1), kept.reshape(-1), mapping)
        ones = np.ones(kept.size, np.int64)
        noise = self._predict_noise(mapped, mapping.curve, ones).reshape(kept.shape)
        loss = tensor.weigh(noise).reshape(tensor.lines)
        return allocate_lines(loss, kept.reshape(tensor.lines), budget)


def _form_symbols(mapped: MappedWeights, curve: float, cells_each: int) -> list[Symbol]:
    return [
        Symbol(float(low), float(high), curve, cells_each if is_stored else 0)
        for low, high, is_stored in zip(mapped.low, mapped.high, mapped.is_stored, strict=True)
    ]


def _find_targets(mapped: MappedWeights, curve: float) -> Float64:
    """Targets of the first cell of each stored weight; of pairs those of + before those of -."""
    if mapped.kind != "pair":
        return apply_curve(mapped.positions, curve)
    both = np.concatenate([np.maximum(mapped.positions, 0), np.maximum(-mapped.positions, 0)])
    return apply_curve(both, curve)


def _divide(tensor: Tensor, scales: Float64) -> Tensor:
    """The tensor over its scales; what its errors cost stays the same."""
    costs = tensor.weigh(np.broadcast_to(np.square(scales), tensor.weights.shape))
    return dataclasses.replace(tensor, weights=tensor.weights / scales, costs=costs)


def _find_channel_scales(tensor: Tensor, axis: int) -> Float64:
    """Scales that broadcast against the weights: of each channel its largest, the largest is 1."""
    others = tuple(index for index in range(tensor.weights.ndim) if index != axis)
    tops = np.abs(np.where(tensor.kept, tensor.weights, 0.0)).max(axis=others, keepdims=True)
    largest = float(tops.max()) or 1.0
    # A channel of zeros has the scale of the largest: 0 is not allowed.
    relative = np.where(tops > 0, tops / largest, 1.0)
    scales: Float64 = np.maximum(relative, 2.0**-14).astype(np.float16).astype(np.float64)
    return scales
