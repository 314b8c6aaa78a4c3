"""Damaged and lying palettes: an error or weights within bounds, in bounded memory.

Everything runs in this process, so that a fault of the compiled core ends the tests.
"""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.blobs import outcome, reseal
from tests.palettes import random_blob, stored_arguments
from wl_onnx.codecs import palette
from wl_onnx.errors import BlobError
from wl_onnx.kernels import reference_palette


@pytest.fixture(params=["plain", "classes"])
def blob(request: pytest.FixtureRequest) -> bytes:
    arguments = stored_arguments(request.param)
    found = palette.encode(**arguments)  # type: ignore[arg-type]
    assert palette.inspect(found).size_bytes == len(found)
    return found


def check_like_reference(blob: bytes) -> bool:
    """Whether the blob is accepted: by both readers or by none, and then with the same weights."""
    info = outcome(lambda: palette.inspect(blob))
    if not isinstance(info, palette.PaletteInfo):
        assert outcome(lambda: reference_palette.parse(blob)) is BlobError, blob.hex()
        return False
    if info.num_weights <= 1 << 20:
        codes = palette.decode_codes(blob, threads=2)
        assert codes.max(initial=0) < info.num_clusters
        if info.num_weights <= 2000 and info.num_clusters <= 64:
            np.testing.assert_array_equal(codes, reference_palette.decode_codes(blob))
    return True


def with_field(blob: bytes, offset: int, code: str, value: int) -> bytes:
    changed = bytearray(blob)
    struct.pack_into(f"<{code}", changed, offset, value)
    return reseal(bytes(changed))


def test_every_prefix_is_refused(blob: bytes) -> None:
    for size in range(len(blob)):
        with pytest.raises(BlobError, match=r"^cannot (decode|read) blob: "):
            palette.decode(blob[:size])


def test_every_prefix_with_a_checksum_is_bounded(blob: bytes) -> None:
    accepted = [size for size in range(len(blob) - 16)
                if check_like_reference(reseal(blob[:size] + bytes(16)))]  # fmt: skip
    # Only words can be missing, and whole ones.
    assert all((len(blob) - 16 - size) % 2 == 0 for size in accepted)
    assert not accepted or min(accepted) >= 40


def test_every_single_byte_change_is_refused(blob: bytes) -> None:
    for place in range(len(blob)):
        for change in range(1, 256):
            changed = blob[:place] + bytes([blob[place] ^ change]) + blob[place + 1 :]
            with pytest.raises(BlobError):
                palette.inspect(changed)


def test_every_change_of_a_byte_with_a_checksum_is_bounded(blob: bytes) -> None:
    accepted = 0
    for place in range(len(blob) - 16):
        for value in range(0, 256, 7 if place < 24 else 61):
            changed = blob[:place] + bytes([value]) + blob[place + 1 :]
            accepted += check_like_reference(reseal(changed))
    assert accepted > 30


@pytest.mark.parametrize(
    ("offset", "code", "value", "message"),
    [
        (5, "B", 1, r"codec must be 2 \(palette\), got 1 at byte 5"),
        (6, "H", 1, "reserved field must be 0, got 1 at byte 6"),
        (8, "Q", 0, "number of weights must be from 1 .*, got 0 at byte 8"),
        (8, "Q", 2**32, "number of weights must be from 1 .*, got 4294967296 at byte 8"),
        (16, "H", 0x8000 | 12 << 2 | 18 << 9, "bit 15 of the scheme must be 0, got .* at byte 16"),
        (16, "H", 7 << 2 | 18 << 9, "bits of a probability must be .*, got 7 at byte 16"),
        (16, "H", 15 << 2 | 18 << 9, "bits of a probability must be .*, got 15 at byte 16"),
        (16, "H", 12 << 2 | 7 << 6 | 18 << 9, "lanes must be at most 64, got 128 at byte 16"),
        (16, "H", 12 << 2 | 7 << 9, "bits of a chunk's length must be .*, got 7 at byte 17"),
        (16, "H", 12 << 2 | 33 << 9, "bits of a chunk's length must be .*, got 33 at byte 17"),
        (18, "H", 4096, "clusters must be from 1 to 4096, got 4097 at byte 18"),
        (18, "H", 4095, "the codebook must be complete, got .* at byte 20"),
    ],
)
def test_a_field_that_lies(offset: int, code: str, value: int, message: str) -> None:
    blob = palette.encode(np.arange(900) % 5, codebook=[0.0, 1.0, 2.5, 7.0, 5.0])
    lie = with_field(blob, offset, code, value)
    assert not check_like_reference(lie)
    with pytest.raises(BlobError, match=message):
        palette.inspect(lie)


