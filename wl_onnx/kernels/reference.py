"""The reader of a blob in NumPy: codecs/FORMAT.md in code, what the compiled core is held to.

Clear rather than fast, some microseconds a weight. Nothing but tests calls it.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Iterator
from typing import Any

import mmh3
import numpy as np
import numpy.typing as npt

from wl_onnx.kernels.reference_blob import (
    BAND_ROWS,
    BUNCH_SLOTS,
    GROUP_SIZE,
    MURMUR3,
    PREFIX,
    RIBBON,
    TABULATION,
    XOR,
    Block,
    Filter,
    Table,
    parse,
)

__all__ = ["Block", "Filter", "decode", "decode_codes", "murmur3_32", "parse", "query"]

# m of `slot = lane * m % 1024`
MULTIPLIERS = {TABULATION: 283, MURMUR3: 633}

Words = npt.NDArray[np.uint64]  # 32-bit numbers; products of two of them fit


def query(blob: bytes, indices: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """What the tables answer for some weights.

    Args:
        blob: a whole blob.
        indices: integers `[n]` below num_weights, in any order.

    Returns:
        int32 `[n]`: q of each, 0 to 2**t - 1, or -1 in a block without a table. Of the prefix
        layout: the number of the centroid whose code was read, or -1.

    Raises:
        BlobError: the blob is damaged.
    """
    return _query(parse(blob), np.asarray(indices, np.uint64))


def decode_codes(blob: bytes) -> npt.NDArray[np.uint16]:
    """The centroid's number of each weight.

    Returns:
        uint16 `[num_weights]`: 0 for a zero weight, j + 1 for centroid j.

    Raises:
        BlobError: the blob is damaged.
    """
    parsed = parse(blob)
    q = _query(parsed, np.arange(parsed.num_weights, dtype=np.uint64))
    return np.where(q < parsed.codebook.size, q + 1, 0).astype(np.uint16)


def decode(blob: bytes, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """The weights of a blob.

    Args:
        blob: a whole blob.
        dtype: float32, float16, float64 or bfloat16 of ml_dtypes.

    Returns:
        dtype `[num_weights]`: centroids, rounded to nearest with ties to even, and zeros.

    Raises:
        BlobError: the blob is damaged.
    """
    with np.errstate(over="ignore"):  # a float32 centroid may be infinite as float16, rightly
        centroids = parse(blob).codebook.astype(dtype)
    weights: npt.NDArray[Any] = np.concatenate([np.zeros(1, dtype), centroids])
    return weights[decode_codes(blob)]


def murmur3_32(keys: npt.ArrayLike, seed: int) -> Words:
    """MurmurHash3_x86_32 of each key's four little-endian bytes.

    Source: Austin Appleby, 2011; `mmh3.hash(key, seed, signed=False)` gives the same.

    Args:
        keys: integers `[n]`, 0 to 2**32 - 1.
        seed: 0 to 2**32 - 1.

    Returns:
        uint64 `[n]`, each below 2**32.
    """
    k = _rotate_left(_mod32(np.asarray(keys, np.uint64) * np.uint64(0xCC9E2D51)), 15)
    h = _mod32(k * np.uint64(0x1B873593)) ^ np.uint64(seed)
    h = _mod32(_rotate_left(h, 13) * np.uint64(5) + np.uint64(0xE6546B64))
    h ^= np.uint64(4)  # the key's length
    h = _mod32((h ^ (h >> np.uint64(16))) * np.uint64(0x85EBCA6B))
    h = _mod32((h ^ (h >> np.uint64(13))) * np.uint64(0xC2B2AE35))
    return h ^ (h >> np.uint64(16))


def _query(parsed: Filter, indices: Words) -> npt.NDArray[np.int32]:
    answers = np.full(indices.shape, -1, np.int32)
    groups = indices // np.uint64(GROUP_SIZE)
    ask = {RIBBON: _ask_ribbon, XOR: _ask_xor, PREFIX: _ask_prefix}[parsed.layout]
    order = np.argsort(groups, kind="stable")
    edges = [block.first_group for block in parsed.blocks]
    starts = np.searchsorted(groups[order], np.array(edges, np.uint64)).tolist()
    for block, start, stop in zip(parsed.blocks, starts, [*starts[1:], indices.size], strict=True):
        if block.tables[0].units > 0 and start < stop:
            places = order[start:stop]
            answers[places] = ask(parsed, block, indices[places])
    return answers


@dataclasses.dataclass(frozen=True)
class _Places:
    """Where weights stand: group a, slot and bunch b of each, and how a block hashes them."""

    index: Words
    group: Words
    slot: Words
    bunch: Words
    hash: int

    @staticmethod
    def of(parsed: Filter, indices: Words) -> _Places:
        lane = indices % np.uint64(GROUP_SIZE)
        slot = lane * np.uint64(MULTIPLIERS[parsed.hash]) % np.uint64(GROUP_SIZE)
        group = indices // np.uint64(GROUP_SIZE)
        return _Places(indices, group, slot, slot // np.uint64(BUNCH_SLOTS), parsed.hash)

    def slot_hash(self, seed: int, second_seed: int) -> Words:
        if self.hash == MURMUR3:
            return murmur3_32(self.index, seed)
        return _mod32(murmur3_32(self.group, seed) + murmur3_32(self.slot, second_seed))

    def bunch_hash(self, seed: int, second_seed: int) -> Words:
        if self.hash == MURMUR3:
            return murmur3_32(np.uint64(128) * self.group + self.bunch, seed)
        return _mod32(murmur3_32(self.group, seed) + murmur3_32(self.bunch, second_seed))


def _ask_ribbon(parsed: Filter, block: Block, indices: Words) -> npt.NDArray[np.int32]:
    table = block.tables[0]
    band = _Band.of(parsed, table.attempt, indices)
    q = np.zeros(indices.shape, np.int32)
    for bit, answers in zip(
        reversed(range(parsed.bits)), band.planes(parsed, table, parsed.bits), strict=True
    ):
        q |= (answers ^ band.mask_bit(bit)).astype(np.int32) << bit
    return q


def _ask_prefix(parsed: Filter, block: Block, indices: Words) -> npt.NDArray[np.int32]:
    """Bit by bit, from the first on: as a person would read a prefix code."""
    band = _Band.of(parsed, block.tables[0].attempt, indices)
    codes = _prefix_codes(parsed.lengths)
    found = np.full(indices.shape, -1, np.int32)
    read = np.zeros(indices.shape, np.int64)
    depth = 0
    for length, table in zip(sorted(set(parsed.lengths)), block.tables, strict=True):
        if table.units == 0:
            break
        for answers in band.planes(parsed, table, length - depth):
            read = 2 * read + (answers ^ band.mask_bit(15 - depth)).astype(np.int64)
            depth += 1
        for number, code in enumerate(codes):
            if parsed.lengths[number] == length:
                found[(read == code) & (found < 0)] = number
    return found


def _prefix_codes(lengths: tuple[int, ...]) -> list[int]:
    """The code of each centroid, as a number of as many bits as its length."""
    codes = [0] * len(lengths)
    code, previous = 0, 0
    for length, number in sorted((length, number) for number, length in enumerate(lengths)):
        code <<= length - previous
        codes[number] = code
        code, previous = code + 1, length
    return codes


@dataclasses.dataclass(frozen=True)
class _Band:
    """The coefficients and the mask of some weights of a block of ribbons."""

    places: _Places
    coefficients: Words
    mask: Words

    @staticmethod
    def of(parsed: Filter, attempt: int, indices: Words) -> _Band:
        places = _Places.of(parsed, indices)
        s = _block_seeds(parsed.seed, attempt)
        lower = places.slot_hash(s(1), s(4))
        upper = places.slot_hash(s(2), s(5))
        return _Band(
            places, lower + (upper << np.uint64(32)), _mod32(lower + upper) >> np.uint64(16)
        )

    def mask_bit(self, bit: int) -> Words:
        return (self.mask >> np.uint64(bit)) & np.uint64(1)

    def planes(self, parsed: Filter, table: Table, count: int) -> Iterator[Words]:
        """What each of a table's planes answers, 0 or 1, without the mask."""
        s = _block_seeds(parsed.seed, table.attempt)
        phase = _mod32(murmur3_32(self.places.group, s(0)) + self.places.bunch * np.uint64(2**25))
        start = _reduce(phase, table.units - 7)
        for plane in np.frombuffer(table.data, np.uint8).reshape(count, table.units):
            # Rows 8 * start to 8 * start + 63 are the eight bytes from `start` on.
            every_band = np.lib.stride_tricks.sliding_window_view(plane, BAND_ROWS // 8)
            rows = np.ascontiguousarray(every_band).view("<u8")[start, 0]
            yield _parity(rows & self.coefficients)


def _ask_xor(parsed: Filter, block: Block, indices: Words) -> npt.NDArray[np.int32]:
    places = _Places.of(parsed, indices)
    table = block.tables[0]
    s = _block_seeds(parsed.seed, table.attempt)
    bit_array = np.unpackbits(np.frombuffer(table.data, np.uint8), bitorder="little")
    cell_bits = bit_array[: 3 * table.units * parsed.bits].reshape(-1, parsed.bits)
    cells = cell_bits.astype(np.uint64) @ (np.uint64(1) << np.arange(parsed.bits, dtype=np.uint64))
    q = places.slot_hash(s(6), s(7)) & np.uint64(2**parsed.bits - 1)
    for j in range(3):
        base = _reduce(places.bunch_hash(s(j), s(3 + j)), table.units - 7)
        q ^= cells[np.uint64(j * table.units) + base + places.slot % np.uint64(BUNCH_SLOTS)]
    return q.astype(np.int32)


def _block_seeds(seed: int, attempt: int) -> Callable[[int], int]:
    def block_seed(j: int) -> int:
        return mmh3.hash(struct.pack("<I", 8 * attempt + j), seed, signed=False)

    return block_seed


def _reduce(hashes: Words, count: int) -> Words:
    return ((hashes >> np.uint64(16)) * np.uint64(count)) >> np.uint64(16)


def _parity(words: Words) -> Words:
    for shift in (32, 16, 8, 4, 2, 1):
        words = words ^ (words >> np.uint64(shift))
    return words & np.uint64(1)


def _rotate_left(words: Words, count: int) -> Words:
    return _mod32(words << np.uint64(count)) | (words >> np.uint64(32 - count))


def _mod32(words: Words) -> Words:
    return words & np.uint64(0xFFFFFFFF)
