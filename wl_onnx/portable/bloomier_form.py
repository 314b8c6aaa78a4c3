"""Bloomier filters in portable files: the cells of all blocks as one tensor, and the way back."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wl_onnx.codecs.container import seal
from wl_onnx.errors import InputError
from wl_onnx.kernels.reference_blob import (
    GROUP_SIZE,
    GROUPS,
    HEADER,
    MAX_XOR_SEGMENT,
    RIBBON,
    TABLE_HEADER,
    XOR,
    Filter,
    parse,
)
from wl_onnx.kernels.reference_frame import FRAME
from wl_onnx.portable.codebooks import read_codebook, store_codebook
from wl_onnx.portable.fields import FieldReader, require
from wl_onnx.portable.packing import count_packed, pack, unpack
from wl_onnx.portable.stored import PortableForm

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["count_cells", "pack_filter", "read_units", "restore_filter"]

_LAYOUTS = {"ribbon": RIBBON, "xor": XOR}
_HASHES = {"tabulation": 1, "murmur3": 2}
_CODEBOOK_TYPES = {"float32": 1, "float16": 10}
_CELLS_A_UNIT = {RIBBON: 8, XOR: 3}
_SEGMENTS = {RIBBON: 1, XOR: 3}
_MAX_UNITS = {RIBBON: 2**16 - 1, XOR: MAX_XOR_SEGMENT}


def pack_filter(blob: bytes, data_type: int) -> PortableForm:
    """A filter as tensors.

    Cells are those of all blocks, one after another: of a ribbon a cell is a row, the bits of all
    planes. `blocks` has the first group of each block, and below it what a block adds to that
    before it: to the span, how many places a bunch can have; to the first cell of each segment, of
    a ribbon to the first unit; to the place of its attempt in the list of attempts.

    Args:
        blob: a whole blob.
        data_type: element type of the weight.

    Raises:
        InputError: its layout has no portable form.
        BlobError: the blob is damaged.
    """
    parsed = parse(blob)
    layout = next((name for name, code in _LAYOUTS.items() if code == parsed.layout), "prefix")
    if layout not in _LAYOUTS:
        raise InputError(
            "cannot make weight portable: its layout must be xor or ribbon, got prefix; "
            "compress with the layout xor"
        )
    codebook_type = _name(_CODEBOOK_TYPES, parsed.codebook_type)
    stored, codebook_fields = store_codebook(parsed.codebook, codebook_type, data_type)
    tables = [block.tables[0] for block in parsed.blocks]
    attempts = sorted({table.attempt for table in tables})
    counts = [block.num_groups for block in parsed.blocks]
    places = [attempts.index(table.attempt) for table in tables]
    units = np.array([table.units for table in tables])
    tensors: dict[str, npt.NDArray[Any]] = {"codebook": stored}
    if units.any():
        tensors["cells"] = pack(_join_tables(parsed), parsed.bits)
    if len(tables) > 1:
        tensors["blocks"] = _to_steps(np.array(counts), units, np.array(places), parsed.layout)
    fields = {
        "layout": layout,
        "hash": _name(_HASHES, parsed.hash),
        "bits": parsed.bits,
        "seed": parsed.seed,
        "num_keys": parsed.num_keys,
        "attempts": attempts,
        **({"units": int(units[0])} if units.size == 1 else {}),
        **codebook_fields,
    }
    return PortableForm("bloomier", tensors, fields)


def count_cells(layout: int, units: npt.NDArray[Any]) -> int:
    """Cells that are stored, a multiple of eight.

    There are some behind those of the last block, so that rows of 16 cells, or 8 units, can begin
    anywhere; a block without a table begins behind that before it, too.

    Args:
        layout: RIBBON or XOR.
        units: integers [blocks].
    """
    cells = _CELLS_A_UNIT[layout] * int(units.sum(dtype=np.int64))
    return cells + 8 * 8 if layout == RIBBON else -(-(cells + 9) // 8) * 8


def read_units(form: PortableForm) -> npt.NDArray[np.int64]:
    """The units of each block of a form, int64 [blocks]."""
    if "blocks" in form.tensors:
        return _to_units(form.tensors["blocks"][1])
    return np.array([form.fields["units"]], np.int64)


def restore_filter(reader: FieldReader, shape: Sequence[int]) -> bytes:
    """The blob of a filter, byte for byte.

    Args:
        reader: what the file holds.
        shape: that of the weight.

    Raises:
        BlobError: something does not hold.
    """
    num_weights = math.prod(shape)
    num_groups = -(-num_weights // GROUP_SIZE)
    layout = _LAYOUTS[reader.choice("layout", tuple(_LAYOUTS))]
    hash_ = _HASHES[reader.choice("hash", tuple(_HASHES))]
    bits = reader.integer("bits", 1, 16)
    seed = reader.integer("seed", 0, 2**32 - 1)
    num_keys = reader.integer("num_keys", 0, num_weights)
    steps = np.zeros((0, 0), np.int64)
    attempts = np.array(reader.integers("attempts", 0, 255, 256))
    ascend = bool((np.diff(attempts) > 0).all())
    require(ascend, "attempts must be different and ascend", attempts.tolist())
    centroids, codebook_type = read_codebook(reader)
    most = min(4096, 2**bits)
    require(centroids.size <= most, f"centroids must be at most {most}", centroids.size)
    if reader.has_tensor("blocks"):
        steps = reader.tensor("blocks", (np.int32,), 2).astype(np.int64)
        rows = 3 + _SEGMENTS[layout]
        fits = steps.shape[0] == rows and 2 <= steps.shape[1] <= num_groups
        require(fits, f"blocks must be {rows} rows of 2 to {num_groups}", list(steps.shape))
        counts = np.diff(steps[0], append=num_groups)
        units, places = _to_units(steps[1]), np.cumsum(steps[-1])
    else:
        counts, places = np.array([num_groups]), np.array([0])
        units = np.array([reader.integer("units", 0, _MAX_UNITS[layout])])
    require(bool((counts >= 1).all()), "groups of a block must be 1 or more", counts.min())
    require(counts.sum() == num_groups, f"groups must add up to {num_groups}", counts.sum())
    in_range = bool(((units == 0) | ((units >= 8) & (units <= _MAX_UNITS[layout]))).all())
    require(in_range, f"units must be 0 or 8 to {_MAX_UNITS[layout]}", units.max())
    in_range = bool(((places >= 0) & (places < attempts.size)).all())
    require(in_range, f"the place of an attempt must be below {attempts.size}", places.max())
    if steps.size:
        same = np.array_equal(_to_steps(counts, units, places, layout), steps)
        require(same, "a block must begin where that before it ends", "others")
    cells = _read_cells(reader, layout, bits, units)
    reader.close()
    parts = [
        FRAME.pack(b"WLOX", 1, 1, 0, num_weights),
        HEADER.pack(
            layout,
            hash_,
            bits,
            _CODEBOOK_TYPES[codebook_type],
            centroids.size,
            seed,
            num_keys,
            units.size,
        ),
        centroids.tobytes(),
    ]
    for count, unit, attempt in zip(counts, units, attempts[places], strict=True):
        parts += [GROUPS.pack(count), TABLE_HEADER.pack(unit, attempt)]
    begins = np.concatenate([[0], np.cumsum(units * _CELLS_A_UNIT[layout])]).tolist()
    for begin, end in itertools.pairwise(begins):
        parts.append(_form_table(cells[begin:end], layout, bits))
    return seal(b"".join(parts))


def _to_steps(
    counts: npt.NDArray[np.int64],
    units: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    layout: int,
) -> npt.NDArray[np.int32]:
    """The tensor "blocks", int32 [3 + segments, blocks]."""
    segments = _SEGMENTS[layout]
    first = segments * (np.cumsum(units) - units)
    spans = np.maximum(units - 7, 0)
    values = np.array([spans, *(first + j * units for j in range(segments)), places])
    begins = np.cumsum(counts) - counts
    return np.concatenate([begins[None], np.diff(values, axis=1, prepend=0)]).astype(np.int32)


def _to_units(steps: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The units of each block, from the steps of the spans."""
    spans = np.cumsum(steps, dtype=np.int64)
    return np.where(spans == 0, 0, spans + 7)


