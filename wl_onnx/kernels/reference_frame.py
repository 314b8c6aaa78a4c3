"""The frame of every blob, read in Python: codecs/FORMAT.md in code."""

from __future__ import annotations

import struct

import mmh3

from wl_onnx.errors import BlobError

__all__ = ["FRAME", "check", "parse_frame"]

FRAME = struct.Struct("<4sBBHQ")
CHECKSUM_BYTES = 16


def check(holds: bool, name: str, got: object) -> None:
    """Refuses a blob unless a condition holds.

    Args:
        holds: the condition.
        name: the field that it is about.
        got: what the field was found to be.

    Raises:
        BlobError: it does not hold; the message names the field.
    """
    if not holds:
        raise BlobError(f"cannot read blob: {name} must be as FORMAT.md says, got {got}")


def parse_frame(blob: bytes, *, codec: int) -> tuple[int, bytes]:
    """What the frame of a blob holds.

    Args:
        blob: a whole blob.
        codec: the codec's number that the blob must have.

    Returns:
        The number of weights, and the blob without its checksum.

    Raises:
        BlobError: something does not hold.
    """
    check(len(blob) >= FRAME.size + CHECKSUM_BYTES, "size", len(blob))
    magic, version, found, reserved, num_weights = FRAME.unpack_from(blob)
    check(magic == b"WLOX", "magic", magic)
    check(version == 1, "format version", version)
    body, checksum = blob[:-CHECKSUM_BYTES], blob[-CHECKSUM_BYTES:]
    check(mmh3.mmh3_x64_128_digest(body, 0) == checksum, "checksum", checksum.hex())
    check(found == codec, "codec", found)
    check(reserved == 0, "reserved field", reserved)
    check(1 <= num_weights < 2**32, "num_weights", num_weights)
    return num_weights, body
