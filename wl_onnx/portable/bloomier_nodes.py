"""Bloomier filters as nodes: from what is stored to the weight."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from wl_onnx.kernels.reference_blob import GROUP_SIZE, XOR
from wl_onnx.portable import xor_nodes
from wl_onnx.portable.bloomier_form import count_cells
from wl_onnx.portable.codebooks import add_table
from wl_onnx.portable.filter_nodes import FilterNodes
from wl_onnx.portable.packing import unpack_nodes

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
    units = _units(form)
    if not units.any():
        zero = helper.make_tensor("", helper.np_dtype_to_tensor_dtype(stored.dtype), [1], [0.0])
        weights = w.add("ConstantOfShape", w.integers(*shape), value=zero)
        w.cast(weights, data_type, output=output)
        return
    num_weights = math.prod(shape)
    num_groups = -(-num_weights // GROUP_SIZE)
    num_cells = count_cells(XOR, units)
    cells = unpack_nodes(w, inputs, num_cells // 8, bits)
    filter_ = FilterNodes(w, form, inputs, num_groups, xor_nodes.PAIRS, 3)
    index = filter_.to_lanes(xor_nodes.add_xor(w, filter_, cells, num_cells))
    # The sum of two tables may carry into the bit behind the last one, whatever that is.
    carries = form.fields["hash"] == "tabulation" and bits not in (8, 16)
    copies = 2 if carries else 1
    table = add_table(
        w, inputs["codebook"], stored, data_type, 2**bits, copies, 0 if filter_.live is None else 1
    )
    if filter_.live is not None:
        index = w.cast(index, TensorProto.INT32)
        index = w.add("Where", filter_.live, index, w.int32(copies * 2**bits))
    if num_weights % GROUP_SIZE:
        index = w.slice(w.reshape(index, num_groups * GROUP_SIZE), 0, num_weights)
    index = w.reshape(index, *shape)
    if filter_.live is None:
        index = w.cast(index, TensorProto.INT32)
    w.add("Gather", table, index, output=output)


def _units(form: PortableForm) -> npt.NDArray[np.int32]:
    if "blocks" in form.tensors:
        return np.asarray(form.tensors["blocks"][1], np.int32)
    return np.array([form.fields["units"]], np.int32)
