from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.palettes import entropy_bytes, random_codes
from wl_onnx.codecs import palette
from wl_onnx.errors import BlobError, InputError

CODEBOOK = [-1.5, 0.0, 0.5, 2.0]


def small_blob(**options: Any) -> bytes:
    codes = random_codes(np.random.default_rng(0), 3000, 4)
    return palette.encode(codes, **{"codebook": CODEBOOK, **options})


def test_examples_of_the_docstrings() -> None:
    results = doctest.testmod(palette)
    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.parametrize("num_weights", [1, 2, 63, 64, 65, 255, 4097, 70_001])
@pytest.mark.parametrize("num_clusters", [1, 2, 16, 17, 256, 257, 4096])
def test_codes_come_back(num_weights: int, num_clusters: int) -> None:
    rng = np.random.default_rng([num_weights, num_clusters])
    codes = random_codes(rng, num_weights, num_clusters)
    codebook = rng.normal(size=num_clusters).astype(np.float32)
    blob = palette.encode(codes, codebook=codebook)
    np.testing.assert_array_equal(palette.decode_codes(blob), codes)
    np.testing.assert_array_equal(palette.decode(blob), np.float32(np.float16(codebook))[codes])


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_size_is_within_two_percent_of_the_entropy(kind: str) -> None:
    rng = np.random.default_rng(1)
    values = np.round(rng.laplace(size=100_000) * 2).astype(int)
    if kind == "sparse":
        values = np.where(rng.random(values.size) < 0.95, 0, values + np.sign(values + 0.5))
    codes = np.clip(values, -8, 8).astype(int) + 8
    blob = palette.encode(codes, codebook=np.arange(17) - 8.0)
    assert len(blob) <= 1.02 * entropy_bytes(codes)


def test_a_small_tensor_pays_little_beside_its_entropy() -> None:
    codes = np.clip(np.round(np.random.default_rng(2).normal(size=300) * 2), -4, 4) + 4
    blob = palette.encode(codes.astype(int), codebook=np.arange(9) / 8 - 0.5)
    assert len(blob) - 32 <= entropy_bytes(codes.astype(int)) + 24


def test_dead_rows_and_columns_cost_next_to_nothing() -> None:
    rng = np.random.default_rng(3)
    live = np.outer(rng.random(200) < 0.5, rng.random(300) < 0.4)
    codes = np.where(live, rng.integers(0, 16, live.shape), 7).ravel()
    plain = palette.encode(codes, codebook=np.arange(16))
    blob = palette.encode(codes, codebook=np.arange(16), row_length=300)
    np.testing.assert_array_equal(palette.decode_codes(blob), codes)
    info = palette.inspect(blob)
    assert (info.row_length, info.num_row_classes > 1, info.num_column_classes > 1) == (300, 1, 1)
    # Half a byte for each live weight, a bit for each row and column.
    assert len(blob) < live.sum() / 2 + 500 / 8 + 120
    assert len(blob) < 0.65 * len(plain)
    assert palette.encode(codes, codebook=np.arange(16), row_length=[7, 300, 11]) == blob


def test_a_row_length_that_does_not_pay_changes_nothing() -> None:
    codes = random_codes(np.random.default_rng(4), 5000, 16)
    blob = palette.encode(codes, codebook=np.arange(16))
    for row_length in (1, 100, 5000, 6000):
        assert palette.encode(codes, codebook=np.arange(16), row_length=row_length) == blob


def test_a_tensor_of_one_value() -> None:
    codes = np.full(1_000_000, 3)
    blob = palette.encode(codes, codebook=CODEBOOK)
    assert len(blob) < 60
    assert (palette.decode(blob) == 2).all()


@pytest.mark.parametrize("codebook_type", ["float16", "float32"])
def test_inspect_gives_what_was_encoded(codebook_type: str) -> None:
    blob = small_blob(codebook_type=codebook_type)
    info = palette.inspect(blob)
    assert (info.num_weights, info.num_clusters, info.codebook_type) == (3000, 4, codebook_type)
    assert (info.row_length, info.num_row_classes, info.num_column_classes) == (0, 1, 1)
    assert (info.num_chunks, info.size_bytes) == (1, len(blob))
    np.testing.assert_array_equal(info.codebook, np.float32(CODEBOOK))


@pytest.mark.parametrize("codebook_type", ["float16", "float32"])
@pytest.mark.parametrize("step", [0.1, 1 / 3, -2.5, 1e-30, 3e-6])
def test_a_regular_codebook_takes_six_bytes(step: float, codebook_type: str) -> None:
    codebook = np.float32(step) * np.float32(np.arange(40) - 17)
    codes = random_codes(np.random.default_rng(5), 500, 40)
    blob = palette.encode(codes, codebook=codebook, codebook_type=codebook_type)
    with np.errstate(under="ignore"):
        stored = codebook.astype(codebook_type).astype(np.float32)
    np.testing.assert_array_equal(palette.inspect(blob).codebook, stored)
    other = palette.with_codebook(blob, np.append(codebook[:-1], 0.7))
    width = 2 if codebook_type == "float16" else 4
    is_tiny = codebook_type == "float16" and abs(step) < 1e-20  # all are zeros then
    if not is_tiny:
        assert len(other) - len(blob) == 40 * width - 6