def _read_cells(
    reader: FieldReader, layout: int, bits: int, units: npt.NDArray[Any]
) -> npt.NDArray[np.uint16]:
    if not units.any():
        return np.zeros(0, np.uint16)
    count = count_cells(layout, units)
    packed = reader.tensor("cells", (np.uint8,), 1)
    size = count_packed(count, bits)
    require(packed.size == size, f"tensor cells must have {size} bytes", packed.size)
    cells = unpack(packed, count, bits)
    used = _CELLS_A_UNIT[layout] * int(units.sum())
    require(not cells[used:].any(), "cells behind the last table must be 0", "others")
    return cells


def _join_tables(parsed: Filter) -> npt.NDArray[np.uint16]:
    """The cells of all blocks, uint16 [cells], zeros behind them."""
    units = np.array([block.tables[0].units for block in parsed.blocks], np.int32)
    cells = np.zeros(count_cells(parsed.layout, units), np.uint16)
    begin = 0
    for block in parsed.blocks:
        table = block.tables[0]
        count = _CELLS_A_UNIT[parsed.layout] * table.units
        data = np.frombuffer(table.data, np.uint8)
        if parsed.layout == XOR:
            cells[begin : begin + count] = unpack(data, count, parsed.bits)
        else:
            planes = np.unpackbits(data.reshape(parsed.bits, table.units), 1, bitorder="little")
            for plane in planes:  # that of the highest bit first
                cells[begin : begin + count] = cells[begin : begin + count] << 1 | plane
        begin += count
    return cells


def _form_table(cells: npt.NDArray[np.uint16], layout: int, bits: int) -> bytes:
    """The bytes of a block's table."""
    if layout == XOR:
        return pack(cells, bits)[: -(-cells.size * bits // 8)].tobytes()
    planes = [cells >> (bits - 1 - index) & 1 for index in range(bits)]
    return b"".join(
        np.packbits(plane.astype(np.uint8), bitorder="little").tobytes() for plane in planes
    )


def _name(numbers: dict[str, int], number: int) -> str:
    return next(name for name, code in numbers.items() if code == number)
