"""How fast a blob decodes, beside copying the tensor and beside the reader in NumPy."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from figures import Figure, ratio_figure, require
from tensors import CLUSTERS, LAYOUTS, SparseTensor, draw_tensor
from timing import Times, interleave

from wl_onnx.codecs import bloomier
from wl_onnx.kernels import reference
from wl_onnx.kernels.native import core

__all__ = ["measure"]

MEBI = 1 << 20
_LIMITS = {"ribbon": 12.0, "xor": 6.0}
_HASHES = ("tabulation", "murmur3")
_REFERENCE_WEIGHTS = 1 << 17

Floats = npt.NDArray[np.float32]


def measure(quick: bool) -> list[Figure]:
    num_weights = (1 if quick else 16) * MEBI
    rounds = 5 if quick else 15
    tensor = draw_tensor(num_weights)
    blobs = {
        (layout, hash_): tensor.encode(layout, hash_) for layout in LAYOUTS for hash_ in _HASHES
    }
    out = np.zeros(num_weights, np.float32)
    expected = {key: _checked(tensor, blob) for key, blob in blobs.items()}
    figures = _against_copy(tensor, blobs, expected, out, rounds)
    figures += _against_reference(tensor, blobs, expected)
    figures += _two_threads(tensor, blobs, expected, out, rounds)
    del expected, out
    return figures + _scaling((1, 4) if quick else (1, 64), rounds=3 if quick else 9)


def _checked(tensor: SparseTensor, blob: bytes) -> Floats:
    weights = bloomier.decode(blob)
    tensor.check(weights, "decode")
    return weights


def _decoder(blob: bytes, out: Floats, threads: int = 1) -> Callable[[], object]:
    return lambda: bloomier.decode(blob, threads=threads, out=out)


def _against_copy(
    tensor: SparseTensor,
    blobs: dict[tuple[str, str], bytes],
    expected: dict[tuple[str, str], Floats],
    out: Floats,
    rounds: int,
) -> list[Figure]:
    """Every CPU target in turn; the targets of the issue are those of the one chosen by itself."""
    figures = []
    chosen = core().current_target()
    source = next(iter(expected.values()))
    copied = np.zeros_like(source)
    on = f"{tensor.num_weights // MEBI}M weights, 5 %, 1 thread"
    try:
        for target in [chosen, *(name for name in core().available_targets() if name != chosen)]:
            require(core().set_target(target), f"CPU target {target} is available", "a refusal")
            for (layout, hash_), blob in blobs.items():
                out.fill(np.nan)
                calls = {
                    "decode": _decoder(blob, out),
                    "copyto": lambda: np.copyto(copied, source),
                }
                times = interleave(calls, rounds=rounds)
                same = np.array_equal(out, expected[layout, hash_])
                require(same, f"{target} decodes what {chosen} does", "other weights")
                require(np.array_equal(copied, source), "copyto copies", "other weights")
                aimed = target == chosen and hash_ == "tabulation"
                figures.append(
                    ratio_figure(
                        "decode / np.copyto",
                        f"{on}, {layout}, {hash_}, {target}",
                        times,
                        "decode",
                        "copyto",
                        limit=_LIMITS[layout] if aimed else None,
                        note=f"{tensor.num_weights / times['decode'].median / 1e6:.0f}M weights/s",
                    )
                )
    finally:
        core().set_target(chosen)
    return figures


def _against_reference(
    tensor: SparseTensor,
    blobs: dict[tuple[str, str], bytes],
    expected: dict[tuple[str, str], Floats],
) -> list[Figure]:
    """The reference answers for the first weights only, and its time is taken once."""
    figures = []
    first = np.arange(_REFERENCE_WEIGHTS)
    for layout in LAYOUTS:
        blob = blobs[layout, "tabulation"]
        begin = time.perf_counter()
        answers = reference.query(blob, first)
        slow = Times([(time.perf_counter() - begin) / first.size])
        centroids = np.append(tensor.codebook, np.float32(0))
        is_zero = (answers < 0) | (answers >= CLUSTERS)
        weights = centroids[np.where(is_zero, CLUSTERS, answers)]
        same = np.array_equal(weights, expected[layout, "tabulation"][: first.size])
        require(same, "the reference reads what the core does", "other weights")
        out = np.empty(tensor.num_weights, np.float32)
        times = interleave({"decode": _decoder(blob, out)}, rounds=3)
        fast = times["decode"].per(tensor.num_weights)
        figures.append(
            ratio_figure(
                "NumPy reference / decode",
                f"a weight, {layout}, tabulation",
                {"reference": slow, "decode": fast},
                "reference",
                "decode",
                note=f"reference on {first.size} weights",
            )
        )
    return figures


def _two_threads(
    tensor: SparseTensor,
    blobs: dict[tuple[str, str], bytes],
    expected: dict[tuple[str, str], Floats],
    out: Floats,
    rounds: int,
) -> list[Figure]:
    figures = []
    for layout in LAYOUTS:
        blob = blobs[layout, "tabulation"]
        out.fill(np.nan)
        calls = {"2 threads": _decoder(blob, out, 2), "1 thread": _decoder(blob, out)}
        times = interleave(calls, rounds=rounds)
        cores = _cores_in_use(calls["2 threads"], rounds)
        same = np.array_equal(out, expected[layout, "tabulation"])
        require(same, "two threads decode what one does", "other weights")
        on = f"{tensor.num_weights // MEBI}M weights, {layout}"
        figures.append(
            ratio_figure(
                "decode, 2 threads / 1",
                on,
                times,
                "2 threads",
                "1 thread",
                limit=0.6,
                note=f"the two threads got {cores:.2f} cores; a target for idle ones",
            )
        )
    return figures


def _cores_in_use(call: Callable[[], object], rounds: int) -> float:
    """CPU time over elapsed time: below 2 for two threads where other work has a core."""
    cpu, elapsed = time.process_time(), time.perf_counter()
    for _ in range(rounds):
        call()
    return (time.process_time() - cpu) / (time.perf_counter() - elapsed)


def _scaling(sizes: tuple[int, int], rounds: int) -> list[Figure]:
    small, large = (draw_tensor(size * MEBI) for size in sizes)
    figures = []
    for layout in LAYOUTS:
        calls, outputs = {}, {}
        for tensor in (large, small):
            out = np.zeros(tensor.num_weights, np.float32)
            label = f"{tensor.num_weights // MEBI}M"
            calls[label] = _decoder(tensor.encode(layout), out)
            outputs[label] = (tensor, out)
        times = interleave(calls, rounds=rounds)
        for label, (tensor, out) in outputs.items():
            tensor.check(out, f"decode of {label} weights")
            times[label] = times[label].per(tensor.num_weights)
        top, bottom = calls
        figures.append(
            ratio_figure(
                f"decode a weight, {top} / {bottom}",
                f"1 thread, {layout}",
                times,
                top,
                bottom,
                limit=1.3,
            )
        )
    return figures
