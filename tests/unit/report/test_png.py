from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from wl_onnx.report.png import Color, write_png


def read_png(data: bytes) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """The colour of each pixel by the words of the PNG specification, and the palette."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        assert checksum == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"]
    width, height, depth, kind_of_color, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (kind_of_color, rest) == (3, [0, 0, 0])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not lines[:, 0].any()
    bits = np.unpackbits(lines[:, 1:], axis=1).reshape(height, -1, depth)
    indices = (bits << np.arange(depth - 1, -1, -1, dtype=np.uint8)).sum(axis=2)[:, :width]
    colors = np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3).tolist()
    palette = [(*c, o) for c, o in zip(colors, chunks[b"tRNS"], strict=True)]
    return indices, palette


@pytest.mark.parametrize("count", [1, 3, 4, 5, 16])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (5, 8), (2, 401)])
def test_a_picture_reads_as_it_was(count: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(count)
    palette: list[Color] = [tuple(rng.integers(0, 256, 4).tolist()) for _ in range(count)]  # type: ignore[misc]
    indices = rng.integers(0, count, shape)
    read, colors = read_png(write_png(indices, palette))
    np.testing.assert_array_equal(read, indices)
    assert colors == palette
