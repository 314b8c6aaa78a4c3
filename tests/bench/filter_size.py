"""How large a filter is, whether it is right, and how often it is wrong where it may be."""

from __future__ import annotations

import numpy as np
from figures import Figure, require
from tensors import BITS, CLUSTERS, DENSITY, LAYOUTS, draw_tensor

from wl_onnx.codecs import bloomier
from wl_onnx.codecs.bounds import information_bound_bits, lossless_bound_bits

__all__ = ["measure"]

_LIMITS = {"ribbon": 1.03, "xor": 1.25}


def measure(quick: bool) -> list[Figure]:
    figures = []
    for num_keys in (100_000,) if quick else (100_000, 1_000_000):
        for layout in LAYOUTS:
            for hash_ in ("tabulation", "murmur3"):
                figures += _measure_one(num_keys, layout, hash_)
    return figures


def _measure_one(num_keys: int, layout: str, hash_: str) -> list[Figure]:
    tensor = draw_tensor(round(num_keys / DENSITY), num_keys)
    blob = tensor.encode(layout, hash_)
    codes = bloomier.decode_codes(blob)
    weights = bloomier.decode(blob)
    centroids = np.concatenate([np.zeros(1, np.float32), tensor.codebook])
    same = np.array_equal(centroids[codes], weights)
    require(same, "decode gives the centroids of decode_codes", "others")

    wrong = int((codes[tensor.indices] != tensor.values + 1).sum())
    num_others = tensor.num_weights - num_keys
    rate = (int(np.count_nonzero(codes)) - (num_keys - wrong)) / num_others
    expected = CLUSTERS / 2**BITS
    error = (expected * (1 - expected) / num_others) ** 0.5 / expected
    bound = information_bound_bits(num_keys, BITS)
    usage = np.bincount(tensor.values, minlength=CLUSTERS)
    lossless = lossless_bound_bits(tensor.num_weights, usage) / num_keys
    size = 8 * len(blob)
    on = f"{num_keys:,} keys, {layout}, {hash_}"
    return [
        Figure(
            "size / (n t bits)",
            on,
            size / bound,
            limit=_LIMITS[layout],
            note=f"{size / num_keys:.2f} bits a key of {BITS}; lossless bound {lossless:.2f}",
        ),
        Figure("stored keys decoded wrongly", on, wrong, limit=0),
        Figure(
            "false-positive rate / (c / 2^t)",
            on,
            rate / expected,
            limit=3 * error,
            center=1.0,
            note=f"{(rate / expected - 1) / error:+.2f} standard errors from 1",
        ),
    ]
