from __future__ import annotations

import re

import ml_dtypes
import numpy as np
import pytest

from tests.bundles import expected_weights, random_bundle, stored_tensors
from wl_onnx.codecs import bundle, palette
from wl_onnx.codecs.bundle import BundleTensor
from wl_onnx.errors import InputError


def assert_round_trip(tensors: list[BundleTensor]) -> bytes:
    blob = bundle.encode(tensors)
    decoded = bundle.decode(blob)
    for weights, tensor in zip(decoded, tensors, strict=True):
        assert weights.dtype == np.float32
        np.testing.assert_array_equal(weights, expected_weights(tensor))
    return blob


def test_every_kind_comes_back_exactly() -> None:
    assert_round_trip(stored_tensors())


def test_random_tensors_come_back_exactly() -> None:
    rng = np.random.default_rng(1)
    for _ in range(150):
        assert_round_trip(random_bundle(rng, max_weights=3000))


@pytest.mark.parametrize("level", [1, 4, 5, 6, 7, 8, 9, 4095, 4097, 2**20 + 3, 2**24 - 1, 2**24])
def test_levels_of_every_bucket(level: int) -> None:
    levels = [0, level, -level, level, 0, 1 - level]
    assert_round_trip([BundleTensor(levels=levels, step=0.5)])


@pytest.mark.parametrize(("zero_index", "count"), [(0, 1), (0, 2), (1, 2), (0, 9), (8, 9), (2, 9)])
def test_codebooks_on_one_side_of_zero(zero_index: int, count: int) -> None:
    levels = np.arange(40) % count - zero_index
    codebook = np.linspace(-0.7, 0.4, count)
    assert_round_trip([BundleTensor(levels=levels, codebook=codebook, zero_index=zero_index)])


@pytest.mark.parametrize("codebook_type", ["float16", "float32"])
def test_extreme_centroids(codebook_type: str) -> None:
    largest = float(np.finfo(codebook_type).max)
    tiny = float(np.finfo(codebook_type).smallest_subnormal)
    codebook = [-largest, -1.0, -tiny, 0.0, tiny, 2 * tiny, 1.0, largest]
    tensor = BundleTensor(
        levels=np.arange(8) - 3, codebook=codebook, zero_index=3, codebook_type=codebook_type
    )
    assert_round_trip([tensor])


def test_two_thousand_tensors() -> None:
    tensors = [BundleTensor(levels=[index % 5 - 2], step=0.25) for index in range(2000)]
    assert len(assert_round_trip(tensors)) < 2000


def test_small_tensors_take_far_less_than_palettes() -> None:
    rng = np.random.default_rng(2)
    levels = [np.rint(rng.laplace(size=64) * 3).astype(int) for _ in range(20)]
    step = 2.0**-7
    blob = bundle.encode([BundleTensor(levels=one, step=step) for one in levels])
    singles = 0
    entropy_bits = 0.0
    for one in levels:
        codebook = np.arange(one.min(), one.max() + 1) * step
        singles += len(palette.encode(one - one.min(), codebook=codebook))
        share = np.unique(one, return_counts=True)[1] / one.size
        entropy_bits += one.size * float(-(share * np.log2(share)).sum())
    assert len(blob) < 0.7 * singles
    # Less than 12 bytes a tensor above the entropy of its own levels, which needs a table.
    assert len(blob) < entropy_bits / 8 + 32 + 12 * len(levels)


def test_neighbours_and_rows_tell_of_magnitudes() -> None:
    # Rows of small and of large levels in turn.
    rng = np.random.default_rng(3)
    scale = np.repeat(np.where(np.arange(64) % 2, 4.0, 0.2), 128)
    levels = np.rint(rng.laplace(size=64 * 128) * scale).astype(int)
    with_rows = bundle.encode([BundleTensor(levels=levels, row_length=128, step=1.0)])
    shuffled = bundle.encode([BundleTensor(levels=rng.permutation(levels), step=1.0)])
    assert len(with_rows) < 0.9 * len(shuffled)


