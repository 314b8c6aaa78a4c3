"""Ribbons as nodes: the parity of 64 rows and 64 coefficients, for all planes at once.

For each byte of coefficients the XOR of the rows that it chooses is looked up, in a table of 256
entries for every eight rows; a weight is the XOR of eight of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto

from wl_onnx.kernels.reference_blob import BUNCH_SLOTS, GROUP_SIZE
from wl_onnx.portable.filter_nodes import BUNCHES
from wl_onnx.portable.murmur3_nodes import shift_right

if TYPE_CHECKING:
    from wl_onnx.portable.filter_nodes import FilterNodes
    from wl_onnx.portable.node_writer import NodeWriter

__all__ = ["BUNCH_PAIRS", "SLOT_PAIRS", "add_ribbon"]

BUNCH_PAIRS = [(0, 0)]
"""The seed of the group's part of the place."""

SLOT_PAIRS = [(1, 4), (2, 5)]
"""The seeds of the lower and the upper coefficients."""

_WORD_BYTES = 4


def add_ribbon(writer: NodeWriter, filter_: FilterNodes, cells: str, num_units: int) -> str:
    """Nodes that give what a ribbon answers for each slot.

    Args:
        writer: takes the nodes.
        filter_: the hashes of the same writer.
        cells: name of the rows of all blocks, uint8 or uint16 [num_units, 8].
        num_units: how many units there are, of eight rows each.

    Returns:
        The name of the answers, uint8 or uint16 [1, num_groups, 1024].
    """
    w = writer
    num_groups = filter_.num_groups
    by_bunch = w.add("Mul", w.range(BUNCHES), w.number(1 << 25))
    phases = w.add("Add", w.cast(filter_.group_hashes(), TensorProto.INT32), by_bunch)
    starts = filter_.starts(w.cast(phases, TensorProto.UINT32))
    starts = w.reshape(w.add("Mul", starts, w.number(256)), num_groups, BUNCHES, 1, 1)
    table = _add_table(w, cells, num_units)
    shifts = w.constant(8 * np.arange(_WORD_BYTES, dtype=np.uint32))
    hashes = filter_.slot_hashes()
    answers = ""
    for index, words in enumerate(hashes):
        column = w.reshape(words, num_groups, BUNCHES, BUNCH_SLOTS, 1)
        coefficients = w.add("BitShift", column, shifts, direction="RIGHT")
        coefficients = w.cast(w.cast(coefficients, TensorProto.UINT8), TensorProto.INT32)
        begin = 256 * _WORD_BYTES * index
        offsets = w.constant(begin + 256 * np.arange(_WORD_BYTES, dtype=np.int32))
        places = w.add("Add", coefficients, w.add("Add", starts, offsets))
        found = w.add("Gather", table, places)
        answers = w.add("BitwiseXor", answers, found) if answers else found
    first, *others = w.split(answers, [1] * _WORD_BYTES, 3)
    for other in others:
        first = w.add("BitwiseXor", first, other)
    is_wide = filter_.bits > 8
    cell_type = TensorProto.UINT16 if is_wide else TensorProto.UINT8
    mask = w.cast(shift_right(w, filter_.slot_sum(hashes), 16), cell_type)
    answers = w.add("BitwiseXor", w.reshape(first, 1, num_groups, GROUP_SIZE), mask)
    if filter_.bits in (8, 16):
        return answers
    lowest = np.array(2**filter_.bits - 1, np.uint16 if is_wide else np.uint8)
    return w.add("BitwiseAnd", answers, w.constant(lowest))


def _add_table(w: NodeWriter, cells: str, num_units: int) -> str:
    """The XOR of the rows that a byte chooses, of each unit, [256 * num_units]."""
    rows = w.split(cells, [1] * 8, 1)
    halves = []
    for four in (rows[:4], rows[4:]):
        table = w.add("BitwiseXor", four[0], four[0])
        for row in four:
            table = w.add("Concat", table, w.add("BitwiseXor", table, row), axis=1)
        halves.append(table)
    lower = w.reshape(halves[0], num_units, 1, 16)
    upper = w.reshape(halves[1], num_units, 16, 1)
    return w.reshape(w.add("BitwiseXor", lower, upper), 256 * num_units)
