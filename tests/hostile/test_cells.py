"""Damaged and lying blobs of analog cells: an error or a read, in bounded memory.

Everything runs in this process, so that a fault of the compiled core ends the tests.
"""

from __future__ import annotations

import dataclasses
import struct

import numpy as np
import pytest

from tests.blobs import outcome, reseal
from tests.cells import open_stock, random_tensor, read_model, small_tensor
from tests.devices import LEVELS, NANDAKUMAR, pcm_record, table_record
from wl_onnx.codecs import cells, palette
from wl_onnx.codecs.cells import CellTensor, Symbol
from wl_onnx.errors import BlobError

RECORD_AT = 44  # of every blob
DEVICE_BYTES = 77
SCALE_AT = RECORD_AT + DEVICE_BYTES  # of a blob with a device of kind 1
PLAIN = CellTensor(
    num_weights=6, symbols=[Symbol(0, 1)], labels=None, levels=np.arange(6),
    device_record=pcm_record(NANDAKUMAR), write_bits=3,
)  # fmt: skip


@pytest.fixture(params=["pcm", "pair", "table"])
def blob(request: pytest.FixtureRequest) -> bytes:
    tensor = small_tensor()
    if request.param == "pair":
        levels = np.concatenate([tensor.levels, tensor.levels[::-1]])
        tensor = dataclasses.replace(
            tensor, is_pair=True, levels=levels * 64, write_bits=11, channel_scales=None
        )
    elif request.param == "table":
        tensor = dataclasses.replace(tensor, device_record=table_record(LEVELS), row_exponents=None)
    return cells.encode(tensor)


def check_bounded(blob: bytes) -> bool:
    """Whether the blob is accepted; if so it can be read, or says why it cannot."""
    info = outcome(lambda: cells.inspect(blob))
    if not isinstance(info, cells.CellInfo):
        return False
    if info.num_weights <= 1 << 20:
        with np.errstate(all="ignore"):
            assert cells.decode(blob, threads=2).shape == (info.num_weights,)
            read = outcome(lambda: cells.read(blob, read_seed=1, threads=2))
        assert read is BlobError or isinstance(read, np.ndarray)
    assert cells.parse(blob).num_weights == info.num_weights
    return True


def with_field(blob: bytes, offset: int, code: str, value: float) -> bytes:
    changed = bytearray(blob)
    struct.pack_into(f"<{code}", changed, offset, value)
    return reseal(bytes(changed))


def test_every_prefix_is_refused(blob: bytes) -> None:
    for size in range(len(blob)):
        with pytest.raises(BlobError, match=r"^cannot (decode|read) blob: "):
            cells.decode(blob[:size])
    for size in range(len(blob) - 16):
        with pytest.raises(BlobError):
            cells.inspect(reseal(blob[:size] + bytes(16)))


def test_every_single_byte_change_is_refused(blob: bytes) -> None:
    for place in range(len(blob)):
        for change in range(1, 256, 5):
            changed = blob[:place] + bytes([blob[place] ^ change]) + blob[place + 1 :]
            with pytest.raises(BlobError):
                cells.inspect(changed)


@pytest.mark.usefixtures("_target")
def test_every_change_of_a_byte_with_a_checksum_is_bounded(blob: bytes) -> None:
    accepted = 0
    for place in range(len(blob) - 16):
        for value in {blob[place] ^ 1, blob[place] ^ 0x80, 0, 255, place * 37 % 256}:
            changed = blob[:place] + bytes([value]) + blob[place + 1 :]
            accepted += check_bounded(reseal(changed))
    assert accepted > 100


@pytest.mark.usefixtures("_target")
def test_random_changes_with_a_checksum() -> None:
    rng = np.random.default_rng(71)
    accepted = 0
    for _ in range(150):
        changed = bytearray(cells.encode(random_tensor(rng))[:-16])
        for place in rng.integers(8, len(changed), rng.integers(1, 5)):
            changed[place] = rng.integers(256)
        accepted += check_bounded(reseal(bytes(changed) + bytes(16)))
    assert 10 < accepted < 150


def test_random_cuts_and_insertions_with_a_checksum(blob: bytes) -> None:
    rng = np.random.default_rng(72)
    for _ in range(300):
        start, stop = np.sort(rng.integers(4, len(blob) - 16, 2))
        check_bounded(reseal(blob[:start] + rng.bytes(int(rng.integers(0, 20))) + blob[stop:]))