def test_steps_with_few_bits_take_fewer_bytes() -> None:
    def size(steps: list[float]) -> int:
        return len(bundle.encode([BundleTensor(levels=[1, -1], step=step) for step in steps]))

    rng = np.random.default_rng(4)
    exact = rng.uniform(0.01, 0.02, 50).astype(np.float32)
    coarse = (exact.view(np.uint32) & np.uint32(0xFFFC0000)).view(np.float32)
    assert size(coarse.tolist()) < size(exact.tolist()) - 50 * 1.5


def test_the_same_tensors_give_the_same_bytes() -> None:
    assert bundle.encode(stored_tensors()) == bundle.encode(stored_tensors())


def test_inspect_tells_what_was_encoded() -> None:
    tensors = stored_tensors()
    blob = bundle.encode(tensors)
    info = bundle.inspect(blob)
    assert [one.kind for one in info.tensors] == [
        "step", "float16 codebook", "step", "float16", "float32",
    ]  # fmt: skip
    assert [one.num_weights for one in info.tensors] == [90, 40, 12, 2, 1]
    assert info.num_weights == 145
    assert info.size_bytes == len(blob)
    first, second, third = info.tensors[:3]
    assert (first.row_length, first.step, first.offset) == (18, 0.125, 0)
    assert second.codebook.tolist() == [-0.5, 0, 0.375, float(np.float16(0.8))]
    assert (second.zero_index, second.row_length) == (1, 40)
    assert (third.step, third.offset) == (float(np.float32(1 / 3)), 1.0)


def test_shares_of_the_blob_add_up_and_follow_the_tensors() -> None:
    rng = np.random.default_rng(5)
    tensors = [
        BundleTensor(levels=rng.integers(-60, 61, 4000), step=1.0),
        BundleTensor(levels=np.zeros(4000, int), step=1.0),
        BundleTensor(values=rng.normal(size=1000).astype(np.float32)),
    ]
    blob = bundle.encode(tensors)
    shares = [one.size_bits / 8 for one in bundle.inspect(blob).tensors]
    assert sum(shares) == len(blob)
    assert shares[0] == pytest.approx(4000 * np.log2(121) / 8, rel=0.06)
    assert shares[1] < 60
    assert 3000 < shares[2] < 3600


@pytest.mark.parametrize(
    ("onnx_type", "dtype"),
    [(1, np.float32), (10, np.float16), (11, np.float64), (16, ml_dtypes.bfloat16)],
)
def test_decode_into_rounds_as_numpy_rounds(onnx_type: int, dtype: type) -> None:
    tensors = random_bundle(np.random.default_rng(6))
    outs = [np.empty(expected_weights(tensor).shape, dtype) for tensor in tensors]
    bundle.decode_into(bundle.encode(tensors), outs, onnx_types=[onnx_type] * len(outs))
    for out, tensor in zip(outs, tensors, strict=True):
        with np.errstate(over="ignore"):
            expected = expected_weights(tensor).astype(dtype)
        np.testing.assert_array_equal(out.astype(np.float64), expected.astype(np.float64))


def test_decode_into_refuses_what_does_not_fit() -> None:
    blob = bundle.encode([BundleTensor(levels=[1, 2], step=1.0)])
    out = np.empty(2, np.float32)
    with pytest.raises(InputError, match="there must be 1 outputs and types, got 2 and 1"):
        bundle.decode_into(blob, [out, out], onnx_types=[1])
    with pytest.raises(InputError, match="the output must have 2 elements of 8 bytes, got 8"):
        bundle.decode_into(blob, [out], onnx_types=[11])
    with pytest.raises(InputError, match="the element type must be 1, 10, 11 or 16, got 7"):
        bundle.decode_into(blob, [out], onnx_types=[7])
    with pytest.raises(InputError, match="out must be contiguous and writable"):
        bundle.decode_into(blob, [np.empty(4, np.float32)[::2]], onnx_types=[1])


