"""A weight tensor as levels of analog memory cells: what goes into a blob, and its checks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wl_onnx.codecs.container import MAX_WEIGHTS
from wl_onnx.errors import InputError

__all__ = [
    "MAX_CELLS",
    "MAX_CURVE",
    "MAX_EXPONENT",
    "MAX_SYMBOLS",
    "MAX_TIME_S",
    "MAX_WRITE_BITS",
    "CellTensor",
    "Lines",
    "Symbol",
    "check_tensor",
]

MAX_WRITE_BITS = 16
MAX_SYMBOLS = 255
MAX_CELLS = 64
MAX_CURVE = 8.0
MAX_EXPONENT = 15
MAX_TIME_S = 1e12


@dataclasses.dataclass(frozen=True)
class Symbol:
    """What the weights of one label have in common.

    Attributes:
        low: the weight at position 0 of the symbol's interval, before scales; kept as float16.
        high: the weight at position 1, likewise.
        curve: beta of the mapping of a position u to a cell's target
            `(exp(beta u) - 1) / (exp(beta) - 1)`, -8 to 8; 0 for the straight line. As float16.
        cells: cells that hold each weight and are averaged, 0 to 64 (of a pair so many for each
            sign); 0: the weight is `low` exactly.
    """

    low: float
    high: float
    curve: float = 0.0
    cells: int = 1


@dataclasses.dataclass(frozen=True, eq=False)
class Lines:
    """Exponents of the rows or of the columns of a tensor, which share out its cells.

    Attributes:
        exponents: integers [count], 0 to 15; weight i has number `(i // inner) % count`.
        inner: weights from one line to the next, 1 or more.
    """

    exponents: npt.NDArray[np.uint8]
    inner: int


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CellTensor:
    """A weight tensor, all that a blob says of it.

    A weight is `scale * channel_scale * (low + (high - low) * u)` with the position u of its
    cells; of a pair u is the position of the + cells minus that of the - cells. A weight has
    `cells` of its symbol; with lines `round(cells * 2 ** ((row + column - 16) / 2))`, 1 to 64.

    Attributes:
        num_weights: weights of the tensor, 1 to 2**32 - 1.
        symbols: 1 to 255 of them.
        labels: integers [num_weights], the symbol of each weight; None where there is one symbol.
        levels: integers [num_stored], of a pair [2 * num_stored] with all + first: the target of
            the cells of each weight whose symbol has cells, 0 to 2**write_bits - 1.
        device_record: bytes of the device model, as FORMAT.md has them.
        write_bits: bits of a level, 1 to 16.
        is_pair: whether each weight has cells of either sign.
        inverts_response: whether a read goes through the inverse of the device's mean response.
        compensates_drift: whether a reference read undoes the mean drift.
        tensor: the number of the tensor in the model: its draws.
        write_seed: fixes programming and drift where the operator is not given another seed.
        time_s: time since programming, likewise, 0 to 1e12 s.
        reference_level: target of the cell whose mean drift stands for all, 0 to 1.
        scale: above 0.
        channel_scales: floats [channels], above 0, kept as float16; None: no channels. Weight i
            has channel `(i // channel_inner) % channels`.
        channel_inner: 1 or more.
        row_exponents: which rows get more cells; None: all the same.
        column_exponents: likewise.
        row_length: where the labels' statistics differ by row or column; as of `palette.encode`.
            Not in the blob, so None after `parse`.
    """

    num_weights: int
    symbols: Sequence[Symbol]
    labels: npt.NDArray[np.uint8] | None
    levels: npt.NDArray[np.uint16]
    device_record: bytes
    write_bits: int = 8
    is_pair: bool = False
    inverts_response: bool = True
    compensates_drift: bool = False
    tensor: int = 0
    write_seed: int = 0
    time_s: float = 0.0
    reference_level: float = 0.5
    scale: float = 1.0
    channel_scales: npt.NDArray[np.float16] | None = None
    channel_inner: int = 1
    row_exponents: Lines | None = None
    column_exponents: Lines | None = None
    row_length: int | Sequence[int] | None = None


def check_tensor(tensor: CellTensor) -> None:
    """Checks all but the device record.

    Raises:
        InputError: something is not as `CellTensor` says.
    """
    _require_range("num_weights", tensor.num_weights, 1, MAX_WEIGHTS)
    _require_range("write_bits", tensor.write_bits, 1, MAX_WRITE_BITS)
    _require_range("tensor", tensor.tensor, 0, 2**32 - 1)
    _require_range("write_seed", tensor.write_seed, 0, 2**64 - 1)
    _require_range("time_s", tensor.time_s, 0, MAX_TIME_S)
    _require_range("reference_level", tensor.reference_level, 0, 1)
    _require(
        2.0**-149 <= tensor.scale < 2.0**128 * (1 - 2.0**-25),
        "scale must be above 0 and finite as float32",
        tensor.scale,
    )
    _check_symbols(tensor.symbols)
    _check_channels(tensor)
    for name in ("row_exponents", "column_exponents"):
        _check_lines(getattr(tensor, name), name)
    _check_levels(tensor)


def _require(holds: bool, what: str, got: object) -> None:
    if not holds:
        raise InputError(f"cannot encode cells: {what}, got {got}")


def _require_range(name: str, value: float, least: float, most: float) -> None:
    _require(least <= value <= most, f"{name} must be from {least} to {most}", value)


def _check_symbols(symbols: Sequence[Symbol]) -> None:
    _require_range("the number of symbols", len(symbols), 1, MAX_SYMBOLS)
    for number, symbol in enumerate(symbols):
        for name in ("low", "high"):
            value = getattr(symbol, name)
            _require(
                abs(value) < 65520,  # what rounds to a finite float16
                f"{name} of symbol {number} must be finite as float16",
                value,
            )
        _require_range(f"curve of symbol {number}", symbol.curve, -MAX_CURVE, MAX_CURVE)
        _require_range(f"cells of symbol {number}", symbol.cells, 0, MAX_CELLS)


def _check_channels(tensor: CellTensor) -> None:
    if tensor.channel_scales is None:
        return
    with np.errstate(over="ignore"):
        scales = np.asarray(tensor.channel_scales, np.float16)
    _require(
        scales.ndim == 1 and scales.size > 0, "channel_scales must be floats [c]", scales.shape
    )
    good = np.isfinite(scales) & (scales > 0)
    _require(
        bool(good.all()),
        "channel_scales must be above 0 and finite as float16",
        np.asarray(tensor.channel_scales)[~good][:1],
    )
    _require_range("channel_inner", tensor.channel_inner, 1, MAX_WEIGHTS)


def _check_lines(lines: Lines | None, name: str) -> None:
    if lines is None:
        return
    exponents = np.asarray(lines.exponents)
    _require(
        exponents.ndim == 1 and exponents.size > 0 and exponents.dtype.kind in "ui",
        f"{name} must be integers [count]",
        f"{exponents.dtype} {list(exponents.shape)}",
    )
    _require(
        int(exponents.min()) >= 0 and int(exponents.max()) <= MAX_EXPONENT,
        f"{name} must be from 0 to {MAX_EXPONENT}",
        f"{int(exponents.min())} to {int(exponents.max())}",
    )
    _require_range(f"inner of {name}", lines.inner, 1, MAX_WEIGHTS)


def _check_levels(tensor: CellTensor) -> None:
    cells = np.array([symbol.cells for symbol in tensor.symbols])
    if tensor.labels is None:
        _require(len(cells) == 1, "labels must be given with several symbols", None)
        num_stored = tensor.num_weights if cells[0] else 0
    else:
        labels = np.asarray(tensor.labels)
        _require(
            labels.shape == (tensor.num_weights,) and labels.dtype.kind in "ui",
            f"labels must be integers [{tensor.num_weights}]",
            f"{labels.dtype} {list(labels.shape)}",
        )
        _require(
            int(labels.min()) >= 0 and int(labels.max()) < len(cells),
            f"labels must be from 0 to {len(cells) - 1}",
            f"{int(labels.min())} to {int(labels.max())}",
        )
        counts = np.bincount(labels, minlength=len(cells))
        num_stored = int(counts[cells > 0].sum())
    num_levels = num_stored * (2 if tensor.is_pair else 1)
    levels = np.asarray(tensor.levels)
    _require(
        levels.shape == (num_levels,) and levels.dtype.kind in "ui",
        f"levels must be integers [{num_levels}]",
        f"{levels.dtype} {list(levels.shape)}",
    )
    if levels.size:
        limit = 2**tensor.write_bits - 1
        _require(
            int(levels.min()) >= 0 and int(levels.max()) <= limit,
            f"levels must be from 0 to {limit}",
            f"{int(levels.min())} to {int(levels.max())}",
        )
