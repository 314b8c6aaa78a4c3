"""The reader of a palette in Python: codecs/FORMAT.md in code, what the core is held to.

Clear rather than fast, some microseconds a weight. Nothing but tests calls it.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from wl_onnx.kernels.reference_frame import FRAME, check, parse_frame
from wl_onnx.kernels.reference_range import Bit, RangeDecoder

__all__ = ["Palette", "decode", "decode_codes", "frequencies", "parse"]

MAX_CLUSTERS = 4096
MAX_LANES = 64
MAX_LINES = 2**20
MAX_SHARE_BITS = 20
LOW = 2**16


@dataclasses.dataclass(frozen=True)
class Palette:
    """A parsed blob; `shares` is one row a context, `chunks` the states and words of each."""

    num_weights: int
    codebook: npt.NDArray[np.float32]
    probability_bits: int
    num_lanes: int
    chunk_weights: int
    row_length: int
    row_classes: list[int]
    column_classes: list[int]
    num_column_classes: int
    shares: list[list[int]]
    chunks: list[tuple[list[int], list[int]]]

    def context(self, index: int) -> int:
        """The context of a weight."""
        if len(self.shares) == 1:
            return 0
        row, column = divmod(index, self.row_length)
        row_class = self.row_classes[row] if self.row_classes else 0
        column_class = self.column_classes[column] if self.column_classes else 0
        return row_class * self.num_column_classes + column_class


def parse(blob: bytes) -> Palette:
    """The fields of a blob, after a check of everything that FORMAT.md says must hold.

    Raises:
        BlobError: something does not hold.
    """
    num_weights, body = parse_frame(blob, codec=2)
    reader = _Bytes(body[FRAME.size :])

    (scheme,) = reader.read("<H")
    num_clusters = reader.read("<H")[0] + 1
    probability_bits = scheme >> 2 & 15
    num_lanes = 1 << (scheme >> 6 & 7)
    chunk_bits = scheme >> 9 & 63
    check(scheme >> 15 == 0, "bit 15 of the scheme", scheme)
    check(8 <= probability_bits <= 14, "probability bits", probability_bits)
    check(num_lanes <= MAX_LANES, "lanes", num_lanes)
    check(8 <= chunk_bits <= 32, "chunk bits", chunk_bits)
    check(num_clusters <= MAX_CLUSTERS, "clusters", num_clusters)
    codebook = _read_codebook(reader, num_clusters, scheme)

    (size,) = reader.read("<B")
    if size >= 128:
        size = (size - 128 << 16) + reader.read("<H")[0]
    side = reader.take(size)
    check(not side or side[-1] != 0, "last byte of the model", 0)
    model = _Model(RangeDecoder(side), num_weights, num_clusters)
    for shares in model.shares:
        frequencies(shares, probability_bits)

    num_chunks = -(-num_weights // 2**chunk_bits)
    counts = [int.from_bytes(raw, "little") for raw in _split(reader.take(4 * (num_chunks - 1)), 4)]
    chunks = []
    for index in range(num_chunks):
        states = [int.from_bytes(raw, "little") for raw in _split(reader.take(4 * num_lanes), 4)]
        if index < num_chunks - 1:
            num_words = counts[index]
        else:
            check(reader.remaining() % 2 == 0, "bytes of the last chunk", reader.remaining())
            num_words = reader.remaining() // 2
        check(num_words <= min(num_weights, 2**chunk_bits), "words", num_words)
        words = [int.from_bytes(raw, "little") for raw in _split(reader.take(2 * num_words), 2)]
        chunks.append((states, words))
    return Palette(
        num_weights,
        codebook,
        probability_bits,
        num_lanes,
        2**chunk_bits,
        model.row_length,
        model.row_classes,
        model.column_classes,
        model.num_column_classes,
        model.shares,
        chunks,
    )


def frequencies(shares: list[int], probability_bits: int) -> list[int]:
    """The frequencies of a context's symbols; they add up to 2**probability_bits.

    Raises:
        BlobError: there are no symbols, or too many.
    """
    used = [share for share in shares if share]
    check(1 <= len(used) <= 2**probability_bits, "symbols of a context", len(used))
    room = 2**probability_bits - len(used)
    total = sum(share - 1 for share in used)
    found = [1 + (share - 1) * room // max(total, 1) if share else 0 for share in shares]
    found[shares.index(max(shares))] += 2**probability_bits - sum(found)
    return found


def decode_codes(blob: bytes) -> npt.NDArray[np.uint16]:
    """The centroid of each weight, uint16 `[num_weights]`.

    Raises:
        BlobError: the blob is damaged.
    """
    palette = parse(blob)
    bits = palette.probability_bits
    mask = 2**bits - 1
    slots: list[list[tuple[int, int, int]]] = []
    for shares in palette.shares:
        row = []
        for symbol, frequency in enumerate(frequencies(shares, bits)):
            row += [(symbol, frequency, offset) for offset in range(frequency)]
        slots.append(row)
    codes = np.empty(palette.num_weights, np.uint16)
    for index, (first_states, words) in enumerate(palette.chunks):
        first = index * palette.chunk_weights
        states = list(first_states)
        place = 0
        for i in range(min(palette.chunk_weights, palette.num_weights - first)):
            lane = i % palette.num_lanes
            state = states[lane]
            codes[first + i], frequency, offset = slots[palette.context(first + i)][state & mask]
            state = frequency * (state >> bits) + offset
            if state < LOW and place < len(words):
                state = state << 16 | words[place]
                place += 1
            states[lane] = state
    return codes


def decode(blob: bytes, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """The weights `[num_weights]`, rounded to `dtype`.

    Raises:
        BlobError: the blob is damaged.
    """
    with np.errstate(over="ignore"):
        centroids = parse(blob).codebook.astype(dtype)
    return centroids[decode_codes(blob)]


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    def remaining(self) -> int:
        return len(self._data) - self._offset

    def take(self, size: int) -> bytes:
        check(size <= self.remaining(), "bytes left", self.remaining())
        self._offset += size
        return self._data[self._offset - size : self._offset]

    def read(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))


def _read_codebook(reader: _Bytes, num_clusters: int, scheme: int) -> npt.NDArray[np.float32]:
    dtype = np.dtype("<f4" if scheme & 1 else "<f2")
    with np.errstate(over="ignore", invalid="ignore"):
        if scheme & 2:
            step, origin = reader.read("<fh")
            places = (np.arange(num_clusters) - origin).astype(np.float32)
            stored = (np.float32(step) * places).astype(dtype)
        else:
            stored = np.frombuffer(reader.take(num_clusters * dtype.itemsize), dtype)
        codebook: npt.NDArray[np.float32] = stored.astype(np.float32)
    bad = codebook[~np.isfinite(codebook)]
    check(bad.size == 0, "centroids", bad[:1])
    return codebook


class _ShareModels:
    def __init__(self) -> None:
        self.differs = [Bit() for _ in range(3)]
        self.longer = [Bit() for _ in range(3)]
        self.more = [[Bit() for _ in range(MAX_SHARE_BITS + 1)] for _ in range(2)]
        self.last = 0  # same, shorter, longer


class _Model:
    """The classes and the shares."""

    def __init__(self, coder: RangeDecoder, num_weights: int, num_clusters: int) -> None:
        self._coder = coder
        num_row_classes = coder.raw(3) + 1
        self.num_column_classes = coder.raw(3) + 1
        self._precision = coder.raw(3)
        self.row_length = 0
        self.row_classes: list[int] = []
        self.column_classes: list[int] = []
        if num_row_classes > 1 or self.num_column_classes > 1:
            self.row_length = coder.tail(min(coder.raw(6), 32), 32)
            check(1 <= self.row_length <= num_weights, "row length", self.row_length)
            num_rows = -(-num_weights // self.row_length)
            check(num_row_classes == 1 or num_rows <= MAX_LINES, "rows", num_rows)
            check(
                self.num_column_classes == 1 or self.row_length <= MAX_LINES,
                "columns",
                self.row_length,
            )
            if num_row_classes > 1:
                self.row_classes = self._read_classes(num_rows, num_row_classes)
            if self.num_column_classes > 1:
                self.column_classes = self._read_classes(self.row_length, self.num_column_classes)
        num_contexts = num_row_classes * self.num_column_classes
        self.shares = self._read_shares(num_contexts, num_clusters)
        check(coder.is_at_end(), "bytes of the model", "more")

    def _read_classes(self, count: int, num_classes: int) -> list[int]:
        depth = (num_classes - 1).bit_length()
        models = [[Bit() for _ in range(8)] for _ in range(num_classes)]
        before = 0
        classes = []
        for _ in range(count):
            node = 1
            for _ in range(depth):
                node = 2 * node + self._coder.bit(models[before][node])
            before = min(node - (1 << depth), num_classes - 1)
            classes.append(before)
        return classes

    def _read_shares(self, num_contexts: int, num_clusters: int) -> list[list[int]]:
        copy = Bit()
        first, later, of_mode = _ShareModels(), _ShareModels(), _ShareModels()
        tables = [self._read_table([0] * num_clusters, first)]
        mode = tables[0].index(max(tables[0]))
        for _ in range(1, num_contexts):
            before = tables[-1]
            if self._coder.bit(copy):
                table = list(before)
                expected = before[mode].bit_length()
                table[mode] = self._read_share(expected, self._precision + 3, of_mode)
            else:
                table = self._read_table(before, later)
            tables.append(table)
        return tables

    def _read_table(self, before: list[int], models: _ShareModels) -> list[int]:
        table = []
        moved = 0
        for share in before:
            base = share.bit_length()
            expected = min(max(base + moved, 0), MAX_SHARE_BITS)
            table.append(self._read_share(expected, self._precision, models))
            moved = table[-1].bit_length() - base
        return table

    def _read_share(self, expected: int, precision: int, models: _ShareModels) -> int:
        last, models.last = models.last, 0
        length = expected
        if self._coder.bit(models.differs[last]):
            if expected in (0, MAX_SHARE_BITS):
                longer = int(expected == 0)
            else:
                longer = self._coder.bit(models.longer[last])
            most = MAX_SHARE_BITS - expected if longer else expected
            size = 1
            while size < most and self._coder.bit(models.more[longer][size]):
                size += 1
            length += size if longer else -size
            models.last = 2 if longer else 1
        return self._coder.tail(length, precision)


def _split(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]
