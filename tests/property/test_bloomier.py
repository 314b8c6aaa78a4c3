from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.blobs import HASHES, LAYOUTS, random_lengths
from wl_onnx.codecs import bloomier
from wl_onnx.kernels import reference

settings.register_profile("bloomier", derandomize=True, deadline=None, max_examples=300)
PROFILE = settings.get_profile("bloomier")

seeds = st.integers(0, 2**32 - 1)


@st.composite
def encodings(draw: st.DrawFn, max_weights: int = 20_000) -> dict[str, Any]:
    """Arguments of `encode`: keys at random, in runs, or at any places hypothesis likes."""
    num_weights = draw(st.integers(1, max_weights))
    bits = draw(st.integers(1, 16))
    num_clusters = draw(st.integers(1, min(2**bits, 300)))
    rng = np.random.default_rng(draw(seeds))
    kind = draw(st.sampled_from(["density", "runs", "period", "chosen"]))
    chosen: npt.NDArray[np.bool_] = np.zeros(num_weights, bool)
    if kind == "density":
        chosen = rng.random(num_weights) < draw(st.floats(0, 1))
    elif kind == "runs":
        first, count = draw(st.integers(0, num_weights - 1)), draw(st.integers(0, num_weights))
        chosen[first : first + count] = True
    elif kind == "period":
        chosen[draw(st.integers(0, num_weights - 1)) :: draw(st.integers(1, 3000))] = True
    else:
        chosen[list(draw(st.sets(st.integers(0, num_weights - 1), max_size=60)))] = True
    indices = np.flatnonzero(chosen)
    layout = draw(st.sampled_from(list(LAYOUTS)))
    lengths = random_lengths(rng, num_clusters) if layout == "prefix" else bits
    return {
        "indices": indices,
        "values": rng.integers(0, num_clusters, indices.size),
        "num_weights": num_weights,
        "codebook": rng.normal(size=num_clusters).astype(np.float32),
        "bits": lengths,
        "layout": layout,
        "hash": draw(st.sampled_from(list(HASHES))),
        "seed": draw(seeds),
        "codebook_type": draw(st.sampled_from(["float16", "float32"])),
    }


@PROFILE
@given(encodings())
def test_stored_keys_come_back(arguments: dict[str, Any]) -> None:
    blob = bloomier.encode(**arguments)
    stored = arguments["codebook"].astype(arguments["codebook_type"]).astype(np.float32)
    weights = bloomier.decode(blob)
    np.testing.assert_array_equal(weights[arguments["indices"]], stored[arguments["values"]])
    info = bloomier.inspect(blob)
    assert info.num_keys == arguments["indices"].size
    assert info.num_weights == weights.size == arguments["num_weights"]


@PROFILE
@given(encodings(max_weights=300_000), st.integers(2, 7))
def test_threads_change_nothing(arguments: dict[str, Any], threads: int) -> None:
    blob = bloomier.encode(**arguments)
    assert bloomier.encode(**arguments, threads=threads) == blob
    codes = bloomier.decode_codes(blob)
    np.testing.assert_array_equal(bloomier.decode_codes(blob, threads=threads), codes)
    weights = bloomier.decode(blob)
    np.testing.assert_array_equal(bloomier.decode(blob, threads=threads), weights)


@PROFILE
@given(encodings(), seeds)
def test_another_codebook_keeps_every_position(arguments: dict[str, Any], seed: int) -> None:
    blob = bloomier.encode(**arguments)
    num_clusters = arguments["codebook"].size
    codebook = np.random.default_rng(seed).normal(size=num_clusters).astype(np.float16)
    other = bloomier.with_codebook(blob, codebook)
    assert len(other) == len(blob)
    codes = bloomier.decode_codes(blob)
    np.testing.assert_array_equal(bloomier.decode_codes(other), codes)
    expected = np.concatenate([[0], codebook]).astype(np.float32)[codes]
    np.testing.assert_array_equal(bloomier.decode(other), expected)
    assert bloomier.with_codebook(other, arguments["codebook"]) == blob


@PROFILE
@given(
    st.integers(1, 100_000),
    st.floats(0, 1),
    st.integers(1, 16),
    st.sampled_from(list(LAYOUTS)),
    st.sampled_from(list(HASHES)),
    seeds,
)
def test_size_is_within_the_bound(
    num_weights: int, density: float, bits: int, layout: str, hash_: str, seed: int
) -> None:
    indices = np.flatnonzero(np.random.default_rng(seed).random(num_weights) < density)
    blob = bloomier.encode(
        indices, np.zeros_like(indices), num_weights=num_weights, codebook=[1.0], bits=bits,
        layout=layout, hash=hash_, seed=seed,
    )  # fmt: skip
    parsed = reference.parse(blob)
    # Blocks of some 4,096 keys, cut at the border of a group of 1,024 weights.
    assert len(parsed.blocks) <= max(1, -(-indices.size // 4096))
    attempts = max(block.tables[0].attempt for block in parsed.blocks)
    assert attempts <= (64 if layout == "prefix" else 48)
    # Ribbon: a row a key and 56 more, 8 after each 6 attempts. Xor: 1.23 cells a key, 0.002 more
    # after each attempt, and 32. A table is rounded up to a byte of each plane or segment.
    # Prefix: a row a key, a 160th of the keys, and 8 rows after each 16 attempts.
    if layout == "prefix":
        growth = 8 * (attempts // 16) + 7
        cells = indices.size * (1 + 1 / 160) + max(64, growth) * len(parsed.blocks)
    elif layout == "ribbon":
        cells = indices.size + (56 + 8 * (attempts // 6) + 7) * len(parsed.blocks)
    else:
        cells = (1.23 + 0.002 * attempts) * indices.size + (32 + 3) * len(parsed.blocks)
    table_bytes = cells * bits / 8 + len(parsed.blocks)
    assert len(blob) <= 16 + 20 + 2 + 1 + 7 * len(parsed.blocks) + table_bytes + 16
