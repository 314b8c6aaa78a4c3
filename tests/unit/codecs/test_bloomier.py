from __future__ import annotations

import doctest
from typing import Any

import mmh3
import numpy as np
import numpy.typing as npt
import pytest

from tests.blobs import SCHEMES, random_keys
from wl_onnx.codecs import bloomier
from wl_onnx.codecs.container import seal
from wl_onnx.errors import BlobError, InputError

CODEBOOK = [-1.5, -0.25, 0.5, 2.0]


def small_blob(**options: Any) -> bytes:
    arguments: dict[str, Any] = {"num_weights": 3000, "codebook": CODEBOOK, "bits": 16}
    return bloomier.encode([3, 700, 1024, 2999], [1, 0, 3, 2], **{**arguments, **options})


def test_examples_of_the_docstrings() -> None:
    results = doctest.testmod(bloomier)
    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.parametrize(("layout", "hash_"), SCHEMES)
def test_stored_keys_come_back(layout: str, hash_: str) -> None:
    indices, values = random_keys(np.random.default_rng(1), 30_000, 0.2, 4)
    blob = bloomier.encode(
        indices, values, num_weights=30_000, codebook=CODEBOOK, bits=8, layout=layout, hash=hash_
    )
    weights = bloomier.decode(blob)
    assert weights.dtype == np.float32
    assert weights.shape == (30_000,)
    np.testing.assert_array_equal(weights[indices], np.float32(CODEBOOK)[values])
    codes = bloomier.decode_codes(blob)
    np.testing.assert_array_equal(codes[indices], values + 1)
    np.testing.assert_array_equal(weights, np.float32([0, *CODEBOOK])[codes])
    # Other weights are zero but for a share of 4 / 2^8.
    false_positives = np.count_nonzero(codes) - indices.size
    assert 0 < false_positives < 2 * (30_000 - indices.size) * 4 / 2**8


@pytest.mark.parametrize("codebook_type", ["float16", "float32"])
@pytest.mark.parametrize(("layout", "hash_"), SCHEMES)
def test_inspect_gives_what_was_encoded(layout: str, hash_: str, codebook_type: str) -> None:
    blob = small_blob(
        layout=layout, hash=hash_, codebook_type=codebook_type, bits=11, seed=2**32 - 1
    )
    info = bloomier.inspect(blob)
    assert (info.layout, info.hash, info.codebook_type) == (layout, hash_, codebook_type)
    assert (info.bits, info.seed, info.num_blocks) == (11, 2**32 - 1, 1)
    assert (info.num_weights, info.num_keys, info.num_clusters) == (3000, 4, 4)
    assert info.size_bytes == len(blob)
    assert info.codebook.dtype == np.float32
    np.testing.assert_array_equal(info.codebook, np.float32(CODEBOOK))


def test_inspect_gives_the_lengths() -> None:
    info = bloomier.inspect(small_blob(bits=[9, 3, 12, 3], layout="prefix"))
    assert (info.layout, info.bits, info.lengths.tolist()) == ("prefix", 12, [9, 3, 12, 3])
    np.testing.assert_array_equal(info.codebook, np.float32(CODEBOOK))
    assert bloomier.inspect(small_blob(bits=5)).lengths.tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize("hash_", ["tabulation", "murmur3"])
def test_codes_of_different_length(hash_: str) -> None:
    rng = np.random.default_rng(2)
    indices, _ = random_keys(rng, 200_000, 0.1, 4)
    values = rng.choice(4, indices.size, p=[0.1, 0.5, 0.1, 0.3])
    lengths = np.array([9, 4, 11, 6])
    blob = bloomier.encode(
        indices, values, num_weights=200_000, codebook=CODEBOOK, bits=lengths, layout="prefix",
        hash=hash_,
    )  # fmt: skip
    codes = bloomier.decode_codes(blob)
    np.testing.assert_array_equal(codes[indices], values + 1)
    np.testing.assert_array_equal(bloomier.decode(blob), np.float32([0, *CODEBOOK])[codes])
    # Within 2.5 % of the bits that the codes have.
    assert 8 * len(blob) < 1.025 * int(lengths[values].sum())
    # Other centroids, and those that were there before.
    other = bloomier.with_codebook(blob, [1, 2, 3, 4])
    np.testing.assert_array_equal(bloomier.decode(other), np.float32(codes))
    assert bloomier.with_codebook(other, CODEBOOK) == blob


