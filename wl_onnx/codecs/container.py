"""The frame around every blob: the checksum that closes it. FORMAT.md has the bytes."""

from __future__ import annotations

import mmh3

__all__ = ["CHECKSUM_BYTES", "MAX_WEIGHTS", "seal"]

CHECKSUM_BYTES = 16
MAX_WEIGHTS = 2**32 - 1


def seal(body: bytes) -> bytes:
    """The blob of a body: the body and its checksum.

    Args:
        body: header and payload, everything but the checksum.

    Returns:
        `body` and its MurmurHash3_x64_128 (seed 0), 16 bytes.
    """
    return body + mmh3.mmh3_x64_128_digest(body, 0)
