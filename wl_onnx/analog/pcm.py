"""Cells with programming noise by a polynomial, drift by a power law, and read noise."""

from __future__ import annotations

import dataclasses
import math
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from wl_onnx.analog.device import (
    Constant,
    ProgrammedCells,
    check_constants,
    check_targets,
    check_time,
    constant,
    list_constants,
)
from wl_onnx.analog.normal import Array, normal_cdf, normal_density, normal_nodes
from wl_onnx.errors import InputError

__all__ = ["PcmDevice", "PowerLawDrift", "ProgrammingNoise", "ReadNoise", "rectified_mean"]

RECORD_KIND = 1
SMALLEST_TARGET = 1e-7
"""The drift's fit is logarithmic in the target; below this it stays what it is there."""

_NUM_PROGRAMMING_NODES = 1601
_NUM_DRIFT_NODES = 65
_NUM_CDF_CELLS = 1200


@dataclasses.dataclass(frozen=True)
class ProgrammingNoise:
    """Deviation of what is written: max(0, constant + linear x + quadratic x^2), x the target."""

    constant_usiemens: float = constant("uS", "constant", may_be_negative=True)
    linear_usiemens: float = constant("uS", "linear", default=0.0, may_be_negative=True)
    quadratic_usiemens: float = constant("uS", "quadratic", default=0.0, may_be_negative=True)

    def __post_init__(self) -> None:
        check_constants(self, "programming noise")

    def deviation(self, targets: npt.ArrayLike) -> Array:
        """Deviation of the conductance before it is clipped at 0, uS, shape of the targets."""
        x = np.asarray(targets, np.float64)
        sigma = self.constant_usiemens + x * (self.linear_usiemens + x * self.quadratic_usiemens)
        return np.maximum(0.0, sigma)


@dataclasses.dataclass(frozen=True)
class PowerLawDrift:
    """Drift g (T / t0)^-nu, nu = |N(mean, deviation^2)| drawn once for each cell.

    Mean and deviation are clip(slope ln x + intercept, low, high), x the target.
    """

    mean_slope: float = constant("", "mean slope", may_be_negative=True)
    mean_intercept: float = constant("", "mean intercept", may_be_negative=True)
    mean_low: float = constant("", "mean, lowest")
    mean_high: float = constant("", "mean, highest")
    deviation_slope: float = constant("", "deviation slope", may_be_negative=True)
    deviation_intercept: float = constant("", "deviation intercept", may_be_negative=True)
    deviation_low: float = constant("", "deviation, lowest")
    deviation_high: float = constant("", "deviation, highest")

    def __post_init__(self) -> None:
        check_constants(self, "drift")
        for what in ("mean", "deviation"):
            low, high = getattr(self, f"{what}_low"), getattr(self, f"{what}_high")
            if low > high:
                raise InputError(
                    f"cannot make drift: the lowest {what} must be at most the highest, got {low} "
                    f"and {high}"
                )

    def exponents(self, targets: npt.ArrayLike) -> tuple[Array, Array]:
        """Mean and deviation of nu before its absolute value is taken, shape of the targets."""
        log_x = np.log(np.maximum(np.asarray(targets, np.float64), SMALLEST_TARGET))
        mean = self.mean_slope * log_x + self.mean_intercept
        deviation = self.deviation_slope * log_x + self.deviation_intercept
        return (
            np.clip(mean, self.mean_low, self.mean_high),
            np.clip(deviation, self.deviation_low, self.deviation_high),
        )

    def mean_decay(self, targets: npt.ArrayLike, log_time: float) -> Array:
        """E[exp(-nu L)], exact, shape of the targets; L = log_time, not negative."""
        mean, deviation = (np.atleast_1d(a) for a in self.exponents(targets))
        decay = np.exp(-np.abs(mean) * log_time)
        wide = deviation > 0
        m, d = mean[wide], deviation[wide]
        half = 0.5 * np.square(d * log_time)
        upper = np.exp(half - m * log_time) * normal_cdf(m / d - d * log_time)
        lower_share = normal_cdf(-m / d - d * log_time)
        # Where the share is 0 to rounding, the factor may be infinite.
        factor = np.exp(np.where(lower_share > 0, half + m * log_time, 0.0))
        decay[wide] = upper + factor * lower_share
        return decay.reshape(np.shape(targets))


