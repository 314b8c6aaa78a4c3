"""What a device of analog storage is: cells that are programmed once and read with noise.

Cells are given a target x, a share 0..1 of the largest conductance. What comes back is a
conductance in microsiemens. A device is added as a value, not as a class, wherever one of the two
kinds that the compiled core knows can express it:

- `wl_onnx.analog.pcm.PcmDevice`: programming noise by a polynomial of the target, drift by a power
  law, read noise; each part may be left out. Write a function that returns one, with the source of
  its constants, and enter it in `PRESETS` of `wl_onnx.analog.presets`.
- `wl_onnx.analog.table_device.TableDevice`: levels, means and deviations as they were measured. A
  file is enough for that: `load_table` of `wl_onnx.analog.table_file`.

A new kind needs its record parsed in the compiled core as well.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError

if TYPE_CHECKING:
    from wl_onnx.analog.normal import Array

__all__ = [
    "Constant",
    "Device",
    "ProgrammedCells",
    "check_constants",
    "check_targets",
    "check_time",
    "constant",
    "list_constants",
]

MAX_TIME_S = 1e12


@dataclasses.dataclass(frozen=True)
class Constant:
    """A number of a device's model.

    Attributes:
        name: what it is, with its part: "programming constant".
        value: the number.
        unit: its unit; empty for a pure number.
        source: where it was published or measured.
    """

    name: str
    value: float
    unit: str
    source: str


@dataclasses.dataclass(frozen=True)
class ProgrammedCells:
    """Cells after they were written.

    Attributes:
        targets: what they were to hold, a share of the range 0..1, float64 [n].
        conductances_usiemens: what they hold right after programming, float64 [n].
        drift_exponents: nu of each cell, 0 where the device does not drift, float64 [n].
    """

    targets: Array
    conductances_usiemens: Array
    drift_exponents: Array


@runtime_checkable
class Device(Protocol):
    """A model of a memory cell.

    Times are seconds since programming ended. Targets are shares of the range, in 0..1.
    """

    @property
    def name(self) -> str:
        """How the device is called: the name of a preset or of a file."""

    @property
    def g_max_usiemens(self) -> float:
        """The largest mean conductance."""

    @property
    def has_drift(self) -> bool:
        """Whether what is read on average changes with time."""

    def without_drift(self) -> Device:
        """The device with its drift undone, cell by cell."""

    def without_read_noise(self) -> Device:
        """The device with reads that add nothing."""

    def record(self) -> bytes:
        """The device as the compiled core parses it and blobs hold it."""

    def constants(self) -> tuple[Constant, ...]:
        """Every number of the model with its unit and source."""

    def log_time(self, time_s: float) -> float:
        """ln((time + t0) / t0), in which drift is linear."""

    def program(self, targets: npt.ArrayLike, *, rng: np.random.Generator) -> ProgrammedCells:
        """Writes cells: draws programming noise and drift exponents."""

    def read(self, cells: ProgrammedCells, time_s: float, *, rng: np.random.Generator) -> Array:
        """Reads cells once, uS, float64 [n]: draws read noise."""

    def mean_response(self, targets: npt.ArrayLike, time_s: float) -> Array:
        """The mean of a read, uS, as the compiled core inverts it."""

    def moments(self, targets: npt.ArrayLike, time_s: float) -> tuple[Array, Array]:
        """Mean and deviation of a whole write and read, uS."""

    def deviation(self, targets: npt.ArrayLike, time_s: float) -> Array:
        """The deviation of a whole write and read, uS."""

    def read_cdf(self, targets: npt.ArrayLike, time_s: float, limits: npt.ArrayLike) -> Array:
        """P(read <= limit | target), float64 [targets, limits], limits in uS."""


def constant(
    unit: str, meaning: str, *, default: Any = dataclasses.MISSING, may_be_negative: bool = False
) -> Any:
    """A dataclass field that knows its unit, for `list_constants` and `check_constants`.

    Args:
        unit: its unit; empty for a pure number.
        meaning: its name in a listing.
        default: of the field, if it has one.
        may_be_negative: whether `check_constants` lets negative numbers pass.
    """
    metadata = {"unit": unit, "meaning": meaning, "may_be_negative": may_be_negative}
    return dataclasses.field(default=default, metadata=metadata)


def list_constants(part: Any, prefix: str, source: str) -> Iterator[Constant]:
    """The constants of one part of a device.

    Args:
        part: a dataclass; its fields that were made with `constant` are listed.
        prefix: goes before each name.
        source: of all of them.
    """
    for field in dataclasses.fields(part):
        if "unit" in field.metadata:
            name = f"{prefix} {field.metadata['meaning']}".strip()
            yield Constant(name, getattr(part, field.name), field.metadata["unit"], source)


def check_constants(part: Any, what: str) -> None:
    """Checks that constants are finite, and not negative but where they may be.

    Args:
        part: a dataclass whose fields were made with `constant`.
        what: how an error calls it.

    Raises:
        InputError: one is not.
    """
    for field in dataclasses.fields(part):
        if "unit" not in field.metadata:
            continue
        value = getattr(part, field.name)
        is_number = isinstance(value, (int, float)) and math.isfinite(value)
        if not is_number or (value < 0 and not field.metadata["may_be_negative"]):
            must = "finite" if field.metadata["may_be_negative"] else "finite and not negative"
            raise InputError(
                f"cannot make {what}: its {field.metadata['meaning']} must be {must}, got {value}"
            )


def check_targets(targets: npt.ArrayLike) -> Array:
    """Targets as float64.

    Raises:
        InputError: one is outside 0..1 or NaN.
    """
    values = np.asarray(targets, np.float64)
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        raise InputError(
            f"cannot program cells: targets must be in 0..1, got {values[wrong].flat[0]}"
        )
    return values


def check_time(time_s: float) -> float:
    """A time since programming, in seconds.

    Raises:
        InputError: it is negative, longer than 1e12 s, or NaN.
    """
    if not 0 <= time_s <= MAX_TIME_S:
        raise InputError(
            f"cannot read cells: the time must be in 0..{MAX_TIME_S:g} s, got {time_s}"
        )
    return float(time_s)
