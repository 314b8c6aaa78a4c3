"""How weights are stored in cells: the device, and which protections are on."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import TYPE_CHECKING, Literal

from wl_onnx.analog.device import check_time
from wl_onnx.errors import InputError

if TYPE_CHECKING:
    from wl_onnx.analog.device import Device

__all__ = ["DIGITAL_BITS_PER_CELL", "PROTECTIONS", "MappingKind", "Storage"]

MappingKind = Literal["magnitude", "pair", "offset"]

PROTECTIONS = ("sign", "adaptive", "sparsity", "sensitivity")
"""The strategies of robust coding that can be switched on one by one."""

DIGITAL_BITS_PER_CELL = 1.8
"""Bits that a cell holds digitally: 2, less 10 % for the error-correcting code."""

_MAX_CELLS = 64
_MAX_RANGES = 127
_MAX_WRITE_BITS = 16


@dataclasses.dataclass(frozen=True)
class Storage:
    """How weights are laid on cells, and how they are read back.

    Source of the strategies: Isik, Choi, Zheng, Weissman, Ermon, Wong, Alaghi, "Neural network
    compression for noisy storage devices", ACM TECS 2023.

    Attributes:
        device: the cells.
        time_s: time since programming, above 0, for which the mapping is chosen; the default of
            reads.
        cells: analog cells for each weight on average; with "sensitivity" those of a weight may be
            more or fewer, without it each that is stored has as many.
        protect: of `PROTECTIONS`. "sign": signs are kept digitally, the magnitude is analog.
            "adaptive": the range is cut where that is best, small magnitudes get a range of their
            own, and targets are spaced by the noise. "sparsity": zeros are a digital mask and
            exact at every read. "sensitivity": weights whose errors cost most get more cells,
            which are averaged.
        sparsity: share of weights that is pruned, in [0, 1).
        mapping: of signed weights, where signs are not kept digitally: "pair", one cell for
            positive and one for negative values, or "offset", one cell with zero in its middle.
        scale: whether a "tensor" has one range or each "channel" its own.
        ranges: ranges of adaptive mapping, at least 1.
        write_bits: bits of the levels to which cells can be programmed, 1 to 16.
        inverts_response: whether reads go back through the mean response of the device.
        compensates_drift: whether a reference read of the tensor tells how far it has drifted.
        digital_bits_per_cell: what digital bits cost, here and in what is compared with.
        seed: of programming noise and drift; the default of reads.

    Raises:
        InputError: a number is out of range, or a name is not known.
    """

    device: Device
    time_s: float = 86400.0
    cells: float = 1.0
    protect: frozenset[str] = frozenset(("sign", "adaptive", "sparsity"))
    sparsity: float = 0.0
    mapping: Literal["pair", "offset"] = "pair"
    scale: Literal["tensor", "channel"] = "tensor"
    ranges: int = 2
    write_bits: int = 8
    inverts_response: bool = True
    compensates_drift: bool = True
    digital_bits_per_cell: float = DIGITAL_BITS_PER_CELL
    seed: int = 0

    def __post_init__(self) -> None:
        check_time(self.time_s)
        _check("time_s", self.time_s, "above 0", self.time_s > 0)
        unknown = sorted(set(self.protect) - set(PROTECTIONS))
        if unknown:
            raise InputError(
                f"cannot store weights: protect must be of {', '.join(PROTECTIONS)}, got "
                f"{', '.join(unknown) or repr('')}"
            )
        is_good = 0 < self.cells <= _MAX_CELLS
        _check("cells", self.cells, f"above 0 and at most {_MAX_CELLS}", is_good)
        _check("sparsity", self.sparsity, "in [0, 1)", 0 <= self.sparsity < 1)
        for name, most in (("ranges", _MAX_RANGES), ("write_bits", _MAX_WRITE_BITS)):
            value = getattr(self, name)
            is_good = isinstance(value, numbers.Integral) and 1 <= int(value) <= most
            _check(name, value, f"a whole number from 1 to {most}", is_good)
        per_cell = self.digital_bits_per_cell
        _check("digital_bits_per_cell", per_cell, "above 0 and finite", per_cell > 0)
        is_seed = isinstance(self.seed, numbers.Integral) and 0 <= int(self.seed) < 1 << 63
        _check("seed", self.seed, "a whole number from 0 to 2**63 - 1", is_seed)
        for name, value, known in (
            ("mapping", self.mapping, ("pair", "offset")),
            ("scale", self.scale, ("tensor", "channel")),
        ):
            _check(name, value, " or ".join(known), value in known)
        if "sensitivity" not in self.protect and self.cells != int(self.cells):
            raise InputError(
                "cannot store weights: cells must be a whole number where sensitivity does not "
                f"say which weights get more, got {self.cells:g}"
            )

    @property
    def kind(self) -> MappingKind:
        """How a signed weight is laid on cells."""
        return "magnitude" if "sign" in self.protect else self.mapping


def _check(name: str, value: object, wanted: str, holds: bool) -> None:
    is_finite = not isinstance(value, float) or math.isfinite(value)
    if not (holds and is_finite):
        raise InputError(f"cannot store weights: {name} must be {wanted}, got {value}")