def test_check_sizes_compares_without_decoding() -> None:
    blob = bundle.encode(stored_tensors())
    bundle.check_sizes(blob, [90, 40, 12, 2, 1])
    with pytest.raises(
        InputError, match=re.escape("must have [90, 40] weights, got [90, 40, 12, 2, 1]")
    ):
        bundle.check_sizes(blob, [90, 40])


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (BundleTensor(levels=[1]), "must have levels and either a step or a codebook"),
        (BundleTensor(levels=[1], step=1.0, codebook=[0.0]), "either a step or a codebook"),
        (BundleTensor(step=1.0), "must have levels and either"),
        (BundleTensor(levels=[1], values=np.ones(1, np.float32)), "or else values, got another"),
        (BundleTensor(levels=[], step=1.0), "each tensor must have a weight"),
        (BundleTensor(levels=[[1]], step=1.0), r"levels of tensor 0 must be integers \[n\], got"),
        (BundleTensor(levels=[0.5], step=1.0), "levels of tensor 0 must be integers"),
        (BundleTensor(levels=[2**24 + 1], step=1.0), "levels must be within .*, got 1.67772e"),
        (BundleTensor(levels=[2**40], step=1.0), r"levels of tensor 0 must be from -2\*\*24 to"),
        (BundleTensor(levels=[1], step=float("nan")), "step and offset must be finite, got nan"),
        (BundleTensor(levels=[1], step=1e39), "step and offset must be finite, got inf"),
        (BundleTensor(levels=[1], step=1.0, offset=float("inf")), "must be finite, got inf"),
        (BundleTensor(levels=[9], step=1e38), "weights must be finite float32 numbers, got inf"),
        (BundleTensor(levels=[1], step=1.0, row_length=2), "row_length must be from 1 to .*got 2"),
        (BundleTensor(levels=[1], step=1.0, row_length=0), "row_length must be from 1"),
        (BundleTensor(levels=[1], step=1.0, row_length=-1), "row_length of tensor 0 must be from"),
        (BundleTensor(levels=[0], codebook=[]), "centroids must be 1 to 4096 .*, got 0"),
        (BundleTensor(levels=[0], codebook=[0, 1, 2]), "no more than weights .*, got 3"),
        (BundleTensor(levels=[0] * 9999, codebook=[0] * 4097), "centroids must be .*, got 4097"),
        (BundleTensor(levels=[0], codebook=[0.0], zero_index=1), "zero_index must be below .*1"),
        (BundleTensor(levels=[0], codebook=[0.0], zero_index=-1), "zero_index of tensor 0 must"),
        (BundleTensor(levels=[1], codebook=[0.0]), "levels must be within the codebook.*, got 1"),
        (BundleTensor(levels=[-1], codebook=[0.0]), "levels must be within the codebook.*, got -1"),
        (BundleTensor(levels=[0], codebook=[1e5]), "centroids must be finite as they are stored"),
        (BundleTensor(levels=[0], codebook=[0.0], codebook_type="int8"), "must be float16 or fl"),
        (BundleTensor(values=np.ones(1)), r"must be float16 or float32 \[n\], got float64 \[1\]"),
        (BundleTensor(values=np.array([np.inf], np.float32)), "weights must be finite numbers"),
    ],
)
def test_a_tensor_that_breaks_a_rule_is_refused(tensor: BundleTensor, message: str) -> None:
    with pytest.raises(InputError, match=f"^cannot encode bundle: .*{message}"):
        bundle.encode([tensor])


def test_bundles_have_limits() -> None:
    with pytest.raises(InputError, match="tensors must be from 1 to 65536, got 0"):
        bundle.encode([])
    big = BundleTensor(levels=np.zeros(2**22 + 1, np.int32), step=1.0)
    with pytest.raises(InputError, match="all together at most 8388608, got 8388610"):
        bundle.encode([big, big])
