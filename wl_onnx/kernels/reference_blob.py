"""The fields of a blob, read in Python: the first half of codecs/FORMAT.md in code."""

from __future__ import annotations

import dataclasses
import struct

import numpy as np
import numpy.typing as npt

from wl_onnx.kernels.reference_frame import FRAME, check, parse_frame

__all__ = [
    "BAND_ROWS",
    "BUNCH_SLOTS",
    "GROUPS",
    "GROUP_SIZE",
    "HEADER",
    "MAX_XOR_SEGMENT",
    "MURMUR3",
    "PREFIX",
    "RIBBON",
    "TABLE_HEADER",
    "TABULATION",
    "XOR",
    "Block",
    "Filter",
    "Table",
    "parse",
]

GROUP_SIZE = 1024
BUNCH_SLOTS = 8
BAND_ROWS = 64
MAX_CLUSTERS = 4096
MAX_XOR_SEGMENT = 4096

RIBBON, XOR, PREFIX = 1, 2, 3
TABULATION, MURMUR3 = 1, 2
FLOAT32, FLOAT16 = 1, 10

HEADER = struct.Struct("<BBBBIIII")
GROUPS = struct.Struct("<I")
TABLE_HEADER = struct.Struct("<HB")


@dataclasses.dataclass(frozen=True)
class Table:
    """One table of a block; `units` is 0 where it has no key."""

    units: int
    attempt: int
    data: bytes


@dataclasses.dataclass(frozen=True)
class Block:
    """A run of groups with tables of its own: one, or of the prefix layout one for each level."""

    first_group: int
    num_groups: int
    tables: tuple[Table, ...]


@dataclasses.dataclass(frozen=True)
class Filter:
    """A parsed blob, its fields as FORMAT.md numbers them; `codebook` is float32 `[c]`."""

    num_weights: int
    layout: int
    hash: int
    bits: int
    codebook_type: int
    seed: int
    num_keys: int
    codebook: npt.NDArray[np.float32]
    lengths: tuple[int, ...]  # of the prefix layout: bits of each centroid's code
    blocks: tuple[Block, ...]


def parse(blob: bytes) -> Filter:
    """The fields of a blob, after a check of everything that FORMAT.md says must hold.

    Raises:
        BlobError: something does not hold.
    """
    num_weights, body = parse_frame(blob, codec=1)
    reader = _Reader(body, FRAME.size)
    layout, hash_, bits, codebook_type, num_clusters, seed, num_keys, num_blocks = HEADER.unpack(
        reader.take(HEADER.size, "header")
    )
    num_groups = _ceil_div(num_weights, GROUP_SIZE)
    check(layout in (RIBBON, XOR, PREFIX), "layout", layout)
    check(hash_ in (TABULATION, MURMUR3), "hash", hash_)
    check(1 <= bits <= 16, "bits", bits)
    check(codebook_type in (FLOAT32, FLOAT16), "codebook's type", codebook_type)
    check(1 <= num_clusters <= min(MAX_CLUSTERS, 2**bits), "num_clusters", num_clusters)
    check(num_keys <= num_weights, "num_keys", num_keys)
    check(1 <= num_blocks <= num_groups, "num_blocks", num_blocks)

    stored = np.dtype("<f4" if codebook_type == FLOAT32 else "<f2")
    codebook = np.frombuffer(reader.take(stored.itemsize * num_clusters, "codebook"), stored)
    check(bool(np.isfinite(codebook).all()), "codebook", codebook.tolist())

    lengths: tuple[int, ...] = ()
    planes = [bits]  # of each table of a block
    if layout == PREFIX:
        lengths = _parse_lengths(reader.take(_ceil_div(num_clusters, 2), "lengths"), num_clusters)
        check(max(lengths) == bits, "bits", bits)
        levels = sorted(set(lengths))
        planes = [level - above for level, above in zip(levels, [0, *levels[:-1]], strict=True)]

    counts = []
    headers = []
    for _ in range(num_blocks):
        counts.append(GROUPS.unpack(reader.take(GROUPS.size, "block's header"))[0])
        size = TABLE_HEADER.size * len(planes)
        headers.append(list(TABLE_HEADER.iter_unpack(reader.take(size, "block's header"))))
    check(all(count >= 1 for count in counts), "num_groups", 0)
    check(sum(counts) == num_groups, "sum of num_groups", sum(counts))
    blocks = []
    first_group = 0
    for count, tables in zip(counts, headers, strict=True):
        found: list[Table] = []
        for (units, attempt), width in zip(tables, planes, strict=True):
            most = MAX_XOR_SEGMENT if layout == XOR else 2**16 - 1
            check(units == 0 or 8 <= units <= most, "units", units)
            check(units == 0 or not found or found[-1].units > 0, "units after 0", units)
            size = _ceil_div(3 * units * width, 8) if layout == XOR else units * width
            data = reader.take(size, "table")
            used = 3 * units * width % 8
            padding = data[-1] >> used if layout == XOR and used else 0
            check(padding == 0, "bits behind the last cell", padding)
            found.append(Table(units, attempt, data))
        blocks.append(Block(first_group, count, tuple(found)))
        first_group += count
    check(reader.left() == 0, "bytes behind the last table", reader.left())
    return Filter(
        num_weights=num_weights,
        layout=layout,
        hash=hash_,
        bits=bits,
        codebook_type=codebook_type,
        seed=seed,
        num_keys=num_keys,
        codebook=codebook.astype(np.float32),
        lengths=lengths,
        blocks=tuple(blocks),
    )


class _Reader:
    """Takes bytes off the front, never more than there are."""

    def __init__(self, data: bytes, offset: int) -> None:
        self._data = data
        self._offset = offset

    def left(self) -> int:
        return len(self._data) - self._offset

    def take(self, count: int, name: str) -> bytes:
        check(count <= self.left(), f"bytes left for the {name}", self.left())
        self._offset += count
        return self._data[self._offset - count : self._offset]


def _parse_lengths(packed: bytes, num_clusters: int) -> tuple[int, ...]:
    lengths = [1 + (byte >> shift & 15) for byte in packed for shift in (0, 4)]
    if num_clusters % 2:
        check(lengths.pop() == 1, "bits behind the last length", packed[-1])
    check(sum(2 ** (16 - t) for t in lengths) <= 2**16, "sum of 2**-length", lengths)
    return tuple(lengths)


def _ceil_div(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