@pytest.mark.parametrize(
    ("offset", "code", "value", "message"),
    [
        (5, "B", 2, r"codec must be 4 \(analog\), got 2 at byte 5"),
        (8, "Q", 7, "with one symbol all weights must be stored, .*, got 6 at byte 145"),
        (8, "Q", 2**32 - 1, "with one symbol all weights must be stored, .*, got 6 at byte 145"),
        (16, "B", 0, "bits of a level must be from 1 to 16, got 0 at byte 16"),
        (16, "B", 17, "bits of a level must be from 1 to 16, got 17 at byte 16"),
        (16, "B", 2, r"levels must be below 2\^bits, got 4 at byte 157"),
        (16, "B", 9, "the levels must be the rest of the payload, got 6 at byte 153"),
        (17, "B", 0, "symbols must be from 1 to 255, got 0 at byte 17"),
        (17, "B", 255, "the symbols must be complete"),
        (18, "B", 8, "flags must be from 0 to 7, got 8 at byte 18"),
        (18, "B", 1, "the levels must be the rest of the payload"),
        (19, "B", 1, "the reserved byte must be 0, got 1 at byte 19"),
        (32, "f", -1.0, "the time must be from 0 to 1e12 s, got -1 at byte 32"),
        (32, "f", np.nan, "the time must be from 0 to 1e12 s, got nan at byte 32"),
        (32, "f", 1.1e12, "the time must be from 0 to 1e12 s"),
        (36, "f", 1.5, "the reference level must be from 0 to 1, got 1.5 at byte 36"),
        (36, "f", np.nan, "the reference level must be from 0 to 1, got nan at byte 36"),
        (40, "I", 2**32 - 1, "the device record must be complete"),
        (40, "I", 76, "the device record at byte 44: "),
        (40, "I", 78, "the device record must have no bytes left over, got 1 at byte 121"),
        (RECORD_AT, "B", 9, "the device record at byte 44: "),
        (RECORD_AT + 1, "f", -25.0, "the device record at byte 44: "),
        (RECORD_AT + 5, "f", np.inf, "the device record at byte 44: "),
        (SCALE_AT, "f", 0.0, "the scale must be above 0 and finite, got 0 at byte 121"),
        (SCALE_AT, "f", np.inf, "the scale must be above 0 and finite, got inf at byte 121"),
        (SCALE_AT + 4, "I", 1, "channels must be as far apart as they say"),
        (SCALE_AT + 8, "I", 1, "channels must be as far apart as they say"),
        (SCALE_AT + 12, "H", 0x7C00, "a symbol's interval must be finite"),
        (SCALE_AT + 14, "H", 0x7E00, "a symbol's interval must be finite"),
        (SCALE_AT + 16, "e", 8.01, "a symbol's curve must be from -8 to 8"),
        (SCALE_AT + 16, "H", 0x7E00, "a symbol's curve must be from -8 to 8, got nan"),
        (SCALE_AT + 18, "B", 65, "a symbol's cells must be at most 64, got 65 at byte 139"),
        (SCALE_AT + 18, "B", 0, "with one symbol all weights must be stored, or none"),
        (SCALE_AT + 19, "B", 2, "lines must be 0 or 1, got 2 at byte 140"),
        (SCALE_AT + 20, "I", 4, "labels must be .*|the labels must be complete"),
        (SCALE_AT + 24, "Q", 5, "with one symbol all weights must be stored"),
        (SCALE_AT + 24, "Q", 2**64 - 1, "stored weights must be no more than weights"),
    ],
)
def test_a_field_that_lies(offset: int, code: str, value: float, message: str) -> None:
    lie = with_field(cells.encode(PLAIN), offset, code, value)
    with pytest.raises(BlobError, match=message):
        cells.inspect(lie)
    with pytest.raises(Exception, match=f"cannot load AnalogRead node read_w: .*({message})"):
        open_stock(read_model(lie, [6]))


def test_the_operator_wants_the_weights_of_its_shape() -> None:
    with pytest.raises(Exception, match=r"attribute shape must have .* 6, got \[7\]"):
        open_stock(read_model(cells.encode(PLAIN), [7]))


