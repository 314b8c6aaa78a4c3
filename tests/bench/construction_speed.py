"""How fast a filter is built, beside the C routine of a binary fuse filter on the same keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from figures import Figure, ratio_figure, require
from tensors import BITS, DENSITY, LAYOUTS, SparseTensor, draw_tensor
from timing import interleave

from wl_onnx.codecs import bloomier

__all__ = ["measure"]

_LIMITS = {"ribbon": 8.0, "xor": 3.0}


def measure(quick: bool) -> list[Figure]:
    num_keys = 100_000 if quick else 1_000_000
    tensor = draw_tensor(round(num_keys / DENSITY), num_keys)
    calls: dict[str, Callable[[], object]] = {}
    blobs: dict[str, bytes] = {}
    for layout in LAYOUTS:
        for hash_ in ("tabulation", "murmur3"):
            label = f"{layout}, {hash_}"
            calls[label] = _builder(tensor, layout, hash_, blobs, label)
    peer = _Peer.open(tensor)
    if peer is not None:
        calls["Fuse16"] = peer.populate
    times = interleave(calls, rounds=3 if quick else 9)

    for label, blob in blobs.items():
        tensor.check(bloomier.decode(blob), label)
    if peer is None:
        note = "pyfusefilter is not installed"
        on = f"{num_keys:,} keys, 1 thread"
        return [Figure("construction / Fuse16's populate", on, None, note=note)]
    peer.check()
    return [
        ratio_figure(
            "construction / Fuse16's populate",
            f"{num_keys:,} keys, 1 thread, t = {BITS}, {label}",
            times,
            label,
            "Fuse16",
            limit=_LIMITS[label.split(",")[0]] if label.endswith("tabulation") else None,
            note=f"{times[label].median / num_keys * 1e9:.0f} ns a key, checksum included",
        )
        for label in blobs
    ]


def _builder(
    tensor: SparseTensor, layout: str, hash_: str, blobs: dict[str, bytes], label: str
) -> Callable[[], object]:
    def build() -> None:
        blobs[label] = tensor.encode(layout, hash_)

    return build


class _Peer:
    """A 16-bit binary fuse filter, allocated before it is timed and filled again each time."""

    def __init__(self, lib: Any, ffi: Any, tensor: SparseTensor) -> None:
        self._lib = lib
        self._keys = tensor.indices.astype(np.uint64)
        self._pointer = ffi.from_buffer("uint64_t[]", self._keys)
        self._filter = ffi.new("binary_fuse16_t *")
        allocated = lib.binary_fuse16_allocate(self._keys.size, self._filter)
        require(bool(allocated), "a Fuse16 filter can be allocated", "a refusal")

    @classmethod
    def open(cls, tensor: SparseTensor) -> _Peer | None:
        try:
            from pyfusefilter._xorfilter import ffi, lib
        except ImportError:
            return None
        return cls(lib, ffi, tensor)

    def populate(self) -> None:
        done = self._lib.binary_fuse16_populate(self._pointer, self._keys.size, self._filter)
        require(bool(done), "a Fuse16 filter can be filled", "a refusal")

    def check(self) -> None:
        """Raises unless the filter knows every key; frees it."""
        contain = self._lib.binary_fuse16_contain
        missing = sum(not contain(key, self._filter) for key in self._keys.tolist())
        require(missing == 0, "Fuse16 contains every key", f"{missing} missing")
        self._lib.binary_fuse16_free(self._filter)
