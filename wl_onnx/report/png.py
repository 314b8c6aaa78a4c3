"""PNG files of indexed colours, for pictures of weights."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Color", "write_png"]

Color = tuple[int, int, int, int]
"""Red, green, blue and opacity, 0 to 255 each."""

_INDEXED = 3


def write_png(indices: npt.NDArray[np.integer], palette: Sequence[Color]) -> bytes:
    """A PNG of indexed colours; the same picture gives the same bytes.

    Args:
        indices: integers [height, width], one colour of the palette each.
        palette: 1 to 16 colours.
    """
    height, width = indices.shape
    depth = 2 if len(palette) <= 4 else 4
    per_byte = 8 // depth
    padded = np.zeros((height, -(-width // per_byte) * per_byte), np.uint8)
    padded[:, :width] = indices
    rows = np.zeros((height, 1 + padded.shape[1] // per_byte), np.uint8)  # filter type 0 first
    for place in range(per_byte):
        rows[:, 1:] |= padded[:, place::per_byte] << (8 - depth * (place + 1))
    header = struct.pack(">IIBBBBB", width, height, depth, _INDEXED, 0, 0, 0)
    colors = b"".join(bytes(color[:3]) for color in palette)
    opacities = bytes(color[3] for color in palette)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, data)
        for kind, data in (
            (b"IHDR", header),
            (b"PLTE", colors),
            (b"tRNS", opacities),
            (b"IDAT", zlib.compress(rows.tobytes(), 9)),
            (b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
