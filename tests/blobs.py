"""Blobs put together field by field from FORMAT.md, without the encoder, and keys to encode."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Sequence
from typing import Any

import mmh3
import numpy as np
import numpy.typing as npt

from wl_onnx.errors import BlobError

LAYOUTS = {"ribbon": 1, "xor": 2, "prefix": 3}
HASHES = {"tabulation": 1, "murmur3": 2}
SCHEMES = [(layout, hash_) for layout in LAYOUTS for hash_ in HASHES]

# Written once by the encoder and kept, so that the format cannot drift: key i of 40 is index
# 61 * i + i * i % 23 of 2,500 and has centroid i % 5.
STORED_BITS: dict[str, int | list[int]] = {"ribbon": 8, "xor": 8, "prefix": [9, 4, 7, 4, 11]}
STORED_CODEBOOK = [-2.0, -0.5, 0.25, 1.0, 3.0]
STORED_BLOBS = {
    ("ribbon", "tabulation"): bytes.fromhex(
        "574c4f5801010000c4090000000000000101080a0500000063000000280000000100000000c000b80034"
        "003c0042030000000c0000170562cf2032000000000000150f25fbe846000000000000350832dbab1400"
        "0000000000220e394110680000000000003d045f0905720000000000003d0a2bf6dd7100000000000018"
        "0f0b991f2c000000000000390734009a1b0000000000005c446f78d075aa9785717663bcb8c9ed"
    ),
    ("ribbon", "murmur3"): bytes.fromhex(
        "574c4f5801010000c4090000000000000102080a0500000063000000280000000100000000c000b80034"
        "003c0042030000000c00005f1d2d5a9a08000000000000fe8596f3b40000000000000017333dde140c00"
        "00000000005c4f30b8320c000000000000f20400c8ba000000000000006310b4b2a40800000000000054"
        "28b1e8ac04000000000000358f107dbc040000000000003e70b233decccbed02a32852b7a8d8be"
    ),
    ("xor", "tabulation"): bytes.fromhex(
        "574c4f5801010000c4090000000000000201080a0500000063000000280000000100000000c000b80034"
        "003c0042030000001c0000000000000000000014000006001d00c8b7e700e500dcad00000000000000c2"
        "000000a1db00250000ce0000000040307e00005b007b00000000d81f00000e00866b05001064eee197c2"
        "265e3719e9510028006a75cf134b33c5a59281931419593342b516"
    ),
    ("xor", "murmur3"): bytes.fromhex(
        "574c4f5801010000c4090000000000000202080a0500000063000000280000000100000000c000b80034"
        "003c0042030000001c000000000000c452e3700000db0000f7000b003200083f00000000000000000000"
        "0000640000007858003242878d002ada73a80000004200c9000000760080000d98000000002916db30c2"
        "00decc06679228009800e8a8c1d33bcfed09a1e9aed81c7561054e"
    ),
    ("prefix", "tabulation"): bytes.fromhex(
        "574c4f5801010000c40900000000000003010b0a0500000063000000280000000100000000c000b80034"
        "003c004238360a030000000800000800000800000800005ab9ddec8a080000032719540b00000057d5e1"
        "1e9e020000f450d3d601020000f475a701000000005dc8be0000000000eea61c01000000006fd8010000"
        "000000a32900000000000097100000000000009410000000000000ae791fc8a4776ccf79e14679c4ee08"
        "27"
    ),
    ("prefix", "murmur3"): bytes.fromhex(
        "574c4f5801010000c40900000000000003020b0a0500000063000000280000000100000000c000b80034"
        "003c004238360a03000000080000080000080000080000e4a92008900100005ded9d2f150100003d81c4"
        "65bd0000008af41e16a0010000282559000000000099ee702000000000f9a3252000000000b821010000"
        "000000bab6000000000000ab02000000000000a40200000000000075f059bfbb62d44151a4e773d5498e"
        "bb"
    ),
}


def reseal(blob: bytes) -> bytes:
    """The blob with the checksum that its other bytes should have."""
    return blob[:-16] + mmh3.mmh3_x64_128_digest(blob[:-16], 0)


@dataclasses.dataclass
class BlobFields:
    """What `to_bytes` writes, right or wrong.

    A block is (num_groups, units, attempt); of layout 3 units and attempt of every level.
    """

    num_weights: int
    layout: int
    hash: int
    bits: int
    codebook: npt.NDArray[np.floating]  # float16 or float32, as it is stored
    seed: int
    num_keys: int
    blocks: list[tuple[int, ...]]
    tables: bytes
    lengths: bytes = b""  # of layout 3, as they are packed

    def to_bytes(self) -> bytes:
        codebook_type = 10 if self.codebook.dtype == np.float16 else 1
        body = struct.pack("<4sBBHQ", b"WLOX", 1, 1, 0, self.num_weights)
        body += struct.pack(
            "<BBBBIIII",
            self.layout,
            self.hash,
            self.bits,
            codebook_type,
            self.codebook.size,
            self.seed,
            self.num_keys,
            len(self.blocks),
        )
        body += self.codebook.tobytes()
        body += self.lengths
        for block in self.blocks:
            body += struct.pack("<I" + (len(block) - 1) // 2 * "HB", *block)
        return reseal(body + self.tables + bytes(16))


def pack_lengths(lengths: Sequence[int]) -> bytes:
    """The lengths of codes as layout 3 has them."""
    padded = [*lengths, 1] if len(lengths) % 2 else [*lengths]
    pairs = zip(padded[::2], padded[1::2], strict=True)
    return bytes((first - 1) | (second - 1) << 4 for first, second in pairs)


def level_planes(lengths: Sequence[int]) -> list[int]:
    """How many planes each table of a block has that is of layout 3."""
    levels = sorted(set(lengths))
    return [level - above for level, above in zip(levels, [0, *levels[:-1]], strict=True)]


def random_lengths(rng: np.random.Generator, count: int) -> list[int]:
    """Lengths of codes of which the sum of 2**-length is at most 1."""
    least = max(1, (count - 1).bit_length())
    lengths = rng.integers(1, 17, count) if rng.random() < 0.3 else rng.integers(least, 17, count)
    while (2.0**-lengths).sum() > 1:
        lengths[rng.integers(count)] = rng.integers(least, 17)
    return [int(length) for length in lengths]


def random_tables(rng: np.random.Generator, layout: int, bits: int, units: list[int]) -> bytes:
    """Tables of random cells; the bits of a last byte that belong to no cell are 0."""
    tables = []
    for count in units:
        num_bits = (3 if layout == 2 else 8) * count * bits
        table = bytearray(rng.bytes(-(-num_bits // 8)))
        if num_bits % 8:
            table[-1] &= (1 << num_bits % 8) - 1
        tables.append(bytes(table))
    return b"".join(tables)


def random_blob(rng: np.random.Generator, *, max_groups: int = 6) -> bytes:
    """A valid blob of random tables: no encoder made it, and many weights are not zero."""
    layout = int(rng.integers(1, 4))
    bits = int(rng.integers(1, 17))
    num_clusters = int(min(2**bits, 4096, 2 ** rng.uniform(0, 13)))
    lengths: list[int] = []
    planes = [bits]
    if layout == 3:
        num_clusters = min(num_clusters, 300)
        lengths = random_lengths(rng, num_clusters)
        bits, planes = max(lengths), level_planes(lengths)
    num_groups = int(rng.integers(1, max_groups + 1))
    blocks: list[tuple[int, ...]] = []
    tables = b""
    left = num_groups
    while left > 0:
        count = int(rng.integers(1, left + 1))
        most = 300 if rng.random() < 0.9 else (4096 if layout == 2 else 65535)
        block = [count]
        units = 1
        for width in planes:
            if units > 0:
                weights = [0.1, 0.1, 0.1, 0.7]
                units = int(rng.choice([0, 8, 9, rng.integers(8, most + 1)], p=weights))
            block += [units, int(rng.integers(256))]
            tables += random_tables(rng, layout, width, [units])
        blocks.append(tuple(block))
        left -= count
    num_weights = (num_groups - 1) * 1024 + int(rng.integers(1, 1025))
    return BlobFields(
        num_weights=num_weights,
        layout=layout,
        hash=int(rng.integers(1, 3)),
        bits=bits,
        codebook=rng.normal(size=num_clusters).astype(rng.choice(["f2", "f4"])),
        seed=int(rng.integers(2**32)),
        num_keys=int(rng.integers(num_weights + 1)),
        blocks=blocks,
        tables=tables,
        lengths=pack_lengths(lengths),
    ).to_bytes()


def random_keys(
    rng: np.random.Generator, num_weights: int, density: float, num_clusters: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Indices, ascending, and the centroid of each."""
    indices = np.flatnonzero(rng.random(num_weights) < density)
    return indices, rng.integers(0, num_clusters, indices.size)


