"""Codes to encode as palettes, and blobs that were stored once."""

from __future__ import annotations

import mmh3
import numpy as np
import numpy.typing as npt

from wl_onnx.codecs import palette


def stored_arguments(name: str) -> dict[str, object]:
    """The arguments of `palette.encode` that gave a stored blob; no random numbers in them."""
    i = np.arange(700)
    if name == "plain":
        return {"codes": (i * i) % 11 % 5, "codebook": [-2.0, -0.5, 0.0, 1.0, 3.0]}
    if name == "classes":
        live = (i % 35 < 9) & (i // 35 % 3 != 1)
        return {
            "codes": np.where(live, i * 7 % 13 % 4, 1),
            "codebook": [-0.25, 0.0, 0.25, 0.5],
            "row_length": 35,
            "codebook_type": "float32",
        }
    return {"codes": i * 37 % 701 % 600, "codebook": np.arange(600) / 8 - 20}  # "wide"


def entropy_bytes(codes: npt.ArrayLike) -> float:
    """The order-0 entropy of codes, all of them together."""
    counts = np.bincount(np.asarray(codes))
    usage = counts[counts > 0] / counts.sum()
    return float(-(usage * np.log2(usage)).sum() * counts.sum() / 8)


def random_codes(
    rng: np.random.Generator, num_weights: int, num_clusters: int, row_length: int | None = None
) -> npt.NDArray[np.int64]:
    """Codes of a random distribution; some columns and rows are dead where there are any."""
    spread = 10.0 ** rng.uniform(-2, 1)
    codes = rng.choice(num_clusters, num_weights, p=rng.dirichlet(np.full(num_clusters, spread)))
    if row_length is not None:
        row, column = np.divmod(np.arange(num_weights), row_length)
        dead = (rng.random(row_length) < rng.random())[column]
        dead |= (rng.random(int(row[-1]) + 1) < 0.3)[row]
        codes = np.where(dead, 0, codes)
    return codes


def random_blob(rng: np.random.Generator, *, max_weights: int = 5000) -> bytes:
    """A blob of random codes, with or without classes."""
    num_weights = int(max_weights ** rng.uniform(0, 1))
    num_clusters = int(4096 ** rng.uniform(0, 0.8))
    row_length = int(rng.integers(1, 100)) if rng.random() < 0.5 else None
    codebook = rng.normal(size=num_clusters)
    if rng.random() < 0.5:
        codebook = (np.arange(num_clusters) - int(rng.integers(-5, 50))) * 0.125
    return palette.encode(
        random_codes(rng, num_weights, num_clusters, row_length),
        codebook=codebook,
        row_length=row_length,
        codebook_type=str(rng.choice(["float16", "float32"])),
    )


def digest(data: bytes | memoryview) -> str:
    """MurmurHash3_x64_128."""
    return mmh3.mmh3_x64_128_digest(bytes(data), 0).hex()
