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
    BUNCH_SLOTS,
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
from wl_onnx.portable.packing import pack, pack_roles, roles_of, unpack, unpack_roles
from wl_onnx.portable.stored import PortableForm

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["count_cells", "pack_filter", "restore_filter"]

_LAYOUTS = {"ribbon": RIBBON, "xor": XOR}
_HASHES = {"tabulation": 1, "murmur3": 2}
_CODEBOOK_TYPES = {"float32": 1, "float16": 10}
_CELLS_A_UNIT = {RIBBON: 8, XOR: 3}
_MAX_UNITS = {RIBBON: 2**16 - 1, XOR: MAX_XOR_SEGMENT}


def pack_filter(blob: bytes, data_type: int) -> PortableForm:
    """A filter as tensors.

    Cells are those of all blocks, one after another: of a ribbon a cell is a row, the bits of all
    planes. `blocks` has the groups, the units and the attempt of each block, the latter as its
    place in the field of that name.

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
    blocks = np.array([counts, [table.units for table in tables], places], np.int32)
    tensors: dict[str, npt.NDArray[Any]] = {"codebook": stored}
    if blocks[1].any():
        tensors |= pack_roles(_join_tables(parsed), parsed.bits)
    if len(tables) > 1:
        tensors["blocks"] = blocks
    fields = {
        "layout": layout,
        "hash": _name(_HASHES, parsed.hash),
        "bits": parsed.bits,
        "seed": parsed.seed,
        "num_keys": parsed.num_keys,
        "attempts": attempts,
        **({"units": tables[0].units} if len(tables) == 1 else {}),
        **codebook_fields,
    }
    return PortableForm("bloomier", tensors, fields)


def count_cells(layout: int, units: npt.NDArray[np.int32]) -> int:
    """Cells that are stored, a multiple of eight.

    A block without a table looks for its cells where the next block has its own, behind the last
    of all blocks there are eight units more.

    Args:
        layout: RIBBON or XOR.
        units: integers [blocks].
    """
    spare = BUNCH_SLOTS if units.size and not units.all() else 0
    cells = _CELLS_A_UNIT[layout] * int(units.sum(dtype=np.int64))
    cells += spare * (8 if layout == RIBBON else 1)
    return -(-cells // 8) * 8


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
    attempts = np.array(reader.integers("attempts", 0, 255, 256))
    centroids, codebook_type = read_codebook(reader)
    most = min(4096, 2**bits)
    require(centroids.size <= most, f"centroids must be at most {most}", centroids.size)
    if reader.has_tensor("blocks"):
        blocks = reader.tensor("blocks", (np.int32,), 2).astype(np.int64)
        fits = blocks.shape[0] == 3 and 2 <= blocks.shape[1] <= num_groups
        require(fits, f"blocks must be 3 rows of 2 to {num_groups}", list(blocks.shape))
    else:
        units = reader.integer("units", 0, _MAX_UNITS[layout])
        blocks = np.array([[num_groups], [units], [0]])
    counts, units, places = blocks
    require(bool((counts >= 1).all()), "groups of a block must be 1 or more", counts.min())
    require(counts.sum() == num_groups, f"groups must add up to {num_groups}", counts.sum())
    in_range = bool(((units == 0) | ((units >= 8) & (units <= _MAX_UNITS[layout]))).all())
    require(in_range, f"units must be 0 or 8 to {_MAX_UNITS[layout]}", units.max())
    in_range = bool(((places >= 0) & (places < attempts.size)).all())
    require(in_range, f"attempts must be {attempts.size}", places.max())
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


def _read_cells(
    reader: FieldReader, layout: int, bits: int, units: npt.NDArray[Any]
) -> npt.NDArray[np.uint16]:
    if not units.any():
        return np.zeros(0, np.uint16)
    count = count_cells(layout, units)
    tensors = {}
    for role, width in roles_of(bits).items():
        tensors[role] = reader.tensor(role, (np.uint8,), 1)
        size = count // 8 * width
        found = tensors[role].size
        require(found == size, f"tensor {role} must have {size} bytes", found)
    cells = unpack_roles(tensors, count, bits)
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