def several_blocks(layout: int, hash_: int) -> bytes:
    """A blob of four blocks, one of them without a table."""
    rng = np.random.default_rng(layout)
    units = [9, 0, 8, 31]
    return BlobFields(
        num_weights=7 * 1024 - 300,
        layout=layout,
        hash=hash_,
        bits=5,
        codebook=np.array([1, 2, 3], np.float32),
        seed=11,
        num_keys=100,
        blocks=[(2, units[0], 3), (1, units[1], 0), (3, units[2], 255), (1, units[3], 1)],
        tables=random_tables(rng, layout, 5, units),
    ).to_bytes()


def several_levels() -> bytes:
    """A blob of prefix codes in three blocks: with all levels, with the first alone, with none."""
    rng = np.random.default_rng(3)
    blocks = [(2, 9, 3, 31, 0, 8, 255), (1, 10, 0, 0, 0, 0, 7), (1, 0, 1, 0, 2, 0, 3)]
    tables = [
        random_tables(rng, 3, width, [units])
        for block in blocks
        for width, units in zip([2, 3, 4], block[1::2], strict=True)
    ]
    return BlobFields(
        num_weights=4 * 1024 - 77,
        layout=3,
        hash=1,
        bits=9,
        codebook=np.array([1, 2, 3], np.float32),
        seed=11,
        num_keys=100,
        blocks=blocks,
        tables=b"".join(tables),
        lengths=pack_lengths([9, 2, 5]),
    ).to_bytes()


