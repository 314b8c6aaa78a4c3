"""Bloomier filters as nodes: from what is stored to the weight."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from onnx import TensorProto, helper

from wl_onnx.kernels.reference_blob import GROUP_SIZE, RIBBON, XOR
from wl_onnx.portable import ribbon_nodes, xor_nodes
from wl_onnx.portable.bloomier_form import count_cells, read_units
from wl_onnx.portable.codebooks import add_table
from wl_onnx.portable.filter_nodes import FilterNodes
from wl_onnx.portable.packing import add_unpacking

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wl_onnx.portable.node_writer import NodeWriter
    from wl_onnx.portable.stored import PortableForm

__all__ = ["add_filter"]


def add_filter(
    writer: NodeWriter,
    form: PortableForm,
    inputs: Mapping[str, str],
    *,
    shape: Sequence[int],
    data_type: int,
    output: str,
) -> None:
    """Nodes that decode a Bloomier filter.

    Args:
        writer: takes the nodes.
        form: what is decoded.
        inputs: names of its tensors by role.
        shape: that of the weight.
        data_type: its element type.
        output: its name.
    """
    w = writer
    bits = int(form.fields["bits"])
    stored = form.tensors["codebook"]
    units = read_units(form)
    if not units.any():
        zero = helper.make_tensor("", helper.np_dtype_to_tensor_dtype(stored.dtype), [1], [0.0])
        weights = w.add("ConstantOfShape", w.integers(*shape), value=zero)
        w.cast(weights, data_type, output=output)
        return
    num_weights = math.prod(shape)
    num_groups = -(-num_weights // GROUP_SIZE)
    layout = xor_nodes if form.fields["layout"] == "xor" else ribbon_nodes
    num_octets = count_cells(XOR if layout is xor_nodes else RIBBON, units) // 8
    cells = add_unpacking(w, inputs["cells"], num_octets, bits)
    if bits not in (1, 2, 4, 8):
        cells = w.cast(cells, TensorProto.UINT8 if bits < 8 else TensorProto.UINT16)
    filter_ = FilterNodes(
        w,
        form,
        inputs,
        num_groups,
        bunch_pairs=layout.BUNCH_PAIRS,
        slot_pairs=layout.SLOT_PAIRS,
        slot_bits=bits if layout is xor_nodes else 32,
    )
    add_answers = xor_nodes.add_xor if layout is xor_nodes else ribbon_nodes.add_ribbon
    index = filter_.to_lanes(add_answers(w, filter_, cells, num_octets))
    # The sum of two tables may carry into the bit behind the last one, whatever that is.
    carries = layout is xor_nodes and form.fields["hash"] == "tabulation"
    copies = 2 if carries and bits not in (8, 16) else 1
    zeros = 1 if filter_.has_dead else 0
    table = add_table(w, inputs["codebook"], stored, data_type, 2**bits, copies, zeros)
    if filter_.has_dead:
        is_live = w.add("Less", w.number(0), filter_.span)
        index = w.cast(w.reshape(index, 1, num_groups, GROUP_SIZE), TensorProto.INT32)
        index = w.add("Where", is_live, index, w.number(copies * 2**bits))
    if num_weights % GROUP_SIZE:
        index = w.slice(w.reshape(index, num_groups * GROUP_SIZE), 0, num_weights)
    index = w.reshape(index, *shape)
    if not filter_.has_dead:
        index = w.cast(index, TensorProto.INT32)
    w.add("Gather", table, index, output=output)
