"""The compiled palette against the Python reference, bit for bit, on every CPU target."""

from __future__ import annotations

from collections.abc import Iterator

import ml_dtypes
import numpy as np
import pytest

from tests.palettes import digest, random_blob, random_codes, stored_arguments
from wl_onnx.codecs import palette
from wl_onnx.kernels import reference_palette
from wl_onnx.kernels.native import core

ELEMENT_TYPES = {1: np.float32, 10: np.float16, 11: np.float64, 16: ml_dtypes.bfloat16}


@pytest.fixture(params=["baseline", "avx2", "avx512"], autouse=True)
def _target(request: pytest.FixtureRequest) -> Iterator[None]:
    before = core().current_target()
    if not core().set_target(request.param):
        pytest.skip(f"{request.param} is not in this build or this machine cannot run it")
    assert core().current_target() == request.param
    yield
    assert core().set_target(before)


def test_random_blobs() -> None:
    rng = np.random.default_rng(41)
    for _ in range(150):
        blob = random_blob(rng)
        expected = reference_palette.decode_codes(blob)
        np.testing.assert_array_equal(palette.decode_codes(blob), expected)
        weights = palette.decode(blob, threads=2)
        np.testing.assert_array_equal(weights.view("u4"), reference_palette.decode(blob).view("u4"))


@pytest.mark.parametrize("num_lanes", [1, 2, 4, 8, 16, 32, 64])
@pytest.mark.parametrize("num_clusters", [16, 300])
@pytest.mark.parametrize("row_length", [None, 37])
def test_every_number_of_lanes(num_lanes: int, num_clusters: int, row_length: int | None) -> None:
    # A lane is worth 512 bytes of a chunk.
    rng = np.random.default_rng(num_lanes)
    bits = 4 if num_clusters == 16 else 8.2
    codes = rng.integers(0, num_clusters, int(1.2 * 512 * 8 / bits * num_lanes) + 13)
    if row_length is not None:
        live = np.arange(codes.size) % row_length % 3 > 0
        codes = np.repeat(codes, 2)[: codes.size + codes.size // 2][: codes.size]
        codes = np.where(live, codes, 0)
    blob = palette.encode(codes, codebook=np.arange(num_clusters), row_length=row_length)
    info = palette.inspect(blob)
    if row_length is None:
        assert info.num_lanes == num_lanes
    else:
        assert info.num_column_classes > 1 or info.size_bytes < 700
    np.testing.assert_array_equal(palette.decode_codes(blob), codes)
    np.testing.assert_array_equal(reference_palette.decode_codes(blob), codes)


def test_several_chunks() -> None:
    codes = random_codes(np.random.default_rng(43), 1_100_003, 16, 1000)
    blob = palette.encode(codes, codebook=np.arange(16), row_length=1000, threads=2)
    assert palette.inspect(blob).num_chunks > 1
    for threads in (1, 3):
        np.testing.assert_array_equal(palette.decode_codes(blob, threads=threads), codes)


@pytest.mark.parametrize("onnx_type", ELEMENT_TYPES)
def test_elements_are_rounded_as_numpy_rounds(onnx_type: int) -> None:
    rng = np.random.default_rng(8)
    bits = rng.integers(0, 2**32, 4000, dtype=np.uint32).view(np.float32)
    codebook = bits[np.isfinite(bits)]
    codes = rng.permutation(np.repeat(np.arange(codebook.size), 2))
    blob = palette.encode(codes, codebook=codebook, codebook_type="float32")
    dtype = np.dtype(ELEMENT_TYPES[onnx_type])
    weights = np.empty(codes.size, dtype)
    palette.decode_into(blob, weights, onnx_type=onnx_type)
    with np.errstate(over="ignore"):
        expected = codebook.astype(dtype)[codes]
    raw = f"u{dtype.itemsize}"
    np.testing.assert_array_equal(weights.view(raw), expected.view(raw))


@pytest.mark.parametrize("offset_bytes", [0, 4, 28])
def test_tensors_written_past_the_caches(offset_bytes: int) -> None:
    num_weights = (8 << 20) // 4 + 1001
    codes = np.random.default_rng(7).integers(0, 3, num_weights)
    blob = palette.encode(codes, codebook=[1, 2, 5])
    memory = np.full(4 * num_weights + 128, 0xAB, np.uint8)
    start = -memory.ctypes.data % 64 + offset_bytes
    decoded = memory[start : start + 4 * num_weights].view(np.float32)
    palette.decode(blob, threads=2, out=decoded)
    np.testing.assert_array_equal(decoded, np.float32([1, 2, 5])[codes])
    assert (memory[:start] == 0xAB).all()
    assert (memory[start + 4 * num_weights :] == 0xAB).all()


# The bytes that the encoder gave when the format was made: they may never change.
STORED = {
    "plain": "944f425b1494f60786ea11324c002f3b",
    "classes": "0e1cb6c84a6c7634dbfcdcfd315167bc",
    "wide": "b29db40e7677ff7e5d24ec6040ebc3b3",
}


@pytest.mark.parametrize("name", STORED)
def test_blobs_have_the_same_bytes_as_ever(name: str) -> None:
    arguments = stored_arguments(name)
    blob = palette.encode(**arguments)  # type: ignore[arg-type]
    assert blob[-16:].hex() == digest(blob[:-16]) == STORED[name]
    np.testing.assert_array_equal(reference_palette.decode_codes(blob), arguments["codes"])


# "classes" as it was stored.
STORED_BLOB = bytes.fromhex(
    "574c4f5801020000bc02000000000000332403000000803e01000c248c366d5a46a07bd53b355e6a2203"
    "0068b6bd97e4245314516aba6b52a592afea83ddfde4b6e755ed62167c0e1cb6c84a6c7634dbfcdcfd31"
    "5167bc"
)


def test_a_stored_blob_is_read_as_ever() -> None:
    arguments = stored_arguments("classes")
    np.testing.assert_array_equal(palette.decode_codes(STORED_BLOB), arguments["codes"])
    np.testing.assert_array_equal(reference_palette.decode_codes(STORED_BLOB), arguments["codes"])
    assert palette.inspect(STORED_BLOB).codebook.tolist() == arguments["codebook"]