@pytest.mark.parametrize("bits", [0x7C00, 0xFC00, 0x7E00])
def test_a_centroid_that_is_not_finite_is_refused(bits: int) -> None:
    blob = palette.encode([0, 1, 2], codebook=[0.0, 1.0, 2.5])
    for centroid in range(3):
        assert not check_like_reference(with_field(blob, 20 + 2 * centroid, "H", bits))


def test_a_regular_codebook_that_overflows_is_refused() -> None:
    blob = palette.encode(np.arange(9) % 9, codebook=np.arange(9) * 0.5)
    for step in (float("inf"), float("nan"), 1e38, 30000.0):
        changed = bytearray(blob)
        struct.pack_into("<f", changed, 20, step)
        assert not check_like_reference(reseal(bytes(changed)))


def test_a_huge_count_takes_no_memory_to_read() -> None:
    blob = palette.encode(np.zeros(1000, np.uint16), codebook=[0.0, 1.0])
    scheme = struct.unpack_from("<H", blob, 16)[0] & 0x1FF | 32 << 9
    huge = with_field(with_field(blob, 16, "H", scheme), 8, "Q", 2**32 - 1)
    assert palette.inspect(huge).num_weights == 2**32 - 1
    many_chunks = with_field(huge, 16, "H", scheme & 0x1FF | 8 << 9)
    with pytest.raises(BlobError, match="the chunks' lengths must be complete"):
        palette.inspect(many_chunks)


def side_blob(side: bytes, num_weights: int) -> bytes:
    """A blob with these bytes as its model, three centroids, one lane, no words."""
    frame = struct.pack("<4sBBHQ", b"WLOX", 1, 2, 0, num_weights)
    scheme = 10 << 2 | 32 << 9
    payload = struct.pack("<HHeee", scheme, 2, 0, 1, 3) + bytes([len(side)]) + side + bytes(4)
    return reseal(frame + payload + bytes(16))


def test_models_of_random_bytes() -> None:
    # What few bytes can make the reader do: many rows, many contexts, large shares.
    rng = np.random.default_rng(51)
    accepted = 0
    for _ in range(400):
        side = rng.bytes(int(rng.integers(0, 8)))
        accepted += check_like_reference(side_blob(side, int(2 ** rng.uniform(0, 31.9))))
    assert accepted > 5


@pytest.mark.usefixtures("_target")
def test_random_changes_with_a_checksum(blob: bytes) -> None:
    rng = np.random.default_rng(29)
    accepted = 0
    for _ in range(600):
        changed = bytearray(blob[:-16])
        for place in rng.integers(0, len(changed), rng.integers(1, 5)):
            changed[place] = rng.integers(256)
        accepted += check_like_reference(reseal(bytes(changed) + bytes(16)))
    assert 20 < accepted < 600


@pytest.mark.usefixtures("_target")
def test_random_blobs_with_changes_and_a_checksum() -> None:
    rng = np.random.default_rng(30)
    for _ in range(300):
        changed = bytearray(random_blob(rng, max_weights=40_000)[:-16])
        for place in rng.integers(8, len(changed), rng.integers(1, 5)):
            changed[place] = rng.integers(256)
        check_like_reference(reseal(bytes(changed) + bytes(16)))


def test_random_cuts_and_insertions_with_a_checksum(blob: bytes) -> None:
    rng = np.random.default_rng(31)
    for _ in range(400):
        start, stop = np.sort(rng.integers(4, len(blob) - 16, 2))
        cut = blob[:start] + rng.bytes(int(rng.integers(0, 20))) + blob[stop:]
        check_like_reference(reseal(cut))
