"""Xor tables as nodes: three cells of each weight and its mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto

from wl_onnx.kernels.reference_blob import BUNCH_SLOTS, GROUP_SIZE

if TYPE_CHECKING:
    from wl_onnx.portable.filter_nodes import FilterNodes
    from wl_onnx.portable.node_writer import NodeWriter

__all__ = ["PAIRS", "add_xor"]

PAIRS = [(0, 3), (1, 4), (2, 5), (6, 7)]
"""The seeds of three bunch hashes and of the mask."""

_SEGMENTS = 3


def add_xor(writer: NodeWriter, filter_: FilterNodes, cells: str, num_cells: int) -> str:
    """Nodes that give what an xor table answers for each slot.

    Args:
        writer: takes the nodes.
        filter_: the hashes of the same writer.
        cells: name of the cells of all blocks, uint8 or uint16 [num_cells].
        num_cells: how many there are.

    Returns:
        The name of the answers, uint8 or uint16 [1, num_groups, 128, 8]. Bits that the cells do
        not have may be set.
    """
    w = writer
    numbers = w.constant(np.arange(_SEGMENTS, dtype=np.int32).reshape(-1, 1, 1))
    first = w.add("Add", w.add("Mul", numbers, filter_.units), filter_.first)
    starts = filter_.starts(filter_.bunch_hashes(_SEGMENTS), first)
    cell_bytes = 1 if filter_.bits <= 8 else 2
    # Rows of eight cells take memory by the cell, a place for each weight takes it by the weight.
    if 2 * BUNCH_SLOTS * cell_bytes * num_cells < 12 * GROUP_SIZE * filter_.num_groups:
        column = w.reshape(cells, num_cells, 1)
        num_rows = num_cells - BUNCH_SLOTS + 1
        shifted = [w.slice(column, j, j + num_rows) for j in range(BUNCH_SLOTS)]
        table = w.add("Concat", *shifted, axis=1)
        places = w.split(starts, [1] * _SEGMENTS, 0)
    else:
        table = cells
        lanes = w.range(BUNCH_SLOTS)
        places = [
            w.add("Add", w.add("Unsqueeze", part, w.integers(3)), lanes)
            for part in w.split(starts, [1] * _SEGMENTS, 0)
        ]
    data_type = TensorProto.UINT8 if cell_bytes == 1 else TensorProto.UINT16
    answers = w.cast(filter_.slot_hash(len(PAIRS) - 1, filter_.bits), data_type)
    for place in places:
        answers = w.add("BitwiseXor", w.add("Gather", table, place), answers)
    return answers