def lines_blob(count: int, inner: int, nibbles: bytes) -> bytes:
    """The plain blob with lines of columns as given."""
    blob = cells.encode(PLAIN)
    lines = struct.pack("<BIIB", 1, 1, 1, 8) + struct.pack("<II", count, inner) + nibbles
    return reseal(blob[: SCALE_AT + 19] + lines + blob[SCALE_AT + 20 :])


@pytest.mark.parametrize(
    ("count", "inner", "nibbles", "message"),
    [
        (0, 1, b"", "lines must be at least 1, got 0"),
        (1, 0, b"\x08", "lines must be at least 1 weight apart, got 0"),
        (1, 1, b"\x18", "the half byte behind the last exponent must be 0, got 24"),
        (2**32 - 1, 1, b"", "the exponents of lines must be complete"),
    ],
)
def test_lines_that_lie(count: int, inner: int, nibbles: bytes, message: str) -> None:
    with pytest.raises(BlobError, match=message):
        cells.inspect(lines_blob(count, inner, nibbles))


def test_lines_far_apart_are_read() -> None:
    for count, inner, nibbles in ((3, 2**32 - 1, b"\x8f\x08"), (3, 2, b"\x8f\x0f")):
        info = cells.inspect(lines_blob(count, inner, nibbles))
        assert info.num_cells >= 6
        assert np.isfinite(cells.read(lines_blob(count, inner, nibbles), read_seed=1)).all()


def labelled_blob(labels: bytes, symbols: int = 2, num_stored: int = 2) -> bytes:
    blob = cells.encode(PLAIN)
    head = bytearray(blob[: SCALE_AT + 12])
    head[17] = symbols
    records = struct.pack("<eeeB", 0, 0, 0, 0) + struct.pack("<eeeB", 0, 1, 0, 1) * (symbols - 1)
    rest = struct.pack("<BI", 0, len(labels)) + labels + struct.pack("<Q", num_stored) + b"\1\2"
    return reseal(bytes(head) + records + rest + bytes(16))


def test_labels_that_lie() -> None:
    codes = [0, 1, 0, 0, 1, 0]
    right = {"codebook": [0.0, 1.0], "codebook_type": "float32"}
    assert cells.inspect(labelled_blob(palette.encode(codes, **right))).num_stored == 2
    refused = [
        (labelled_blob(palette.encode(codes[:-1], **right)), "as many labels as weights"),
        (labelled_blob(palette.encode([2, 1, 0, 0, 1, 0], codebook=[0, 1, 2])), "codebook must be"),
        (labelled_blob(palette.encode(codes, codebook=[0, 2.0])), "codebook must be"),
        (labelled_blob(palette.encode(codes, **right), symbols=3), "codebook must be"),
        (labelled_blob(palette.encode([1, 1, 0, 0, 1, 0], **right)), "levels for the 3 weights"),
        (labelled_blob(b""), "labels must be there with more than one symbol alone"),
        (labelled_blob(b"WLOX" + bytes(60)), "the labels at byte"),
        (labelled_blob(cells.encode(PLAIN)), r"the labels at byte .*codec must be 2"),
    ]
    for lie, message in refused:
        with pytest.raises(BlobError, match=message):
            cells.inspect(lie)


def test_a_huge_count_takes_no_memory_to_read() -> None:
    empty = dataclasses.replace(PLAIN, symbols=[Symbol(0.5, 1, 0, 0)], levels=np.zeros(0, int))
    huge = with_field(cells.encode(empty), 8, "Q", 2**32 - 1)
    assert cells.inspect(huge).num_weights == 2**32 - 1
    assert cells.inspect(huge).num_cells == 0


def test_a_response_that_does_not_rise_is_refused() -> None:
    levels = np.array([[0.0, 1.0], [5.0, 5.0], [0.0, 0.0], [0.1, 0.1]])
    flat = dataclasses.replace(PLAIN, device_record=table_record(levels), inverts_response=False)
    blob = cells.encode(flat)
    assert cells.read(blob, read_seed=1).shape == (6,)
    with pytest.raises(BlobError, match="the mean response of the device must rise"):
        cells.inspect(with_field(blob, 18, "B", 2))