def test_with_codebook_changes_the_centroids_alone() -> None:
    blob = small_blob()
    for codebook in ([10, 20, 30, 40], [0.1, 0.7, 0.3, -9]):
        other = palette.with_codebook(blob, codebook)
        np.testing.assert_array_equal(palette.decode_codes(other), palette.decode_codes(blob))
        np.testing.assert_array_equal(
            palette.inspect(other).codebook, np.float32(np.float16(codebook))
        )
        assert palette.with_codebook(other, CODEBOOK) == blob


@pytest.mark.parametrize(
    ("codebook", "message"),
    [
        ([1, 2, 3], "it must have 4 centroids, got 3"),
        ([1, 2, 3, np.nan], "centroid 3 must be finite as it is stored, got nan"),
        ([1, 70000, 3, 4], "centroid 1 must be finite as it is stored, got 70000"),
    ],
)
def test_with_codebook_refuses(codebook: list[float], message: str) -> None:
    with pytest.raises(InputError, match=f"^cannot change codebook: {message}"):
        palette.with_codebook(small_blob(), codebook)


def test_decode_writes_into_out() -> None:
    blob = small_blob()
    matrix = np.full((30, 100), np.nan, np.float32)
    assert palette.decode(blob, out=matrix) is matrix
    np.testing.assert_array_equal(matrix.ravel(), palette.decode(blob))
    guarded = np.full(3002, 7, np.float32)
    palette.decode(blob, out=guarded[1:-1])
    assert guarded[0] == guarded[-1] == 7


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.zeros(3000, np.float64), "out must be float32, got float64"),
        (np.zeros(2999, np.float32), "must have 3000 elements of 4 bytes, got 11996 bytes"),
        (np.zeros(6000, np.float32)[::2], "out must be contiguous and writable"),
    ],
)
def test_out_must_fit(out: npt.NDArray[Any], message: str) -> None:
    with pytest.raises(InputError, match=rf"^cannot decode blob: .*{message}"):
        palette.decode(small_blob(), out=out)


def test_decode_into_knows_four_element_types() -> None:
    with pytest.raises(InputError, match="element type must be 1, 10, 11 or 16, got 7"):
        palette.decode_into(small_blob(), np.zeros(3000, np.float32), onnx_type=7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": [0, 4]}, "codes must be below the 4 centroids, got 4 at place 1"),
        ({"codes": [0, -1]}, "codes must be from 0 to 65535, got -1 to 0"),
        ({"codes": [0, 65536]}, "codes must be from 0 to 65535, got 0 to 65536"),
        ({"codes": [0.5]}, r"codes must be integers \[n\], got float64 \[1\]"),
        ({"codes": [[1, 2]]}, r"codes must be integers \[n\], got int64 \[1, 2\]"),
        ({"codes": []}, "number of weights must be from 1 to .*, got 0"),
        ({"codebook": []}, "centroids must be from 1 to 4096, got 0"),
        ({"codebook": [0.0] * 4097}, "centroids must be from 1 to 4096, got 4097"),
        ({"codebook": [[0.0, 1.0]]}, r"codebook must be floats \[c\], got shape \[1, 2\]"),
        ({"codebook": [0.0, np.nan]}, "centroid 1 must be finite as it is stored, got nan"),
        ({"codebook": [0.0, 65520.0]}, "centroid 1 must be finite as it is stored, got 65520"),
        ({"codebook_type": "int8"}, "codebook_type must be float32 or float16, got 'int8'"),
        ({"row_length": 0}, r"row_length must be from 1 to 2\*\*32 - 1, got 0"),
        ({"row_length": [3, -1]}, r"row_length must be from 1 to 2\*\*32 - 1, got -1"),
    ],
)
def test_encode_refuses(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"codes": [1, 0], "codebook": CODEBOOK}
    with pytest.raises(InputError, match=f"^cannot encode weights: .*{message}") as error:
        palette.encode(**{**arguments, **change})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "read",
    [
        palette.decode,
        palette.decode_codes,
        palette.inspect,
        lambda blob: palette.with_codebook(blob, CODEBOOK),
        lambda blob: palette.decode_into(blob, np.zeros(3000, np.float32), onnx_type=1),
    ],
)
def test_every_reader_refuses_a_damaged_blob(read: Any) -> None:
    blob = bytearray(small_blob())
    blob[40] ^= 1
    with pytest.raises(BlobError, match=r"^cannot .*: the checksum .*at byte \d+"):
        read(bytes(blob))


def test_a_blob_of_another_codec_is_refused() -> None:
    from wl_onnx.codecs import bloomier

    other = bloomier.encode([1], [0], num_weights=3, codebook=[1.0], bits=4)
    with pytest.raises(BlobError, match=r"codec must be 2 \(palette\), got 1 at byte 5"):
        palette.inspect(other)
    with pytest.raises(BlobError, match=r"codec must be 1 \(Bloomier\), got 2 at byte 5"):
        bloomier.inspect(small_blob())
