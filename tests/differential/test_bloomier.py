"""The compiled core against the NumPy reference, bit for bit, on every CPU target."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import mmh3
import numpy as np
import numpy.typing as npt
import pytest

from tests.blobs import (
    SCHEMES,
    BlobFields,
    level_planes,
    pack_lengths,
    random_blob,
    random_keys,
    random_lengths,
)
from wl_onnx.codecs import bloomier
from wl_onnx.kernels import reference
from wl_onnx.kernels.native import core

TARGETS = ["baseline", "avx2", "avx512"]
# What /proc/cpuinfo must list for a target.
NEEDED_FLAGS = {
    "avx2": {"avx2", "bmi1", "bmi2", "popcnt"},
    "avx512": {
        *("avx2", "bmi1", "bmi2", "popcnt", "gfni", "avx512f", "avx512vl", "avx512bw"),
        *("avx512vbmi", "avx512_vbmi2", "avx512_vpopcntdq"),
    },
}
ELEMENT_TYPES = {1: np.float32, 10: np.float16, 11: np.float64, 16: ml_dtypes.bfloat16}

# (num_weights, density, num_clusters, bits)
CASES = [
    (1, 0.0, 1, 1),
    (1, 1.0, 1, 16),
    (7, 0.5, 2, 1),
    (1000, 0.3, 5, 3),
    (1023, 1.0, 16, 4),
    (1024, 0.05, 16, 9),
    (1025, 0.9, 255, 8),
    (4096, 0.0, 16, 9),
    (5000, 1.0, 2, 1),
    (5001, 0.02, 4096, 12),
    (20_000, 0.2, 4096, 16),
    (33_333, 0.01, 3, 2),
    (50_021, 0.5, 1000, 10),
    (100_000, 0.05, 16, 9),
    (140_001, 0.1, 17, 7),
]


@pytest.fixture(autouse=True)
def restored_target() -> Iterator[None]:
    before = core().current_target()
    yield
    assert core().set_target(before)


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    """A CPU target, taken."""
    name: str = request.param
    if name not in core().available_targets():
        pytest.skip(f"{name} is not in this build or this machine cannot run it")
    assert core().set_target(name)
    assert core().current_target() == name
    return name


def test_the_best_target_of_this_cpu_is_taken() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    if platform.machine() not in ("x86_64", "AMD64") or not cpuinfo.exists():
        pytest.skip("not an x86-64 Linux")
    lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")]
    flags = set(lines[0].split(":")[1].split())
    runnable = [name for name in ("avx512", "avx2") if NEEDED_FLAGS[name] <= flags]
    assert core().available_targets() == [*runnable, "baseline"]
    assert core().current_target() == [*runnable, "baseline"][0]


def test_an_unknown_target_is_refused_and_changes_nothing() -> None:
    before = core().current_target()
    assert not core().set_target("mmx")
    assert core().current_target() == before


def test_numpy_murmur3_is_mmh3() -> None:
    rng = np.random.default_rng(3)
    keys = np.concatenate([[0, 1, 2**31, 2**32 - 1], rng.integers(0, 2**32, 2000)])
    for seed in (0, 1, 2**31, 2**32 - 1, *rng.integers(0, 2**32, 5).tolist()):
        expected = [mmh3.hash(int(key).to_bytes(4, "little"), seed, signed=False) for key in keys]
        assert reference.murmur3_32(keys, seed).tolist() == expected


@pytest.mark.parametrize(("layout", "hash_"), SCHEMES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_encoded_blobs(
    target: str, case: tuple[int, float, int, int], layout: str, hash_: str
) -> None:
    num_weights, density, num_clusters, bits = case
    rng = np.random.default_rng([num_weights, bits])
    indices, values = random_keys(rng, num_weights, density, num_clusters)
    blob = bloomier.encode(
        indices,
        values,
        num_weights=num_weights,
        codebook=rng.normal(size=num_clusters),
        bits=random_lengths(rng, num_clusters) if layout == "prefix" else bits,
        layout=layout,
        hash=hash_,
        seed=int(rng.integers(2**32)),
        codebook_type=str(rng.choice(["float16", "float32"])),
    )
    np.testing.assert_array_equal(reference.query(blob, indices), values)
    expected = reference.decode_codes(blob)
    np.testing.assert_array_equal(bloomier.decode_codes(blob), expected)
    np.testing.assert_array_equal(bloomier.decode_codes(blob, threads=3), expected)
    weights = bloomier.decode(blob, threads=2)
    np.testing.assert_array_equal(weights.view("u4"), reference.decode(blob).view("u4"))


def test_random_tables(target: str) -> None:
    rng = np.random.default_rng(17)
    num_hits = 0
    for _ in range(400):
        blob = random_blob(rng)
        expected = reference.decode_codes(blob)
        np.testing.assert_array_equal(bloomier.decode_codes(blob), expected)
        num_hits += np.count_nonzero(expected)
    assert num_hits > 50_000  # the tables do answer


@pytest.mark.parametrize("lengths", [[1], [3, 3, 9], [8, 9], [9, 10, 16], [16, 16], [2, 4, 4, 11]])
def test_levels_of_all_sizes(target: str, lengths: list[int]) -> None:
    # Kernels lay the planes of a block out anew where that fits into 32 KiB: 32 bytes for each byte
    # of the first level's planes, or 8 for those of all levels, which count twice above 8 planes.
    rng = np.random.default_rng(sum(lengths))
    planes = level_planes(lengths)
    for total in (8 * len(planes), 1023, 1024, 1025, 2047, 2048, 2049, 4095, 4096, 4097, 65535):
        below = [int(units) for units in rng.integers(8, max(9, total // 8), len(planes) - 1)]
        for sizes in ([max(8, total - sum(below)), *below], [total, *below]):
            blob = BlobFields(
                num_weights=3000,
                layout=3,
                hash=1,
                bits=max(lengths),
                codebook=np.arange(1, len(lengths) + 1).astype(np.float32),
                seed=total,
                num_keys=0,
                blocks=[(3, *(field for units in sizes for field in (units, 7)))],
                tables=b"".join(rng.bytes(n * w) for n, w in zip(sizes, planes, strict=True)),
                lengths=pack_lengths(lengths),
            ).to_bytes()
            expected = reference.decode_codes(blob)
            np.testing.assert_array_equal(bloomier.decode_codes(blob), expected)


def test_threads_that_begin_inside_a_block(target: str) -> None:
    # Threads take 64 groups at a time; blocks of random tables end anywhere.
    rng = np.random.default_rng(18)
    for _ in range(6):
        blob = random_blob(rng, max_groups=300)
        expected = reference.decode_codes(blob)
        np.testing.assert_array_equal(bloomier.decode_codes(blob, threads=4), expected)


@pytest.mark.parametrize(("layout", "hash_"), SCHEMES)
def test_every_target_encodes_the_same_bytes(layout: str, hash_: str) -> None:
    indices, values = random_keys(np.random.default_rng(5), 200_000, 0.1, 16)
    blobs = set()
    for name in core().available_targets():
        assert core().set_target(name)
        blobs.add(
            bloomier.encode(
                indices, values, num_weights=200_000, codebook=np.arange(16), bits=9,
                layout=layout, hash=hash_,
            )
        )  # fmt: skip
    assert len(blobs) == 1


@pytest.mark.parametrize(("layout", "hash_"), SCHEMES)
def test_keys_at_the_end_of_the_largest_tensor(layout: str, hash_: str) -> None:
    # 2^32 - 1 weights: decoding them all would take 16 GiB, the reference asks for the keys alone.
    indices = 2**32 - 2 - np.arange(3000)[::-1] ** 2 * 467
    values = np.arange(3000) % 7
    blob = bloomier.encode(
        indices, values, num_weights=2**32 - 1, codebook=np.arange(7), bits=11, layout=layout,
        hash=hash_,
    )  # fmt: skip
    np.testing.assert_array_equal(reference.query(blob, indices), values)


def awkward_centroids() -> npt.NDArray[np.float32]:
    """Ties, subnormals, signed zeros and overflow of the narrower types, and their neighbours."""
    ties: list[float] = [1 + 2.0**-11, 1 + 3 * 2.0**-11, 1 + 2.0**-8, 1 + 3 * 2.0**-8]
    edges = [65504.0, 65519.0, 65520.0, 65536.0, 2.0**-14, 2.0**-24, 2.0**-25, 3 * 2.0**-26]
    extremes = [0.0, 1e-45, 1.1754942e-38, 3.3895314e38, 3.3961775e38, 3.4028235e38]
    exact = np.array(ties + edges + extremes, np.float32)
    near = np.concatenate([np.nextafter(exact[exact > 0], np.float32(to)) for to in (0, 1)])
    both = np.concatenate([exact, near])
    rng = np.random.default_rng(8)
    bits = rng.integers(0, 2**32, 3000, dtype=np.uint32).view(np.float32)
    return np.concatenate([both, -both, bits[np.isfinite(bits)]])


@pytest.mark.parametrize("layout", ["ribbon", "xor", "prefix"])
@pytest.mark.parametrize("onnx_type", ELEMENT_TYPES)
def test_elements_are_rounded_as_numpy_rounds(target: str, onnx_type: int, layout: str) -> None:
    codebook = awkward_centroids()
    num_weights = 2 * codebook.size + 3
    blob = bloomier.encode(
        1 + 2 * np.arange(codebook.size), np.arange(codebook.size), num_weights=num_weights,
        codebook=codebook, bits=13, layout=layout, codebook_type="float32",
    )  # fmt: skip
    dtype = np.dtype(ELEMENT_TYPES[onnx_type])
    weights = np.full(num_weights, -1, dtype)
    bloomier.decode_into(blob, weights, onnx_type=onnx_type, threads=2)
    raw = f"u{dtype.itemsize}"
    expected = reference.decode(blob, dtype)
    np.testing.assert_array_equal(weights.view(raw), expected.view(raw))
    with np.errstate(over="ignore"):
        stored = codebook.astype(dtype)
    np.testing.assert_array_equal(weights[1:-2:2].view(raw), stored.view(raw))


def test_every_half_is_a_centroid_that_comes_back(target: str) -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    for part in np.split(halves[np.isfinite(halves)], 31):
        blob = bloomier.encode(
            np.arange(part.size), np.arange(part.size), num_weights=part.size, codebook=part,
            bits=12, codebook_type="float16",
        )  # fmt: skip
        np.testing.assert_array_equal(bloomier.decode(blob).view("u4"),
                                      part.astype(np.float32).view("u4"))  # fmt: skip
        weights = np.empty(part.size, np.float16)
        bloomier.decode_into(blob, weights, onnx_type=10)
        np.testing.assert_array_equal(weights.view("u2"), part.view("u2"))


@pytest.mark.parametrize("offset_bytes", [0, 4, 28])
def test_tensors_written_past_the_caches(target: str, offset_bytes: int) -> None:
    # From 8 MiB on; at any address, with a last group that is not whole.
    num_weights = (8 << 20) // 4 + 1001
    indices, values = random_keys(np.random.default_rng(7), num_weights, 0.02, 16)
    blob = bloomier.encode(
        indices, values, num_weights=num_weights, codebook=np.arange(16) - 7.5, bits=9
    )
    memory = np.full(4 * num_weights + 128, 0xAB, np.uint8)
    start = -memory.ctypes.data % 64 + offset_bytes
    decoded = memory[start : start + 4 * num_weights].view(np.float32)
    bloomier.decode(blob, threads=2, out=decoded)
    rows = np.concatenate([np.arange(20_000), np.arange(num_weights - 20_000, num_weights)])
    q = reference.query(blob, rows)
    codebook = np.append(np.arange(16) - 7.5, 0).astype(np.float32)
    np.testing.assert_array_equal(decoded[rows], codebook[np.where(q < 16, q, 16)])
    np.testing.assert_array_equal(decoded[indices], codebook[values])
    assert (memory[:start] == 0xAB).all()
    assert (memory[start + 4 * num_weights :] == 0xAB).all()
