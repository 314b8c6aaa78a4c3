"""Xor tables as nodes: three cells of each weight and its mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx import TensorProto

from wl_onnx.kernels.reference_blob import BUNCH_SLOTS, GROUP_SIZE

if TYPE_CHECKING:
    from wl_onnx.portable.filter_nodes import FilterNodes
    from wl_onnx.portable.node_writer import NodeWriter

__all__ = ["BUNCH_PAIRS", "SLOT_PAIRS", "add_xor"]

BUNCH_PAIRS = [(0, 3), (1, 4), (2, 5)]
"""The seeds of the three places."""

SLOT_PAIRS = [(6, 7)]
"""The seeds of the mask."""


def add_xor(writer: NodeWriter, filter_: FilterNodes, cells: str, num_octets: int) -> str:
    """Nodes that give what an xor table answers for each slot.

    Args:
        writer: takes the nodes.
        filter_: the hashes of the same writer.
        cells: name of the cells of all blocks, uint8 or uint16 [num_octets, 8].
        num_octets: eighths of them.

    Returns:
        The name of the answers, uint8 or uint16 [1, num_groups, 1024]. The bit above those that
        a cell has may be set.
    """
    w = writer
    places = w.split(filter_.starts(filter_.bunch_hashes()), [1] * len(BUNCH_PAIRS), 0)
    cell_bytes = 1 if filter_.bits <= 8 else 2
    within = w.range(BUNCH_SLOTS)
    num_cells = BUNCH_SLOTS * num_octets
    # Rows of eight cells take memory by the cell, a place for each weight takes it by the weight.
    if 2 * BUNCH_SLOTS * cell_bytes * num_cells < 12 * GROUP_SIZE * filter_.num_groups:
        num_rows = num_octets - 1
        pairs = w.add("Concat", w.slice(cells, 0, -1), w.slice(cells, 1, num_rows + 1), axis=1)
        shifts = w.add("Add", w.reshape(within, BUNCH_SLOTS, 1), within)
        cells = w.add("Gather", pairs, shifts, axis=1)
        cells = w.reshape(cells, num_rows * BUNCH_SLOTS, BUNCH_SLOTS)
    else:
        cells = w.reshape(cells, num_cells)
        places = [w.add("Add", w.add("Unsqueeze", at, w.integers(3)), within) for at in places]
    answers = ""
    for place in places:
        found = w.add("Gather", cells, place)
        answers = w.add("BitwiseXor", found, answers) if answers else found
    mask = w.cast(
        filter_.slot_hashes()[0], TensorProto.UINT8 if cell_bytes == 1 else TensorProto.UINT16
    )
    return w.add("BitwiseXor", w.reshape(answers, 1, filter_.num_groups, GROUP_SIZE), mask)