@dataclasses.dataclass(frozen=True)
class ReadNoise:
    """Deviation g Q sqrt(ln((T + t_read) / (2 t_read))) of one read (1/f noise).

    Q = min(scale / max(y^exponent, floor), cap), y the programmed share of the range.
    """

    scale: float = constant("", "scale")
    exponent: float = constant("", "exponent")
    floor: float = constant("", "floor")
    cap: float = constant("", "cap")
    t_read_s: float = constant("s", "time of a read")

    def __post_init__(self) -> None:
        check_constants(self, "read noise")
        for what in ("floor", "t_read_s"):
            if getattr(self, what) <= 0:
                raise InputError(
                    f"cannot make read noise: its {what} must be positive, got "
                    f"{getattr(self, what)}"
                )

    def share(self, shares: npt.ArrayLike) -> Array:
        """Q of programmed conductances, given as shares of the range, in their shape."""
        power = np.asarray(shares, np.float64) ** self.exponent
        return np.minimum(self.scale / np.maximum(power, self.floor), self.cap)

    def time_factor(self, time_since_t0_s: float) -> float:
        """sqrt(ln((T + t_read) / (2 t_read))), 0 where the logarithm is negative."""
        return math.sqrt(
            max(0.0, math.log((time_since_t0_s + self.t_read_s) / (2 * self.t_read_s)))
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PcmDevice:
    """A cell of phase-change memory, or any other that the same form describes.

    Attributes:
        name: how it is called.
        g_max_usiemens: conductance of the target 1.
        programming: what a write adds.
        drift: what time does; None for nothing.
        read_noise: what a read adds; None for nothing.
        t0_s: time between programming and time 0, the reference of drift.
        source: where the constants come from.

    Raises:
        InputError: a constant that cannot be.
    """

    name: str
    g_max_usiemens: float = constant("uS", "g_max")
    programming: ProgrammingNoise
    drift: PowerLawDrift | None = None
    read_noise: ReadNoise | None = None
    t0_s: float = constant("s", "t0", default=20.0)
    source: str = "given by the caller"

    def __post_init__(self) -> None:
        check_constants(self, f"device {self.name}")
        for what in ("g_max_usiemens", "t0_s"):
            if getattr(self, what) <= 0:
                raise InputError(
                    f"cannot make device {self.name}: {what} must be positive, got "
                    f"{getattr(self, what)}"
                )

    @property
    def has_drift(self) -> bool:
        """Whether what is read on average changes with time."""
        return self.drift is not None

    def without_drift(self) -> PcmDevice:
        """The device with its drift undone, cell by cell."""
        return dataclasses.replace(self, drift=None)

    def without_read_noise(self) -> PcmDevice:
        """The device with reads that add nothing."""
        return dataclasses.replace(self, read_noise=None)

    def record(self) -> bytes:
        """Kind 1 and 19 float32, little-endian: what the compiled core parses."""
        drift = (0.0,) * 8 if self.drift is None else dataclasses.astuple(self.drift)
        noise = self.read_noise or ReadNoise(0.0, 1.0, 1.0, 0.0, 1.0)
        values = (
            self.g_max_usiemens,
            *dataclasses.astuple(self.programming),
            *drift,
            self.t0_s,
            *dataclasses.astuple(noise),
            0.0,  # a constant deviation of a read, which this kind of device does not have
        )
        return struct.pack(f"<B{len(values)}f", RECORD_KIND, *values)

    def constants(self) -> tuple[Constant, ...]:
        """Every number of the model with its unit and source."""
        parts: list[tuple[str, Any]] = [
            ("", self),
            ("programming", self.programming),
            ("drift", self.drift),
            ("read noise", self.read_noise),
        ]
        return tuple(
            one
            for prefix, part in parts
            if part is not None
            for one in list_constants(part, prefix, self.source)
        )

    def log_time(self, time_s: float) -> float:
        """ln((time + t0) / t0), in which drift is linear."""
        return math.log1p(check_time(time_s) / self.t0_s)

    def program(self, targets: npt.ArrayLike, *, rng: np.random.Generator) -> ProgrammedCells:
        """Writes cells: draws programming noise and drift exponents.

        Args:
            targets: shares of the range, 0..1, any shape.
            rng: draws the noise.
        """
        x = check_targets(targets)
        sigma = self.programming.deviation(x)
        written = np.maximum(0.0, self.g_max_usiemens * x + sigma * rng.standard_normal(x.shape))
        if self.drift is None:
            return ProgrammedCells(x, written, np.zeros_like(x))
        mean, deviation = self.drift.exponents(x)
        exponents = np.abs(mean + deviation * rng.standard_normal(x.shape))
        return ProgrammedCells(x, written, exponents)

    def read(self, cells: ProgrammedCells, time_s: float, *, rng: np.random.Generator) -> Array:
        """Reads cells once.

        Args:
            cells: what `program` gave.
            time_s: seconds since programming.
            rng: draws the noise.

        Returns:
            Conductances in uS, not negative, float64, shape of the cells.
        """
        decayed = cells.conductances_usiemens * np.exp(
            -cells.drift_exponents * self.log_time(time_s)
        )
        relative = self._relative_deviation(cells.conductances_usiemens, time_s)
        noise = relative * rng.standard_normal(decayed.shape)
        return np.maximum(0.0, decayed * (1 + noise))

    def mean_response(self, targets: npt.ArrayLike, time_s: float) -> Array:
        """The mean of a read, uS, in closed form, shape of the targets.

        Programming's clip at 0 is in it. The clip of read noise at 0 is not: it raises the mean of
        small conductances, by less than 0.01 uS for the presets; `moments` has it.
        """
        x, log_time = check_targets(targets), self.log_time(time_s)
        mean = rectified_mean(self.g_max_usiemens * x, self.programming.deviation(x))
        if self.drift is None:
            return mean
        return np.asarray(mean * self.drift.mean_decay(x, log_time))

    def moments(self, targets: npt.ArrayLike, time_s: float) -> tuple[Array, Array]:
        """Mean and deviation of a whole write and read, with both clips, uS.

        Drift and read noise are in closed form, programming by quadrature (relative error below
        1e-4). The work is 1,601 values a target: tabulate where there are many.
        """
        x = check_targets(targets)
        flat = x.reshape(-1)
        z, weights = normal_nodes(_NUM_PROGRAMMING_NODES)
        sigma = self.programming.deviation(flat)
        written = np.maximum(0.0, self.g_max_usiemens * flat[:, None] + sigma[:, None] * z)
        # A read is g exp(-nu L) max(0, 1 + q Z): its last factor depends on g alone.
        q = self._relative_deviation(written, time_s)
        first = rectified_mean(np.ones_like(q), q)
        inverse = np.divide(1.0, q, out=np.full_like(q, np.inf), where=q > 0)
        second = (1 + q * q) * normal_cdf(inverse) + q * normal_density(inverse)
        mean = (written * first) @ weights
        square = (written * written * second) @ weights
        if self.drift is not None:
            log_time = self.log_time(time_s)
            mean = mean * self.drift.mean_decay(flat, log_time)
            square = square * self.drift.mean_decay(flat, 2 * log_time)
        deviation = np.sqrt(np.maximum(0.0, square - mean * mean))
        return mean.reshape(x.shape), deviation.reshape(x.shape)

    def deviation(self, targets: npt.ArrayLike, time_s: float) -> Array:
        """The deviation of a whole write and read, uS: the second of `moments`."""
        return self.moments(targets, time_s)[1]

    def read_cdf(self, targets: npt.ArrayLike, time_s: float, limits: npt.ArrayLike) -> Array:
        """P(read <= limit | target), by quadrature over programming and drift.

        Args:
            targets: shares of the range, 0..1, [n].
            time_s: seconds since programming.
            limits: uS, not negative, rising, [m].

        Returns:
            Probabilities, float64 [n, m], right to about 1e-3.
        """
        x, steps = check_targets(targets), np.asarray(limits, np.float64)
        if self.drift is None:
            return self._undrifted_cdf(x, time_s, steps)
        log_time = self.log_time(time_s)
        # A read is a product: what it would be without drift, and exp(-nu L), independent of it.
        table = np.linspace(0.0, self._top_usiemens(time_s), 2 * _NUM_CDF_CELLS)
        undrifted = self._undrifted_cdf(x, time_s, table)
        z, weights = normal_nodes(_NUM_DRIFT_NODES, 5.0)
        result = np.zeros((x.size, steps.size))
        mean, deviation = self.drift.exponents(x)
        for row, (mu, d) in enumerate(zip(mean, deviation, strict=True)):
            growth = np.exp(np.abs(mu + d * z) * log_time)
            values = np.interp(np.outer(growth, steps), table, undrifted[row])
            result[row] = weights @ values
        return result

    def _undrifted_cdf(self, x: Array, time_s: float, limits: Array) -> Array:
        sigma = np.maximum(self.programming.deviation(x), 1e-9 * self.g_max_usiemens)[:, None]
        mean = self.g_max_usiemens * x[:, None]
        if self.read_noise is None:
            return np.where(limits >= 0, normal_cdf((limits - mean) / sigma), 0.0)
        edges = np.linspace(0.0, self._top_usiemens(time_s), _NUM_CDF_CELLS + 1)
        below = normal_cdf((edges - mean) / sigma)
        centers = 0.5 * (edges[1:] + edges[:-1])[:, None]
        spread = np.maximum(self._relative_deviation(centers, time_s), 1e-9) * centers
        # A conductance clipped to 0 is read as 0.
        return np.asarray(below[:, :1] + np.diff(below) @ normal_cdf((limits - centers) / spread))

    def _relative_deviation(self, written: Array, time_s: float) -> Array:
        """Deviation of one read over the conductance, of programmed conductances in uS."""
        since_t0_s = check_time(time_s) + self.t0_s
        if self.read_noise is None:
            return np.zeros_like(written)
        factor = self.read_noise.time_factor(since_t0_s)
        return self.read_noise.share(written / self.g_max_usiemens) * factor

    def _top_usiemens(self, time_s: float) -> float:
        """A conductance that practically no read exceeds before drift."""
        levels = np.linspace(0.0, 1.0, 101)
        highest = self.g_max_usiemens * levels + 6 * self.programming.deviation(levels)
        relative = self._relative_deviation(highest, time_s)
        return float(np.max(highest * (1 + 6 * relative)))


def rectified_mean(mean: npt.ArrayLike, deviation: npt.ArrayLike) -> Array:
    """E[max(0, N(mean, deviation^2))], exact, float64.

    Args:
        mean: any shape.
        deviation: not negative, the same shape; 0 gives max(0, mean).
    """
    m, s = np.broadcast_arrays(np.asarray(mean, np.float64), np.asarray(deviation, np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = m / s
        value = m * normal_cdf(ratio) + s * normal_density(ratio)
    return np.where(s > 0, value, np.maximum(m, 0.0))
