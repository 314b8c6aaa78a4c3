"""How fast cells are programmed and read, beside NumPy's normals and beside copying."""

from __future__ import annotations

import struct

import numpy as np
from figures import Figure, ratio_figure, require
from timing import Times, interleave

from wl_onnx.kernels import noise, reference_noise
from wl_onnx.kernels.native import core

__all__ = ["PCM_RECORD", "measure"]

# Nandakumar et al. (ICECS 2019), as AIHWKit's PCMLikeNoiseModel has it: g_max; programming; drift
# mean; drift deviation; t0; read noise; t_read; read deviation.
PCM_RECORD = b"\x01" + struct.pack(
    "<19f",
    25.0, 0.26348, 1.9650, -1.1731, -0.0155, 0.0244, 0.049, 0.1, -0.0125, -0.0059, 0.008, 0.045,
    20.0, 0.0088, 0.65, 1e-3, 0.2, 250e-9, 0.0,
)  # fmt: skip
_DAY_S = 86400.0
_WRITE_BITS = 8
_CHECKED = 1 << 16  # cells that the reference computes again


class _Cells:
    """Cells of one size, with everything that is written to them."""

    def __init__(self, side: int) -> None:
        rng = np.random.default_rng(1)
        self.on = f"{side} x {side}, 1 thread"
        self.levels = rng.integers(0, 1 << _WRITE_BITS, side * side, np.uint16)
        self.conductances, self.deviations, self.reads, self.drawn = (
            np.zeros(side * side, np.float32) for _ in range(4)
        )
        self._rng = rng

    def program(self) -> None:
        noise.program_cells(
            PCM_RECORD, _WRITE_BITS, self.levels, write_seed=1, time_s=_DAY_S,
            out=(self.conductances, self.deviations),
        )  # fmt: skip

    def read(self) -> None:
        noise.read_cells(self.conductances, self.deviations, read_seed=2, out=self.reads)

    def program_and_read(self) -> None:
        self.program()
        self.read()

    def draw_by_numpy(self) -> None:
        self._rng.standard_normal(self.drawn.size, np.float32, out=self.drawn)

    def copy(self) -> None:
        np.copyto(self.drawn, self.conductances)

    def check(self) -> None:
        """The first cells are those of the reference."""
        device = reference_noise.parse_device(PCM_RECORD)
        g, d = reference_noise.program_cells(
            device, _WRITE_BITS, self.levels[:_CHECKED], write_seed=1, tensor=0, time_s=_DAY_S
        )
        expected = reference_noise.read_cells(2, noise.READ_STREAM, 0, g, d, 0)
        worst = float(np.abs(self.reads[:_CHECKED] - expected).max())
        require(worst < 1e-4, "a read is within 1e-4 uS of the reference", worst)


def measure(quick: bool) -> list[Figure]:
    """Every CPU target in turn; the targets of the issue are those of the one chosen by itself."""
    cells = _Cells(1024 if quick else 4096)
    chosen = core().current_target()
    figures = []
    before = None
    try:
        for target in [chosen, *(name for name in core().available_targets() if name != chosen)]:
            require(core().set_target(target), f"CPU target {target} is available", "a refusal")
            cells.reads.fill(np.nan)
            calls = {
                "program + read": cells.program_and_read,
                "read": cells.read,
                "numpy": cells.draw_by_numpy,
                "copyto": cells.copy,
            }
            times = interleave(calls, rounds=3 if quick else 7)
            cells.check()
            before = cells.reads.copy() if before is None else before
            require(np.array_equal(before, cells.reads), f"{target} reads what {chosen} does", "no")
            figures += _figures(cells, target, times, aimed=target == chosen)
    finally:
        core().set_target(chosen)
    return figures


def _figures(cells: _Cells, target: str, times: dict[str, Times], *, aimed: bool) -> list[Figure]:
    on = f"{cells.on}, {target}"
    nanoseconds = {label: times[label].per(cells.levels.size).median * 1e9 for label in times}
    note = f"{nanoseconds['read']:.2f} ns a cell"
    return [
        Figure(
            "program + read, a day", on, nanoseconds["program + read"], unit="ns a cell",
            limit=13.0 if aimed else None,
        ),
        ratio_figure(
            "read / NumPy's standard_normal", on, times, "read", "numpy",
            limit=0.4 if aimed else None, note=note,
        ),
        ratio_figure("read / np.copyto", on, times, "read", "copyto"),
    ]  # fmt: skip
