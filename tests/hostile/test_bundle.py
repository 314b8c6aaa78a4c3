"""Damaged and lying bundles: an error or weights of the right number, in bounded memory.

Everything runs in this process, so that a fault of the compiled core ends the tests.
"""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.blobs import outcome, reseal
from tests.bundles import random_bundle, stored_tensors
from wl_onnx.codecs import bundle
from wl_onnx.codecs.bundle import BundleTensor
from wl_onnx.errors import BlobError
from wl_onnx.kernels import reference_bundle


@pytest.fixture(scope="module")
def blob() -> bytes:
    return bundle.encode(stored_tensors())


def check_like_reference(blob: bytes) -> bool:
    """Whether the blob is accepted: by both readers or by none, and then with the same weights."""
    weights = outcome(lambda: bundle.decode(blob))
    num_weights = struct.unpack_from("<Q", blob, 8)[0]
    if num_weights > 4000:
        return isinstance(weights, list)
    other = outcome(lambda: reference_bundle.decode(blob))
    if not isinstance(weights, list):
        assert other is BlobError, blob.hex()
        return False
    assert isinstance(other, list), blob.hex()
    assert sum(one.size for one in weights) == num_weights
    for one, two in zip(weights, other, strict=True):
        np.testing.assert_array_equal(one.view("u4"), two.view("u4"))
    info = bundle.inspect(blob)
    assert [one.num_weights for one in info.tensors] == [one.size for one in weights]
    assert sum(one.size_bits for one in info.tensors) == 8 * len(blob)
    return True


def test_every_prefix_is_refused(blob: bytes) -> None:
    for size in range(len(blob)):
        for read in (bundle.decode, bundle.inspect):
            with pytest.raises(BlobError, match=r"^cannot (decode|read) blob: "):
                read(blob[:size])


def test_every_prefix_with_a_checksum_is_bounded(blob: bytes) -> None:
    for size in range(17, len(blob) - 16):
        check_like_reference(reseal(blob[:size] + bytes(16)))


def test_every_single_byte_change_is_refused(blob: bytes) -> None:
    for place in range(len(blob)):
        for change in range(1, 256):
            changed = blob[:place] + bytes([blob[place] ^ change]) + blob[place + 1 :]
            with pytest.raises(BlobError):
                bundle.decode(changed)


def test_every_change_of_a_byte_with_a_checksum_is_bounded(blob: bytes) -> None:
    accepted = 0
    for place in range(len(blob) - 16):
        for value in range(0, 256, 31):
            changed = blob[:place] + bytes([value]) + blob[place + 1 :]
            accepted += check_like_reference(reseal(changed))
    assert accepted > 30


@pytest.mark.parametrize(
    ("offset", "code", "value", "message"),
    [
        (5, "B", 2, r"codec must be 3 \(bundle\), got 2 at byte 5"),
        (6, "H", 1, "reserved field must be 0, got 1 at byte 6"),
        (8, "Q", 0, "number of weights must be from 1 .*, got 0 at byte 8"),
        (8, "Q", 2**23 + 1, "number of weights must be at most 8388608, got 8388609 at byte 8"),
        (8, "Q", 144, "weights of all tensors must be as many as the header says"),
        (8, "Q", 146, "weights of all tensors must be as many as the header says"),
        (8, "Q", 4, "number of tensors must be from 1 to .* weights, got 5 at byte 16"),
    ],
)
def test_a_field_that_lies(blob: bytes, offset: int, code: str, value: int, message: str) -> None:
    changed = bytearray(blob)
    struct.pack_into(f"<{code}", changed, offset, value)
    lie = reseal(bytes(changed))
    with pytest.raises(BlobError, match=message):
        bundle.inspect(lie)
    check_like_reference(lie)


def test_a_payload_must_end_where_its_weights_end(blob: bytes) -> None:
    longer = reseal(blob[:-16] + b"\x01" * 8 + bytes(16))
    with pytest.raises(BlobError, match="payload must end with the last tensor"):
        bundle.decode(longer)
    assert not check_like_reference(longer)
    assert not check_like_reference(reseal(blob[:-16] + bytes(17)))
    assert not check_like_reference(reseal(blob[:16] + bytes(16)))


@pytest.mark.parametrize("row_length", [1, 4096, 2**23])
def test_the_most_weights_in_a_few_bytes(row_length: int) -> None:
    levels = np.zeros(2**23, np.int32)
    blob = bundle.encode([BundleTensor(levels=levels, row_length=row_length, step=1.0)])
    assert len(blob) < 20_000
    (weights,) = bundle.decode(blob)
    assert weights.size == 2**23
    assert not weights.any()


def test_payloads_of_random_bytes() -> None:
    rng = np.random.default_rng(63)
    accepted = 0
    for _ in range(3000):
        payload = rng.bytes(int(rng.integers(1, 30))) + b"\x01"
        num_weights = int(2 ** rng.uniform(0, 12))
        frame = struct.pack("<4sBBHQ", b"WLOX", 1, 3, 0, num_weights)
        accepted += check_like_reference(reseal(frame + payload + bytes(16)))
    assert accepted < 3000


def test_random_bundles_with_changes_and_a_checksum() -> None:
    rng = np.random.default_rng(64)
    accepted = 0
    for _ in range(250):
        changed = bytearray(bundle.encode(random_bundle(rng, max_weights=200))[:-16])
        for place in rng.integers(16, len(changed), rng.integers(1, 4)):
            changed[place] = rng.integers(256)
        accepted += check_like_reference(reseal(bytes(changed) + bytes(16)))
    assert accepted > 20
