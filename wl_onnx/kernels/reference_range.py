"""The adaptive binary range coder's reader in Python: codecs/FORMAT.md in code."""

from __future__ import annotations

__all__ = ["Bit", "RangeDecoder"]

RATES = (1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 5)


class Bit:
    """An adaptive bit's model."""

    def __init__(self) -> None:
        self.zero = 32768
        self.seen = 0


class RangeDecoder:
    """Reads bits that an adaptive binary range coder wrote, and zeros behind the last byte.

    Args:
        data: what was written.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._asked = 0
        self._range = 2**32 - 1
        self._code = 0
        for _ in range(4):
            self._code = self._code << 8 | self._next()

    def _next(self) -> int:
        self._asked += 1
        return self._data[self._asked - 1] if self._asked <= len(self._data) else 0

    def _normalize(self) -> None:
        while self._range < 2**24:
            self._range <<= 8
            self._code = self._code << 8 | self._next()

    def is_at_end(self) -> bool:
        """Whether the last byte has been asked for."""
        return self._asked >= len(self._data)

    def bit(self, model: Bit) -> int:
        """An adaptive bit."""
        bit = self.bit_of(model.zero)
        rate = RATES[model.seen]
        model.zero += -(model.zero >> rate) if bit else 65536 - model.zero >> rate
        model.seen = min(model.seen + 1, len(RATES) - 1)
        return bit

    def bit_of(self, zero: int) -> int:
        """A bit that is 0 with a probability of `zero` of 65,536."""
        bound = (self._range >> 16) * zero
        bit = int(self._code >= bound)
        if bit:
            self._code -= bound
            self._range -= bound
        else:
            self._range = bound
        self._normalize()
        return bit

    def raw(self, count: int) -> int:
        """A raw number of so many bits."""
        value = 0
        for _ in range(count):
            self._range >>= 1
            bit = int(self._code >= self._range)
            self._code -= bit * self._range
            value = value << 1 | bit
            self._normalize()
        return value

    def tail(self, length: int, precision: int) -> int:
        """A number of a known length in bits, of which the highest are there."""
        if length == 0:
            return 0
        sent = min(length - 1, precision)
        return (1 << sent | self.raw(sent)) << (length - 1 - sent)
