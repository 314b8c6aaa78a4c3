"""A device as a user measured it: levels with the mean and the deviation of what they give."""

from __future__ import annotations

import dataclasses
import struct

import numpy as np
import numpy.typing as npt

from wl_onnx.analog.device import Constant, ProgrammedCells, check_targets, check_time
from wl_onnx.analog.normal import Array, normal_cdf, normal_density, normal_nodes
from wl_onnx.analog.pcm import rectified_mean
from wl_onnx.errors import InputError

__all__ = ["MAX_LEVELS", "TableDevice"]

RECORD_KIND = 2
MAX_LEVELS = 65536

_NUM_NODES = 401


@dataclasses.dataclass(frozen=True, eq=False)
class TableDevice:
    """A channel that was measured at some levels; linear between them; no drift.

    A write gives max(0, N(mean, deviation^2)), a read of it max(0, N(write, read_deviation^2)).

    Attributes:
        name: how it is called.
        levels: shares of the range, rising from 0 to 1, [n], n in 2..65536.
        means_usiemens: mean of what is written, not negative, never falling, [n].
        deviations_usiemens: deviation of what is written, not negative, [n].
        read_deviations_usiemens: deviation of one read, not negative, [n].
        source: where it comes from.

    Raises:
        InputError: values that cannot be; the error names the first row (from 1) of them.

    Example:
        >>> device = TableDevice("d", [0, 1], [0, 20], [0.5, 1], [0, 0])
        >>> device.mean_response(0.5, 0.0).item()
        10.0
    """

    name: str
    levels: Array
    means_usiemens: Array
    deviations_usiemens: Array
    read_deviations_usiemens: Array
    source: str = "given by the caller"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self)[1:5]:
            value = np.asarray(getattr(self, field.name), np.float64)
            object.__setattr__(self, field.name, value)
        self._check()

    def _check(self) -> None:
        x, count = self.levels, self.levels.size
        columns = {
            "level": x,
            "mean": self.means_usiemens,
            "deviation": self.deviations_usiemens,
            "read_deviation": self.read_deviations_usiemens,
        }
        if any(column.shape != (count,) for column in columns.values()):
            shapes = ", ".join(str(list(column.shape)) for column in columns.values())
            self._fail("all columns must have the same length", f"shapes {shapes}")
        if not 2 <= count <= MAX_LEVELS:
            self._fail(f"there must be 2 to {MAX_LEVELS} levels", str(count))
        for what, column in columns.items():
            wrong = ~(np.isfinite(column) & (column >= 0))
            if wrong.any():
                row = int(wrong.argmax())
                self._fail(f"each {what} must be finite and not negative", str(column[row]), row)
        # As the record holds them: two levels must not become one.
        self._check_order(np.diff(x.astype(np.float32)) > 0, "levels must rise", x)
        means = self.means_usiemens
        self._check_order(np.diff(means) >= 0, "means must not fall from level to level", means)
        for row, end in ((0, 0), (-1, 1)):
            if x[row] != end:
                where = "first" if row == 0 else "last"
                self._fail(f"the {where} level must be {end}", f"{x[row]:g}", row % count)
        if means[-1] <= means[0]:
            self._fail("the last mean must be above the first", f"{means[-1]:g}", count - 1)

    def _check_order(self, is_right: npt.NDArray[np.bool_], must: str, column: Array) -> None:
        if not is_right.all():
            row = int(is_right.argmin()) + 1
            self._fail(must, f"{column[row]:g} after {column[row - 1]:g}", row)

    def _fail(self, must: str, got: str, row: int | None = None) -> None:
        where = "" if row is None else f" in row {row + 1}"
        raise InputError(f"cannot use device {self.name}: {must}, got {got}{where}")

    @property
    def g_max_usiemens(self) -> float:
        """The largest mean."""
        return float(self.means_usiemens[-1])

    @property
    def has_drift(self) -> bool:
        """False: a table is of one time."""
        return False

    def without_drift(self) -> TableDevice:
        """The device itself."""
        return self

    def without_read_noise(self) -> TableDevice:
        """The device with reads that add nothing."""
        none = np.zeros_like(self.levels)
        return dataclasses.replace(self, read_deviations_usiemens=none)

    def record(self) -> bytes:
        """Kind 2, the number of levels and four columns of float32, little-endian."""
        columns = (
            self.levels,
            self.means_usiemens,
            self.deviations_usiemens,
            self.read_deviations_usiemens,
        )
        head = struct.pack("<BI", RECORD_KIND, self.levels.size)
        return head + b"".join(column.astype("<f4").tobytes() for column in columns)

    def constants(self) -> tuple[Constant, ...]:
        """The number of levels, and the range."""
        return (
            Constant("levels", float(self.levels.size), "", self.source),
            Constant("lowest mean", float(self.means_usiemens[0]), "uS", self.source),
            Constant("g_max", self.g_max_usiemens, "uS", self.source),
        )

    def log_time(self, time_s: float) -> float:
        """0 at every time: nothing drifts."""
        check_time(time_s)
        return 0.0

    def program(self, targets: npt.ArrayLike, *, rng: np.random.Generator) -> ProgrammedCells:
        """Writes cells: draws programming noise.

        Args:
            targets: shares of the range, 0..1, any shape.
            rng: draws the noise.
        """
        x = check_targets(targets)
        noise = self._deviation(x) * rng.standard_normal(x.shape)
        return ProgrammedCells(x, np.maximum(0.0, self._mean(x) + noise), np.zeros_like(x))

    def read(self, cells: ProgrammedCells, time_s: float, *, rng: np.random.Generator) -> Array:
        """Reads cells once.

        Args:
            cells: what `program` gave.
            time_s: seconds since programming; changes nothing.
            rng: draws the noise.

        Returns:
            Conductances in uS, not negative, float64, shape of the cells.
        """
        check_time(time_s)
        noise = self._read_deviation(cells.targets) * rng.standard_normal(cells.targets.shape)
        return np.maximum(0.0, cells.conductances_usiemens + noise)

    def mean_response(self, targets: npt.ArrayLike, time_s: float) -> Array:
        """The mean of what is written, uS, exact; the clip of read noise at 0 is left out."""
        check_time(time_s)
        x = check_targets(targets)
        return rectified_mean(self._mean(x), self._deviation(x))

    def moments(self, targets: npt.ArrayLike, time_s: float) -> tuple[Array, Array]:
        """Mean and deviation of a whole write and read, with both clips, uS.

        Reads are in closed form, writes by quadrature (relative error below 1e-4).
        """
        check_time(time_s)
        x = check_targets(targets)
        z, weights = normal_nodes(_NUM_NODES)
        flat = x.reshape(-1)
        written = np.maximum(0.0, self._mean(flat)[:, None] + self._deviation(flat)[:, None] * z)
        spread = np.broadcast_to(self._read_deviation(flat)[:, None], written.shape)
        ratio = np.divide(written, spread, out=np.full_like(written, np.inf), where=spread > 0)
        first = rectified_mean(written, spread)
        second = (written**2 + spread**2) * normal_cdf(ratio)
        # Where the ratio is infinite the spread is 0.
        second += written * spread * normal_density(ratio)
        mean = first @ weights
        deviation = np.sqrt(np.maximum(0.0, second @ weights - mean * mean))
        return mean.reshape(x.shape), deviation.reshape(x.shape)

    def deviation(self, targets: npt.ArrayLike, time_s: float) -> Array:
        """The deviation of a whole write and read, uS: the second of `moments`."""
        return self.moments(targets, time_s)[1]

    def read_cdf(self, targets: npt.ArrayLike, time_s: float, limits: npt.ArrayLike) -> Array:
        """P(read <= limit | target), float64 [targets, limits], right to about 1e-3.

        Args:
            targets: shares of the range, 0..1, [n].
            time_s: seconds since programming; changes nothing.
            limits: uS, not negative, [m].
        """
        check_time(time_s)
        x, steps = check_targets(targets), np.asarray(limits, np.float64)
        smallest = 1e-9 * self.g_max_usiemens
        result = np.empty((x.size, steps.size))
        z, weights = normal_nodes(_NUM_NODES)
        for row, (mean, deviation, spread) in enumerate(
            zip(self._mean(x), self._deviation(x), self._read_deviation(x), strict=True)
        ):
            if spread <= smallest:
                result[row] = normal_cdf((steps - mean) / max(deviation, smallest))
                continue
            written = np.maximum(0.0, mean + deviation * z)
            result[row] = weights @ normal_cdf((steps - written[:, None]) / spread)
        return result

    def _mean(self, x: Array) -> Array:
        return np.asarray(np.interp(x, self.levels, self.means_usiemens))

    def _deviation(self, x: Array) -> Array:
        return np.asarray(np.interp(x, self.levels, self.deviations_usiemens))

    def _read_deviation(self, x: Array) -> Array:
        return np.asarray(np.interp(x, self.levels, self.read_deviations_usiemens))
