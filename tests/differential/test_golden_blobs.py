"""The bytes of format version 1, as they were when it was made: they may never change."""

from __future__ import annotations

from typing import Any

import mmh3
import numpy as np
import pytest

from tests.blobs import SCHEMES, STORED_BITS, STORED_BLOBS, STORED_CODEBOOK
from wl_onnx.codecs import bloomier
from wl_onnx.kernels import reference

# MurmurHash3_x64_128 of all the codes, uint16, that a stored blob holds.
CODES_DIGESTS = {
    ("ribbon", "tabulation"): "0dba9e6f66fe56065a03b3d3414023be",
    ("ribbon", "murmur3"): "d4308614fbd001e8f3b9c29be4882fb0",
    ("xor", "tabulation"): "99c5b4fe795957c9c8faf618d9628aaa",
    ("xor", "murmur3"): "6e710e5cabe299a9bfe45433061dc6a8",
    ("prefix", "tabulation"): "7aae0654b2d83b9a9a16a75d0452dc4c",
    ("prefix", "murmur3"): "9eb95fdcc744613cc4b16dcb96c79632",
}

# An encoding of 9,000 keys: the blob's own checksum, and the digest of its float32 weights.
# Prefix: centroid j's code has 4 + j bits.
# tests/native/test_bloomier.cc has the same numbers, for CPUs that Python does not run on.
ENCODED_DIGESTS = {
    ("ribbon", "tabulation"): (
        "d2d0cebd8a404e3bbd188f992313cf17",
        "f5071d959967a8c6ecfa9ef23bae1454",
    ),
    ("ribbon", "murmur3"): (
        "8a9711dea1148892f5876de4fce40830",
        "5a6b575281a522f54a9215544bfb451d",
    ),
    ("xor", "tabulation"): (
        "6e496663e4486d6e62db9f7430c5e289",
        "122afca2df1923519010ca7e5d01278f",
    ),
    ("xor", "murmur3"): (
        "685b4c0537a6b58db4f3f3351b26da00",
        "d21705edd289591c27252e7162fed7b9",
    ),
    ("prefix", "tabulation"): (
        "b3b0c9feebfbf71606f5a1a689e5f7e4",
        "39dd9339e674e9d40e90cfdd0be39f52",
    ),
    ("prefix", "murmur3"): (
        "aa77b50fe200ec485715fe16f00fd94e",
        "f3545da163a1196241dc3331308a45a1",
    ),
}


def digest(data: Any) -> str:
    return mmh3.mmh3_x64_128_digest(bytes(data), 0).hex()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_stored_blobs_are_read_as_ever(scheme: tuple[str, str]) -> None:
    blob = STORED_BLOBS[scheme]
    i = np.arange(40)
    indices, values = 61 * i + i * i % 23, i % 5
    np.testing.assert_array_equal(reference.query(blob, indices), values)
    for codes in (reference.decode_codes(blob), bloomier.decode_codes(blob)):
        np.testing.assert_array_equal(codes[indices], values + 1)
        assert digest(codes) == CODES_DIGESTS[scheme]
    expected = np.float32([0, *STORED_CODEBOOK])[reference.decode_codes(blob)]
    np.testing.assert_array_equal(reference.decode(blob), expected)
    np.testing.assert_array_equal(bloomier.decode(blob), expected)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_stored_blobs_are_written_as_ever(scheme: tuple[str, str]) -> None:
    layout, hash_ = scheme
    i = np.arange(40)
    blob = bloomier.encode(
        61 * i + i * i % 23, i % 5, num_weights=2500, codebook=STORED_CODEBOOK,
        bits=STORED_BITS[layout], layout=layout, hash=hash_, seed=99,
    )  # fmt: skip
    assert blob.hex() == STORED_BLOBS[scheme].hex()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_encoding_of_several_blocks_has_the_same_bytes_as_ever(scheme: tuple[str, str]) -> None:
    layout, hash_ = scheme
    i = np.arange(9000)
    blob = bloomier.encode(
        37 * i + i * i % 31, 7 * i * i % 13, num_weights=333_100,
        codebook=(np.arange(13) - 6) / 8 + 1 / 64,
        bits=4 + np.arange(13) if layout == "prefix" else 9, layout=layout, hash=hash_, seed=2024,
    )  # fmt: skip
    assert bloomier.inspect(blob).num_blocks == 3
    checksum, weights_digest = ENCODED_DIGESTS[scheme]
    assert digest(blob[:-16]) == blob[-16:].hex() == checksum
    assert digest(bloomier.decode(blob)) == weights_digest