def consistent_blob(**change: Any) -> bytes:
    """A blob of one block whose lengths all fit, and whose fields may still break a rule."""
    fields: dict[str, Any] = {
        "num_weights": 1000,
        "layout": 1,
        "hash": 1,
        "bits": 9,
        "codebook": np.ones(4, np.float16),
        "seed": 5,
        "num_keys": 10,
        "blocks": [(1, 20, 0)],
    }
    fields.update(change)
    planes = [fields["bits"]]
    if fields["layout"] == 3:
        lengths = fields.setdefault("lengths", pack_lengths([9, 4, 4, 6]))
        num_clusters = fields["codebook"].size
        nibbles = [1 + (byte >> shift & 15) for byte in lengths for shift in (0, 4)]
        planes = level_planes(nibbles[:num_clusters])
    sizes = [
        -(-3 * units * width // 8) if fields["layout"] == 2 else units * width
        for block in fields["blocks"]
        for width, units in zip(planes, block[1::2], strict=True)
    ]
    tables = np.random.default_rng(6).bytes(sum(sizes))
    return BlobFields(**fields, tables=tables).to_bytes()


def outcome(read: Callable[[], object]) -> object:
    """What `read` gives, or BlobError where it raises that with one line of text."""
    try:
        return read()
    except BlobError as error:
        message = str(error)
    assert message.startswith("cannot ")
    assert "\n" not in message
    return BlobError
