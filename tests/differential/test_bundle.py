"""The compiled bundle against the Python reference, bit for bit."""

from __future__ import annotations

import numpy as np

from tests.bundles import expected_weights, random_bundle, stored_tensors
from tests.palettes import digest
from wl_onnx.codecs import bundle
from wl_onnx.codecs.bundle import BundleTensor
from wl_onnx.kernels import reference_bundle


def assert_same(blob: bytes, tensors: list[BundleTensor]) -> None:
    decoded = bundle.decode(blob)
    for weights, other, tensor in zip(decoded, reference_bundle.decode(blob), tensors, strict=True):
        np.testing.assert_array_equal(weights.view("u4"), other.view("u4"))
        np.testing.assert_array_equal(weights, expected_weights(tensor))


def test_random_bundles() -> None:
    rng = np.random.default_rng(61)
    for _ in range(120):
        tensors = random_bundle(rng)
        assert_same(bundle.encode(tensors), tensors)


def test_a_bundle_whose_contexts_share_slots() -> None:
    # More contexts than slots, so that the places of all must agree.
    rng = np.random.default_rng(62)
    levels = np.rint(rng.laplace(size=30_000) * 2).astype(int)
    tensors = [
        BundleTensor(levels=levels[:20_000], row_length=10_000, step=0.5),
        BundleTensor(levels=levels[20_000:], row_length=1, step=0.25),
    ]
    assert_same(bundle.encode(tensors), tensors)


def test_sparse_levels_reach_the_ends_of_the_tables() -> None:
    levels = np.zeros(20_000, int)
    levels[[5, 9_000, 19_999]] = 1, -1, 2**24
    tensors = [BundleTensor(levels=levels, row_length=100, step=0.5)]
    blob = bundle.encode(tensors)
    assert len(blob) < 120
    assert_same(blob, tensors)


# The bundle of `stored_tensors` as the encoder gave it when the format was made.
STORED_BLOB = bytes.fromhex(
    "574c4f58010300009100000000000000063fd103324f803ab9f877e60e009fb66e71c654fcc24c0e0002"
    "ce0932b56447e956ab9a7464857cd1701ff6c2591383628c5cb21e65d10de6d70705fde12c6e7aa7d3e8"
    "96a05aabac0b5678f96e0275bdef216d0199a0e38c1cde76528032a0a336c927942618"
)


def test_a_bundle_has_the_same_bytes_as_ever() -> None:
    blob = bundle.encode(stored_tensors())
    assert blob.hex() == STORED_BLOB.hex()
    assert blob[-16:].hex() == digest(blob[:-16])
    assert_same(STORED_BLOB, stored_tensors())
