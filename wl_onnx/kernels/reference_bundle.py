"""The bundle's reader in Python: the specification in code, slow.

Written from codecs/FORMAT.md; shares nothing with the compiled core.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import struct

import mmh3
import numpy as np
import numpy.typing as npt

from wl_onnx.kernels.reference_frame import FRAME, check, parse_frame
from wl_onnx.kernels.reference_range import Bit, RangeDecoder

__all__ = ["decode"]

CODEC = 3
MAX_TENSORS = 1 << 16
MAX_WEIGHTS = 1 << 23
MAX_CLUSTERS = 4096
MAX_LEVEL = 1 << 24
STEP, HALF_CODEBOOK, FLOAT_CODEBOOK, HALVES, FLOATS = range(5)
NUM_INPUTS = 5
SLOT_BITS = 16
LOGIT_LIMIT = 3072


def decode(blob: bytes) -> list[npt.NDArray[np.float32]]:
    """The weights of each tensor, float32.

    Raises:
        BlobError: the blob is damaged.
    """
    num_weights, body = parse_frame(blob, codec=CODEC)
    check(num_weights <= MAX_WEIGHTS, "num_weights", num_weights)
    payload = body[FRAME.size :]
    check(bool(payload) and payload[-1] != 0, "last byte", payload[-1:].hex())
    coder = RangeDecoder(payload)
    heads = _read_heads(coder, num_weights)
    levels = _Levels(coder)
    weights = []
    for index, head in enumerate(heads):
        values = levels.read_floats(head) if head.kind >= HALVES else levels.read(index, head)
        weights.append(np.array(values, np.float64).astype(np.float32))
        check(bool(np.isfinite(weights[-1]).all()), "weights", "others")
    check(coder.is_at_end(), "end of the payload", "more")
    return weights


@dataclasses.dataclass
class _Head:
    kind: int
    num_weights: int
    row_length: int
    scale: int = 0
    step: float = 0.0
    offset: float = 0.0
    zero: int = 0
    codebook: list[float] = dataclasses.field(default_factory=list)

    def value(self, level: int) -> float:
        if self.kind == STEP:
            return self.offset + self.step * level  # the product is exact in 53 bits
        return self.codebook[level + self.zero]

    def limits(self) -> tuple[int, int]:
        """The highest level, and the lowest without its sign."""
        if self.kind == STEP:
            return MAX_LEVEL, MAX_LEVEL
        return len(self.codebook) - 1 - self.zero, self.zero


class _Tree:
    def __init__(self, num_bits: int) -> None:
        self._num_bits = num_bits
        self._bits = [Bit() for _ in range(1 << num_bits)]

    def read(self, coder: RangeDecoder) -> int:
        node = 1
        for _ in range(self._num_bits):
            node = 2 * node + coder.bit(self._bits[node])
        return node - (1 << self._num_bits)


class _Number:
    def __init__(self) -> None:
        self._same, self._power, self._length = Bit(), Bit(), _Tree(6)
        self._last = 0

    def read(self, coder: RangeDecoder) -> int:
        if not coder.bit(self._same):
            length = min(self._length.read(coder), 32)
            is_power = length > 2 and coder.bit(self._power)
            tail = coder.raw(length - 1) if length > 1 and not is_power else 0
            self._last = (1 << length - 1) + tail if length else 0
        return self._last


class _Float:
    def __init__(self) -> None:
        self._top, self._length = _Tree(9), _Tree(5)

    def read(self, coder: RangeDecoder) -> float:
        top = self._top.read(coder)
        length = min(self._length.read(coder), 23)
        mantissa = (2 * coder.raw(length - 1) + 1) << (23 - length) if length else 0
        value: float = struct.unpack("<f", struct.pack("<I", top << 23 | mantissa))[0]
        return value


class _Codebook:
    def __init__(self) -> None:
        self._centre, self._first = _Float(), _Float()
        self._lengths = [_Tree(6) for _ in range(4)]

    def read(self, coder: RangeDecoder, dtype: type, above: int, below: int) -> list[float]:
        centre = self._read_known(coder, self._centre)
        up: list[float] = []
        down: list[float] = []
        for side, count, other in ((up, above, down), (down, below, up)):
            for i in range(1, count + 1):
                if i > 1:
                    foretold = centre + (side[-1] - centre) * i / (i - 1)
                elif other:
                    foretold = centre - (other[0] - centre)
                else:
                    side.append(self._read_known(coder, self._first))
                    continue
                side.append(self._read_foretold(coder, dtype, foretold, i))
        return [*reversed(down), centre, *up]

    def _read_known(self, coder: RangeDecoder, model: _Float) -> float:
        value = model.read(coder)
        check(math.isfinite(value), "centroids", value)
        return value

    def _read_foretold(self, coder: RangeDecoder, dtype: type, foretold: float, i: int) -> float:
        integer = np.uint16 if dtype is np.float16 else np.uint32
        limit = int(np.finfo(dtype).max.view(integer))
        nearest = np.float32(min(max(foretold, -3.4e38), 3.4e38))
        with np.errstate(over="ignore"):
            expected = min(int(np.abs(dtype(nearest)).view(integer)), limit)
        expected = -expected if np.signbit(nearest) else expected
        length = min(self._lengths[min(i, 4) - 1].read(coder), 32)
        size = (1 << length - 1) + coder.raw(length - 1) if length else 0
        ordinal = expected + (-size if length and coder.raw(1) else size)
        check(abs(ordinal) <= limit, "centroids", ordinal)
        value = float(integer(abs(ordinal)).view(dtype))
        return -value if ordinal < 0 else value


def _read_heads(coder: RangeDecoder, left: int) -> list[_Head]:
    num_tensors = _Number().read(coder)
    check(1 <= num_tensors <= min(MAX_TENSORS, left), "number of tensors", num_tensors)
    kind_tree, scale_tree = _Tree(3), _Tree(6)
    length, rows, missing, zero, above = (_Number() for _ in range(5))
    step, offset, has_offset = _Float(), _Float(), Bit()
    codebook = _Codebook()
    heads = []
    for index in range(num_tensors):
        kind = kind_tree.read(coder)
        check(kind <= FLOATS, "kind", kind)
        row_length = length.read(coder)
        num_rows = rows.read(coder)
        lacking = missing.read(coder)
        count = num_rows * row_length - lacking
        most = left - (num_tensors - 1 - index)
        check(row_length >= 1 and num_rows >= 1 and lacking < row_length, "shape", row_length)
        check(row_length <= count <= most, "num_weights", count)
        left -= count
        head = _Head(kind, count, row_length)
        heads.append(head)
        if kind >= HALVES:
            continue
        head.scale = scale_tree.read(coder)
        if kind == STEP:
            head.step = step.read(coder)
            head.offset = offset.read(coder) if coder.bit(has_offset) else 0.0
            check(math.isfinite(head.step) and math.isfinite(head.offset), "step", head.step)
            continue
        head.zero = zero.read(coder)
        num_above = above.read(coder)
        num_clusters = head.zero + num_above + 1
        check(num_clusters <= min(MAX_CLUSTERS, count + 1), "centroids", num_clusters)
        dtype = np.float16 if kind == HALF_CODEBOOK else np.float32
        head.codebook = codebook.read(coder, dtype, num_above, head.zero)
    check(left == 0, "num_weights", left)
    return heads


def _log2(value: int) -> int:
    """log2 in units of 2**-16, rounded down."""
    whole = value.bit_length() - 1
    mantissa = value << (31 - whole)
    fraction = 0
    for _ in range(16):
        mantissa = mantissa * mantissa >> 31
        fraction = 2 * fraction + (mantissa >> 32)
        mantissa >>= mantissa >> 32
    return (whole << 16) + fraction


def _divide(value: int, divisor: int) -> int:
    """Rounded towards zero."""
    return abs(value) // divisor * (1 if value >= 0 else -1)


def _logit(part: int, whole: int) -> int:
    return _divide(_log2(part) - _log2(whole - part), 256)


@functools.cache
def _stretch(top: int) -> int:
    return _logit(2 * top + 1, 8192)


@functools.cache
def _squash_table() -> list[int]:
    logits = [_logit(part, 1 << 14) for part in range(1, 1 << 14)]
    sums = np.arange(-LOGIT_LIMIT, LOGIT_LIMIT + 1)
    parts = 1 + np.searchsorted(np.array(logits), sums, side="left")
    return [int(part) for part in np.minimum(parts, (1 << 14) - 1)]


class _Mixer:
    def __init__(self, coder: RangeDecoder) -> None:
        self._coder = coder
        self._slots: list[dict[int, tuple[int, int]]] = [{} for _ in range(NUM_INPUTS)]
        self._weights = [[16384] * NUM_INPUTS for _ in range(128)]
        self._bases = [0] * NUM_INPUTS

    def set_contexts(self, *contexts: int) -> None:
        for i, context in enumerate(contexts):
            key = struct.pack("<I", context % 2**32)
            self._bases[i] = mmh3.hash(key, i, signed=False)

    def bit(self, decision: int, num_inputs: int = NUM_INPUTS) -> int:
        weights = self._weights[decision]
        places = [(self._bases[i] + decision) % (1 << SLOT_BITS) for i in range(num_inputs)]
        slots = [self._slots[i].get(place, (1 << 21, 0)) for i, place in enumerate(places)]
        inputs = [
            _divide(_stretch(one >> 10) * ((seen << 8) // (seen + 3)), 256) for one, seen in slots
        ]
        total = _divide(sum(w * x for w, x in zip(weights, inputs, strict=False)), 1 << 16)
        total = min(max(total, -LOGIT_LIMIT), LOGIT_LIMIT)
        probability = _squash_table()[total + LOGIT_LIMIT]
        bit = self._coder.bit_of((1 << 16) - 4 * probability)
        error = (bit << 14) - probability
        for i, (one, seen) in enumerate(slots):
            moved = weights[i] + _divide(error * inputs[i], 1 << 14)
            weights[i] = min(max(moved, -(64 << 16)), 64 << 16)
            target = (1 << 22) - 1 if bit else 0
            one += _divide((target - one) * 5, 5 * seen + 8)
            self._slots[i][places[i]] = one, min(seen + 1, 511)
        return bit


def _mean(total: int, count: int, first: int) -> int:
    """The mean of magnitudes in half octaves."""
    mean = (16 * total + 4 * first) // (count + 4)
    length = mean.bit_length() - 1
    return mean if mean < 2 else 2 * length + (mean >> length - 1 & 1)


class _Levels:
    def __init__(self, coder: RangeDecoder) -> None:
        self._coder = coder
        self._mixer = _Mixer(coder)
        self._half_tops, self._float_tops = _Tree(6), _Tree(9)

    def read_floats(self, head: _Head) -> list[float]:
        values = []
        for _ in range(head.num_weights):
            if head.kind == HALVES:
                bits = self._half_tops.read(self._coder) << 10 | self._coder.raw(10)
                values.append(struct.unpack("<e", struct.pack("<H", bits))[0])
            else:
                bits = self._float_tops.read(self._coder) << 23 | self._coder.raw(23)
                values.append(struct.unpack("<f", struct.pack("<I", bits))[0])
        return values

    def read(self, index: int, head: _Head) -> list[float]:
        highest, lowest = head.limits()
        levels: list[int] = []
        if highest == 0 and lowest == 0:
            return [head.value(0)] * head.num_weights
        octave, half = divmod(head.scale, 2)
        first = head.scale if head.scale < 4 else (5 + 2 * half << octave) >> 2
        columns = [0] * head.row_length
        row_sum = total = 0
        for at in range(head.num_weights):
            row, column = divmod(at, head.row_length)
            row_sum = row_sum if column else 0

            def near(distance: int, is_there: bool, at: int = at) -> int:
                return min(abs(levels[at - distance]) if is_there else first // 16, 3)

            def sign(distance: int, is_there: bool, at: int = at) -> int:
                level = levels[at - distance] if is_there else 0
                return 2 if level < 0 else int(level > 0)

            left, second = near(1, column >= 1), near(2, column >= 2)
            above = near(head.row_length, row > 0)
            own = index << 16
            column_mean = _mean(columns[column], row, first)
            self._mixer.set_contexts(
                (left * 16 + above * 4 + second) * 64 + head.scale,
                index,
                own ^ row,
                own ^ column,
                (_mean(total, at, first) * 64 + column_mean) * 64 + _mean(row_sum, column, first),
            )
            level = 0
            if self._mixer.bit(0):
                level = self._read_magnitude(max(highest, lowest))
                if level <= min(highest, lowest):
                    signs = sign(1, column >= 1) * 3 + sign(head.row_length, row > 0)
                    self._mixer.set_contexts(signs)
                    level = -level if self._mixer.bit(1, 4) else level
                elif lowest > highest:
                    level = -level
            levels.append(level)
            row_sum += abs(level)
            total += abs(level)
            columns[column] = min(columns[column] + abs(level), 2**32 - 1)
        return [head.value(level) for level in levels]

    def _read_magnitude(self, limit: int) -> int:
        bucket = 0
        while _bucket_first(bucket + 1) <= limit and self._mixer.bit(2 + bucket):
            bucket += 1
        tail_bits = 0 if bucket < 4 else (bucket - 4) // 2 + 1
        if tail_bits == 0:
            return bucket + 1
        tail = self._mixer.bit(64 + bucket) << (tail_bits - 1)
        tail += self._coder.raw(tail_bits - 1)
        return min(_bucket_first(bucket) + tail, limit)


def _bucket_first(bucket: int) -> int:
    """The least magnitude of a bucket."""
    if bucket < 4:
        return bucket + 1
    octave, half = divmod(bucket - 4, 2)
    return (4 << octave) + 1 + half * (2 << octave)
