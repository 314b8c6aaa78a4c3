"""Damaged and lying blobs: an error or weights within bounds, and never more memory than allowed.

Everything runs in this process, so that a fault of the compiled core ends the tests.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from tests.blobs import (
    SCHEMES,
    STORED_BLOBS,
    BlobFields,
    consistent_blob,
    outcome,
    random_blob,
    reseal,
    several_blocks,
    several_levels,
)
from wl_onnx.codecs import bloomier
from wl_onnx.errors import BlobError
from wl_onnx.kernels import reference

# A blob that tells the truth about this many weights is decoded in the tests.
MOST_WEIGHTS = 1 << 20

HEADER_FIELDS = {  # offset and struct code
    "magic": (0, "I"),
    "version": (4, "B"),
    "codec": (5, "B"),
    "reserved": (6, "H"),
    "num_weights": (8, "Q"),
    "layout": (16, "B"),
    "hash": (17, "B"),
    "bits": (18, "B"),
    "codebook_type": (19, "B"),
    "num_clusters": (20, "I"),
    "seed": (24, "I"),
    "num_keys": (28, "I"),
    "num_blocks": (32, "I"),
}
BLOCK_FIELDS = {"num_groups": (0, "I"), "units": (4, "H"), "attempt": (6, "B")}


SMALL_BLOBS = {f"{layout}-{hash_}": STORED_BLOBS[layout, hash_] for layout, hash_ in SCHEMES}
SMALL_BLOBS["ribbon-blocks"] = several_blocks(1, 1)
SMALL_BLOBS["xor-blocks"] = several_blocks(2, 2)
SMALL_BLOBS["prefix-blocks"] = several_levels()


@pytest.fixture(params=SMALL_BLOBS)
def blob(request: pytest.FixtureRequest) -> bytes:
    found = SMALL_BLOBS[request.param]
    assert bloomier.inspect(found).size_bytes == len(found)
    return found


def check_like_reference(blob: bytes) -> bool:
    """Whether the blob is accepted: by both readers or by none, and then with the same weights."""
    info = outcome(lambda: bloomier.inspect(blob))
    expected = outcome(lambda: reference.parse(blob))
    assert (info is BlobError) == (expected is BlobError), (info, expected)
    if not isinstance(info, bloomier.BlobInfo):
        assert outcome(lambda: bloomier.decode(blob)) is BlobError
        return False
    if info.num_weights <= MOST_WEIGHTS:
        codes = bloomier.decode_codes(blob, threads=2)
        assert codes.max(initial=0) <= info.num_clusters
        if info.num_weights <= 20_000:
            np.testing.assert_array_equal(codes, reference.decode_codes(blob))
    return True


def boundary_values(code: str, value: int) -> list[int]:
    """What a field of this struct code may be made to say: near it, doubled, and every extreme."""
    largest = 256 ** struct.calcsize(f"<{code}") - 1
    if code == "B":
        return [other for other in range(256) if other != value]
    powers = [1 << k for k in range(largest.bit_length())]
    tried = {0, value - 1, value + 1, 2 * value, 4096, 4097, largest, *powers}
    tried |= {power - 1 for power in powers} | {power + 1 for power in powers}
    return sorted(other for other in tried if 0 <= other <= largest and other != value)


def with_field(blob: bytes, offset: int, code: str, value: int) -> bytes:
    changed = bytearray(blob)
    struct.pack_into(f"<{code}", changed, offset, value)
    return reseal(bytes(changed))


def test_every_prefix_is_refused(blob: bytes) -> None:
    for size in range(len(blob)):
        with pytest.raises(BlobError, match=r"^cannot (decode|read) blob: "):
            bloomier.decode(blob[:size])


def test_every_prefix_with_a_checksum_is_refused(blob: bytes) -> None:
    for size in range(len(blob) - 16):
        assert not check_like_reference(reseal(blob[:size] + bytes(16)))


def test_every_single_byte_change_is_refused(blob: bytes) -> None:
    for place in range(len(blob)):
        for value in range(256):
            if value == blob[place]:
                continue
            changed = blob[:place] + bytes([value]) + blob[place + 1 :]
            with pytest.raises(BlobError):
                bloomier.inspect(changed)


def test_bytes_at_the_end_are_refused(blob: bytes) -> None:
    for count in range(1, 40):
        with pytest.raises(BlobError):
            bloomier.decode(blob + bytes(count))
        assert not check_like_reference(reseal(blob[:-16] + bytes(count) + bytes(16)))


@pytest.mark.parametrize("field", HEADER_FIELDS)
def test_header_fields_that_lie(blob: bytes, field: str) -> None:
    offset, code = HEADER_FIELDS[field]
    (value,) = struct.unpack_from(f"<{code}", blob, offset)
    accepted = 0
    for lie in boundary_values(code, value):
        accepted += check_like_reference(with_field(blob, offset, code, lie))
    if field in ("magic", "version", "codec", "reserved", "num_blocks"):
        assert accepted == 0
    if field == "seed":
        assert accepted == len(boundary_values(code, value))


@pytest.mark.parametrize("field", BLOCK_FIELDS)
def test_block_fields_that_lie(blob: bytes, field: str) -> None:
    info = bloomier.inspect(blob)
    first = 36 + info.num_clusters * (2 if info.codebook_type == "float16" else 4)
    size = 7
    if info.layout == "prefix":
        first += -(-info.num_clusters // 2)
        size = 4 + 3 * len(set(info.lengths.tolist()))
    for block in range(info.num_blocks):
        offset, code = BLOCK_FIELDS[field]
        offset += first + size * block
        (value,) = struct.unpack_from(f"<{code}", blob, offset)
        accepted = 0
        for lie in boundary_values(code, value):
            accepted += check_like_reference(with_field(blob, offset, code, lie))
        assert accepted == (255 if field == "attempt" else 0)


@pytest.mark.parametrize(
    "change",
    [
        {"codebook": np.ones(4096, np.float16), "bits": 12},
        {"codebook": np.ones(4096, np.float32), "bits": 16, "layout": 2},
        {"codebook": np.ones(2, np.float32), "bits": 1},
        {"num_keys": 1000},
        {"blocks": [(1, 8, 0)]},
        {"blocks": [(1, 65535, 255)]},
        {"blocks": [(1, 8, 0)], "layout": 2},
        {"blocks": [(1, 4096, 255)], "layout": 2},
        {"blocks": [(1, 0, 255)]},
        {"num_weights": 1025, "blocks": [(1, 0, 0), (1, 8, 0)]},
        {"layout": 3, "blocks": [(1, 8, 0, 8, 0, 65535, 0)]},
        {"layout": 3, "blocks": [(1, 8, 0, 9, 0, 0, 255)]},
        {"layout": 3, "blocks": [(1, 0, 1, 0, 2, 0, 255)]},
        {"layout": 3, "bits": 2, "lengths": b"\x11\x11", "blocks": [(1, 20, 0)]},
        {
            "layout": 3,
            "bits": 1,
            "codebook": np.ones(1, np.float32),
            "lengths": b"\x00",
            "blocks": [(1, 20, 0)],
        },
        {
            "layout": 3,
            "bits": 16,
            "codebook": np.ones(4096, np.float16),
            "lengths": b"\xff" * 2048,
            "blocks": [(1, 20, 0)],
        },
    ],
    ids=str,
)
def test_the_last_that_is_allowed(change: dict[str, Any]) -> None:
    assert check_like_reference(consistent_blob(**change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layout": 4}, "layout must be 1, 2 or 3, got 4 at byte 16"),
        ({"hash": 0}, "hash must be 1 or 2, got 0 at byte 17"),
        ({"bits": 0, "codebook": np.ones(1, np.float16)}, "bits must be .*, got 0 at byte 18"),
        ({"bits": 17}, "bits must be from 1 to 16, got 17 at byte 18"),
        ({"codebook": np.ones(0, np.float16)}, "clusters must be from 1 to 4096, got 0 at byte 20"),
        ({"codebook": np.ones(4097, np.float16), "bits": 13}, "clusters must be .*, got 4097"),
        ({"codebook": np.ones(5, np.float16), "bits": 2}, r"at most 2\^bits, got 5 at byte 20"),
        ({"num_keys": 1001}, "keys must be no more than weights, got 1001 at byte 28"),
        ({"num_weights": 0}, "number of weights must be from 1 .*, got 0 at byte 8"),
        ({"num_weights": 2**32}, "number of weights must be from 1 .*, got 4294967296 at byte 8"),
        ({"blocks": []}, "blocks must be from 1 to the number of groups, got 0 at byte 32"),
        ({"blocks": [(1, 9, 0), (1, 9, 0)]}, "blocks must be from 1 .*, got 2 at byte 32"),
        ({"blocks": [(0, 9, 0)]}, "groups must lie in the tensor, got 0 at byte 44"),
        ({"blocks": [(2, 9, 0)]}, "groups must lie in the tensor, got 2 at byte 44"),
        ({"num_weights": 1025}, "must cover all groups of the tensor, got 1 at byte 51"),
        ({"blocks": [(1, 1, 0)]}, "table must be of a possible size, got 1 at byte 48"),
        ({"blocks": [(1, 7, 0)]}, "table must be of a possible size, got 7 at byte 48"),
        ({"blocks": [(1, 7, 0)], "layout": 2}, "must be of a possible size, got 7 at byte 48"),
        ({"blocks": [(1, 4097, 0)], "layout": 2}, "of a possible size, got 4097 at byte 48"),
        (
            {"layout": 3, "blocks": [(1, 9, 0, 7, 0, 8, 0)]},
            "of a possible size, got 7 at byte 53",
        ),
        (
            {"layout": 3, "blocks": [(1, 9, 0, 0, 0, 8, 0)]},
            "no table may follow one without keys, got 8 at byte 56",
        ),
        (
            {"layout": 3, "bits": 8, "blocks": [(1, 9, 0, 9, 0, 9, 0)]},
            "bits must be the length of the longest code, got 8 at byte 18",
        ),
        (  # 1/2 + 1/4 + 1/4 + 1/512
            {"layout": 3, "lengths": b"\x80\x11", "blocks": [(1, 9, 0, 9, 0, 9, 0)]},
            r"the sum of 2\^-length over the codes must be at most 1, got 4 at byte 44",
        ),
        (
            {
                "layout": 3,
                "codebook": np.ones(3, np.float16),
                "lengths": b"\x83\x13",
                "blocks": [(1, 9, 0, 9, 0)],
            },
            "bits behind the last length must be 0, got 19 at byte 43",
        ),
    ],
    ids=str,
)
def test_a_rule_that_is_broken_alone(change: dict[str, Any], message: str) -> None:
    blob = consistent_blob(**change)
    assert not check_like_reference(blob)
    with pytest.raises(BlobError, match=message):
        bloomier.inspect(blob)


def test_groups_whose_sum_wraps_are_refused() -> None:
    good = several_blocks(1, 1)
    first = 36 + 3 * 4
    # 2^32 - 1 + 3 + 4 + 1 is 7, the number of groups, in 32 bits.
    lie = good
    for block, num_groups in enumerate([2**32 - 1, 3, 4, 1]):
        lie = with_field(lie, first + 7 * block, "I", num_groups)
    assert not check_like_reference(lie)


@pytest.mark.parametrize("bits", [0x7C00, 0xFC00, 0x7E00, 0x7C01, 0xFFFF])
def test_a_centroid_that_is_not_finite_is_refused(bits: int) -> None:
    good = STORED_BLOBS["ribbon", "tabulation"]
    for centroid in range(5):
        assert not check_like_reference(with_field(good, 36 + 2 * centroid, "H", bits))


def test_many_empty_blocks() -> None:
    count = 30_000
    fields = BlobFields(
        num_weights=count * 1024,
        layout=1,
        hash=1,
        bits=9,
        codebook=np.ones(1, np.float16),
        seed=0,
        num_keys=0,
        blocks=[(1, 0, 7)] * count,
        tables=b"",
    )
    assert not bloomier.decode_codes(fields.to_bytes(), threads=2).any()
    fields.tables = bytes(1)
    assert not check_like_reference(fields.to_bytes())


def test_a_huge_count_takes_no_memory_to_read() -> None:
    # It is the truth as far as a reader can know: 2^32 - 1 zero weights.
    fields = BlobFields(
        num_weights=2**32 - 1,
        layout=2,
        hash=1,
        bits=9,
        codebook=np.ones(1, np.float16),
        seed=0,
        num_keys=0,
        blocks=[(2**22, 0, 0)],
        tables=b"",
    )
    assert bloomier.inspect(fields.to_bytes()).num_weights == 2**32 - 1


@pytest.mark.usefixtures("_target")
def test_random_changes_with_a_checksum(blob: bytes) -> None:
    rng = np.random.default_rng(29)
    accepted = 0
    for _ in range(1000):
        changed = bytearray(blob[:-16])
        for place in rng.integers(0, len(changed), rng.integers(1, 5)):
            changed[place] = rng.integers(256)
        accepted += check_like_reference(reseal(bytes(changed) + bytes(16)))
    assert 100 < accepted < 1000  # changes in tables cannot be seen, others can


def test_random_cuts_and_insertions_with_a_checksum(blob: bytes) -> None:
    rng = np.random.default_rng(30)
    for _ in range(500):
        start, stop = np.sort(rng.integers(4, len(blob) - 16, 2))
        cut = blob[:start] + rng.bytes(int(rng.integers(0, 20))) + blob[stop:]
        check_like_reference(reseal(cut))


def test_random_payloads() -> None:
    rng = np.random.default_rng(31)
    for _ in range(3000):
        frame = struct.pack("<4sBBHQ", b"WLOX", 1, 1, 0, int(2 ** rng.uniform(0, 14)))
        payload = bytearray(rng.bytes(int(rng.integers(0, 120))))
        if len(payload) > 20:  # a header that goes some way
            payload[:4] = bytes([rng.integers(1, 4), rng.integers(1, 3), rng.integers(1, 17), 1])
            struct.pack_into("<I", payload, 4, int(rng.integers(0, 5)))
            struct.pack_into("<II", payload, 12, 0, int(rng.integers(0, 4)))
        check_like_reference(reseal(frame + bytes(payload) + bytes(16)))


@pytest.mark.usefixtures("_target")
def test_random_tables_with_lying_fields() -> None:
    rng = np.random.default_rng(32)
    for _ in range(300):
        good = random_blob(rng, max_groups=3)
        offset, code = list(HEADER_FIELDS.values())[rng.integers(4, len(HEADER_FIELDS))]
        (value,) = struct.unpack_from(f"<{code}", good, offset)
        lies = boundary_values(code, value)
        check_like_reference(with_field(good, offset, code, lies[rng.integers(len(lies))]))