def test_a_centroid_without_keys_is_never_read_beyond_the_last_key() -> None:
    # No key of the block reaches the third level, so that nothing is stored for it.
    blob = bloomier.encode(
        np.arange(900), np.arange(900) % 2, num_weights=5000, codebook=[1.0, 2.0, 3.0],
        bits=[2, 5, 9], layout="prefix",
    )  # fmt: skip
    assert set(bloomier.decode_codes(blob)) == {0, 1, 2}


def test_centroids_are_rounded_to_the_stored_type() -> None:
    third = [1 / 3, -1e-7, 65519.0, 1e-9]
    half = bloomier.inspect(small_blob(codebook=third)).codebook
    np.testing.assert_array_equal(half, np.float32(np.float16(third)))
    single = bloomier.inspect(small_blob(codebook=third, codebook_type="float32")).codebook
    np.testing.assert_array_equal(single, np.float32(third))


@pytest.mark.parametrize(("layout", "hash_"), SCHEMES)
@pytest.mark.parametrize("num_weights", [1, 1023, 1024, 1025, 5000])
def test_no_key_and_all_keys(layout: str, hash_: str, num_weights: int) -> None:
    empty = bloomier.encode(
        [], [], num_weights=num_weights, codebook=CODEBOOK, bits=9, layout=layout, hash=hash_
    )
    assert not bloomier.decode(empty).any()
    values = np.arange(num_weights) % 4
    full = bloomier.encode(
        np.arange(num_weights), values, num_weights=num_weights, codebook=CODEBOOK, bits=2,
        layout=layout, hash=hash_,
    )  # fmt: skip
    np.testing.assert_array_equal(bloomier.decode(full), np.float32(CODEBOOK)[values])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64])
def test_indices_and_values_of_any_integer_type(dtype: type[np.integer[Any]]) -> None:
    blob = bloomier.encode(
        np.array([3, 70], dtype), np.array([1, 0], dtype), num_weights=80, codebook=CODEBOOK, bits=9
    )
    assert blob == bloomier.encode([3, 70], [1, 0], num_weights=80, codebook=CODEBOOK, bits=9)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, "array"])
def test_blobs_of_any_buffer_type(kind: Any) -> None:
    blob = small_blob()
    same = np.frombuffer(blob, np.uint8) if kind == "array" else kind(blob)
    np.testing.assert_array_equal(bloomier.decode(same), bloomier.decode(blob))
    assert bloomier.with_codebook(same, CODEBOOK) == blob


def test_seeds_give_other_false_positives() -> None:
    arguments: dict[str, Any] = {"num_weights": 50_000, "codebook": CODEBOOK, "bits": 6}
    first = bloomier.decode_codes(bloomier.encode([5], [1], seed=1, **arguments))
    second = bloomier.decode_codes(bloomier.encode([5], [1], seed=2, **arguments))
    assert (first != second).mean() > 0.05


def test_decode_writes_into_out() -> None:
    blob = small_blob()
    out = np.full(3000, np.nan, np.float32)
    assert bloomier.decode(blob, out=out) is out
    np.testing.assert_array_equal(out, bloomier.decode(blob))
    matrix = np.full((30, 100), np.nan, np.float32)
    assert bloomier.decode(blob, out=matrix) is matrix
    np.testing.assert_array_equal(matrix.ravel(), out)


