"""Records of devices, as they stand in blobs."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

# g_max; programming; drift mean; drift deviation; t0; read noise; t_read; read deviation
NANDAKUMAR = (
    25.0, 0.26348, 1.9650, -1.1731, -0.0155, 0.0244, 0.049, 0.1, -0.0125, -0.0059, 0.008, 0.045,
    20.0, 0.0088, 0.65, 1e-3, 0.2, 250e-9, 0.0,
)  # fmt: skip
JOSHI = (
    25.0, 0.28638599, 0.07585724 * 25, -0.00178767 * 625, *(0.0,) * 8, 20.0,
    *(0.0,) * 4, 250e-9, 0.0,
)  # fmt: skip
# The deviation falls below 0 at large targets, drift exponents change sign, every part is there.
CROOKED = (
    10.0, 1.0, 3.0, -6.0, 0.05, 0.05, -0.1, 0.2, 0.02, 0.1, 0.0, 0.06, 2.0, 0.03, -0.4, 0.9, 0.05,
    1e-3, 0.125,
)  # fmt: skip
LEVELS = np.array([
    [0.0, 0.25, 0.5, 0.875, 1.0],
    [0.5, 4.0, 11.0, 10.0, 20.0],
    [0.25, 1.0, 0.0, 2.0, 0.5],
    [0.0, 0.1, 0.3, 0.2, 0.0],
])  # fmt: skip


def pcm_record(values: tuple[float, ...]) -> bytes:
    """A device of kind 1."""
    return b"\x01" + struct.pack("<19f", *values)


def table_record(table: npt.NDArray[np.float64]) -> bytes:
    """A device of kind 2; the rows are levels, means, deviations and read deviations."""
    return b"\x02" + struct.pack("<I", table.shape[1]) + table.astype("<f4").tobytes()


RECORDS = {
    "nandakumar": pcm_record(NANDAKUMAR),
    "joshi": pcm_record(JOSHI),
    "crooked": pcm_record(CROOKED),
    "table": table_record(LEVELS),
}
