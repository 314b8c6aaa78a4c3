"""Tensors to bundle, what they decode to, and a bundle that was stored once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wl_onnx.codecs.bundle import BundleTensor


def expected_weights(tensor: BundleTensor) -> npt.NDArray[np.float32]:
    """What a tensor must decode to, by NumPy."""
    if tensor.values is not None:
        return tensor.values.astype(np.float32)
    levels = np.asarray(tensor.levels)
    if tensor.step is not None:
        step, offset = np.float32(tensor.step), np.float32(tensor.offset)
        return (np.float64(offset) + np.float64(step) * levels).astype(np.float32)
    stored = np.asarray(tensor.codebook, np.float32).astype(tensor.codebook_type)
    return stored.astype(np.float32)[levels + tensor.zero_index]


def random_tensor(rng: np.random.Generator, *, max_weights: int = 400) -> BundleTensor:
    """A tensor of a random kind, size, shape and spread."""
    num_weights = int(max_weights ** rng.uniform(0, 1))
    row_length = int(rng.integers(1, num_weights + 1))
    spread = 10.0 ** rng.uniform(-1, 3)
    levels = np.rint(rng.laplace(size=num_weights) * spread).astype(np.int64)
    kind = rng.integers(5)
    if kind == 0:
        offset = float(rng.choice([0.0, rng.normal()]))
        return BundleTensor(
            levels=levels, step=float(rng.normal()), offset=offset, row_length=row_length
        )
    if kind < 3:
        num_clusters = int(rng.integers(1, min(num_weights + 1, 60) + 1))
        zero_index = int(rng.integers(num_clusters))
        places = np.arange(num_clusters) - zero_index
        codebook = places * 10.0 ** rng.uniform(-6, 3)
        if rng.random() < 0.7:
            codebook *= 1 + 0.1 * rng.normal(size=num_clusters)
        if rng.random() < 0.2:
            codebook = rng.normal(size=num_clusters)
        return BundleTensor(
            levels=np.clip(levels, places[0], places[-1]),
            codebook=codebook,
            zero_index=zero_index,
            codebook_type=("float16", "float32")[kind - 1],
            row_length=row_length,
        )
    dtype = (np.float16, np.float32)[kind - 3]
    return BundleTensor(values=rng.normal(size=num_weights).astype(dtype), row_length=row_length)


def random_bundle(rng: np.random.Generator, *, max_weights: int = 400) -> list[BundleTensor]:
    """One to six random tensors."""
    count = int(rng.integers(1, 7))
    return [random_tensor(rng, max_weights=max_weights) for _ in range(count)]


def stored_tensors() -> list[BundleTensor]:
    """The tensors of the bundle that was stored; no random numbers in them."""
    i = np.arange(90)
    return [
        BundleTensor(levels=i * i % 7 - 3, row_length=18, step=0.125),
        BundleTensor(
            levels=i[:40] * 5 % 11 % 4 - 1,
            codebook=[-0.5, 0.0, 0.375, 0.8],
            zero_index=1,
        ),
        BundleTensor(levels=i[:12] * 37 % 100 - 50, step=1 / 3, offset=1.0),
        BundleTensor(values=np.array([1.5, -0.25], np.float16)),
        BundleTensor(values=np.array([0.1], np.float32)),
    ]