def test_decode_touches_nothing_beside_out() -> None:
    guarded = np.full(3002, 7, np.float32)
    bloomier.decode(small_blob(), out=guarded[1:-1])
    assert guarded[0] == guarded[-1] == 7


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.zeros(3000, np.float64), "out must be float32, got float64"),
        (np.zeros(2999, np.float32), "must have 3000 elements of 4 bytes, got 11996 bytes"),
        (np.zeros(3001, np.float32), "must have 3000 elements of 4 bytes, got 12004 bytes"),
        (np.zeros(6000, np.float32)[::2], "out must be contiguous and writable"),
        (np.broadcast_to(np.float32(0), 3000), "out must be contiguous and writable"),
    ],
)
def test_out_must_fit(out: npt.NDArray[Any], message: str) -> None:
    with pytest.raises(InputError, match=rf"^cannot decode blob: .*{message}"):
        bloomier.decode(small_blob(), out=out)


def test_a_read_only_out_is_refused() -> None:
    out = np.zeros(3000, np.float32)
    out.flags.writeable = False
    with pytest.raises(InputError, match="out must be contiguous and writable"):
        bloomier.decode(small_blob(), out=out)
    assert not out.any()


@pytest.mark.parametrize("onnx_type", [0, 2, 7, 17, -1])
def test_decode_into_knows_four_element_types(onnx_type: int) -> None:
    with pytest.raises(InputError, match=f"element type must be 1, 10, 11 or 16, got {onnx_type}"):
        bloomier.decode_into(small_blob(), np.zeros(3000, np.float32), onnx_type=onnx_type)


def test_with_codebook_changes_the_centroids_alone() -> None:
    blob = small_blob(bits=4)  # a quarter are false positives
    other = bloomier.with_codebook(blob, [10, 20, 30, 40])
    np.testing.assert_array_equal(bloomier.decode_codes(other), bloomier.decode_codes(blob))
    expected = np.float32([0, 10, 20, 30, 40])[bloomier.decode_codes(blob)]
    np.testing.assert_array_equal(bloomier.decode(other), expected)
    assert bloomier.with_codebook(other, CODEBOOK) == blob


@pytest.mark.parametrize(
    ("codebook", "message"),
    [
        ([1, 2, 3], "it must have 4 centroids, got 3"),
        ([1, 2, 3, 4, 5], "it must have 4 centroids, got 5"),
        ([1, 2, 3, np.nan], "centroids must be finite as float16, got nan"),
        ([1, 2, -np.inf, 4], "centroids must be finite as float16, got -inf"),
        ([1, 70000, 3, 4], "centroids must be finite as float16, got 70000"),
    ],
)
def test_with_codebook_refuses(codebook: list[float], message: str) -> None:
    with pytest.raises(InputError, match=rf"^cannot change codebook: {message}"):
        bloomier.with_codebook(small_blob(), codebook)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indices": [3, 3]}, "indices must ascend strictly and be below 3000, got 3 at place 1"),
        ({"indices": [7, 3]}, "indices must ascend strictly and be below 3000, got 3 at place 1"),
        ({"indices": [3, 3000]}, "indices must .* be below 3000, got 3000 at place 1"),
        ({"indices": [-1, 3]}, "indices must be from 0 to 4294967295, got -1 to 3"),
        ({"indices": [3, 2**32]}, "indices must be from 0 to 4294967295, got 3 to 4294967296"),
        ({"indices": [3.0, 7.0]}, r"indices must be integers \[n\], got float64 \[2\]"),
        ({"indices": [[3, 7]]}, r"indices must be integers \[n\], got int64 \[1, 2\]"),
        ({"indices": [3]}, "there must be one value for each index, got 2 for 1"),
        ({"values": [0, 4]}, "values must be below the 4 centroids, got 4 at place 1"),
        ({"values": [0, -1]}, "values must be from 0 to 65535, got -1 to 0"),
        ({"values": [0, 65536]}, "values must be from 0 to 65535, got 0 to 65536"),
        ({"num_weights": 0}, r"num_weights must be from 1 to 2\*\*32 - 1, got 0"),
        ({"num_weights": 2**32}, r"num_weights must be from 1 to 2\*\*32 - 1, got 4294967296"),
        ({"bits": 0}, "bits must be from 1 to 16, got 0"),
        ({"bits": 17}, "bits must be from 1 to 16, got 17"),
        ({"bits": 1}, r"bits must be from 2 \(for 4 centroids\) to 16, got 1"),
        ({"bits": [4, 4, 4, 4]}, r"one number for the layout ribbon, got \[4\]"),
        ({"bits": 4.0}, "bits must be whole numbers, got float64"),
        ({"bits": [4, 4, 4], "layout": "prefix"}, r"one for each of 4 centroids, got \[3\]"),
        ({"bits": [[4] * 4], "layout": "prefix"}, r"one for each of 4 centroids, got \[1, 4\]"),
        ({"bits": [4, 4, 17, 4], "layout": "prefix"}, "bits must be from 1 to 16, got 17"),
        ({"bits": [4, 4, 0, 4], "layout": "prefix"}, "bits must be from 1 to 16, got 0"),
        ({"bits": [1, 2, 3, 2], "layout": "prefix"}, r"sum of 2\^-length .* at most 1, got more"),
        ({"codebook": []}, "centroids must be from 1 to 4096, got 0"),
        ({"codebook": [0.0] * 4097}, "centroids must be from 1 to 4096, got 4097"),
        ({"codebook": [[0.0, 1.0]]}, r"codebook must be floats \[c\], got shape \[1, 2\]"),
        ({"codebook": [0.0, np.nan]}, "centroid 1 must be finite as it is stored, got nan"),
        ({"codebook": [np.inf, 0.0]}, "centroid 0 must be finite as it is stored, got inf"),
        ({"codebook": [65520.0, 0.0]}, "centroid 0 must be finite as it is stored, got 65520"),
        ({"layout": "cuckoo"}, "layout must be ribbon, xor or prefix, got 'cuckoo'"),
        ({"hash": "md5"}, "hash must be tabulation or murmur3, got 'md5'"),
        ({"codebook_type": "int8"}, "codebook_type must be float32 or float16, got 'int8'"),
        ({"seed": -1}, r"seed must be from 0 to 2\*\*32 - 1, got -1"),
        ({"seed": 2**32}, r"seed must be from 0 to 2\*\*32 - 1, got 4294967296"),
    ],
)
def test_encode_refuses(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "indices": [3, 7],
        "values": [1, 0],
        "num_weights": 3000,
        "codebook": CODEBOOK,
        "bits": 8,
    }
    with pytest.raises(InputError, match=f"^cannot encode weights: .*{message}") as error:
        bloomier.encode(**{**arguments, **change})
    assert "\n" not in str(error.value)


def test_a_centroid_beyond_float32_is_refused_without_a_warning() -> None:
    with pytest.raises(InputError, match="finite"):
        small_blob(codebook=[1e300, 0, 0, 0])
    with pytest.raises(InputError, match="finite"):
        bloomier.with_codebook(small_blob(), [1e300, 0, 0, 0])


@pytest.mark.parametrize(
    "read",
    [
        bloomier.decode,
        bloomier.decode_codes,
        bloomier.inspect,
        lambda blob: bloomier.with_codebook(blob, CODEBOOK),
        lambda blob: bloomier.decode_into(blob, np.zeros(3000, np.float32), onnx_type=1),
    ],
)
def test_every_reader_refuses_a_damaged_blob(read: Any) -> None:
    blob = bytearray(small_blob())
    blob[40] ^= 1
    with pytest.raises(BlobError, match=r"^cannot (read|decode) blob: the checksum .*at byte \d+"):
        read(bytes(blob))


def test_seal_appends_the_checksum() -> None:
    body = bytes(range(77))
    assert seal(body) == body + mmh3.mmh3_x64_128_digest(body, 0)
    assert seal(small_blob()[:-16]) == small_blob()
