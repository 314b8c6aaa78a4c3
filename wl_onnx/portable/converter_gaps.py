"""What onnx's version converter gets wrong on the way to opset 18: mended, or refused.

It gives `Resize` of opset 11 the default coordinates, where `Upsample` and `Resize` before had
others; and `Hardmax` keeps its axis, which meant all axes from there on before opset 13.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from onnx import NodeProto
from onnx import helper as onnx_helper

from wl_onnx.graph.failures import model_error
from wl_onnx.graph.tensors import read_inline

if TYPE_CHECKING:
    from onnx import TensorProto

__all__ = ["describe_node", "find_gap", "mend_resizes"]

_HARDMAX_OPSET = 13
_RESIZE_OPSET = 11


def describe_node(node: NodeProto) -> str:
    """What errors call a node: its operator, and its name or its outputs."""
    return f"{node.op_type} {node.name or ', '.join(node.output)}"


def find_gap(nodes: Sequence[NodeProto], opset: int) -> str | None:
    """A node that cannot be converted exactly, with the reason, or None.

    Args:
        nodes: those of the main graph.
        opset: that of the model, below 18.
    """
    for node in nodes:
        if _is_standard(node) and node.op_type == "Hardmax" and opset < _HARDMAX_OPSET:
            return f"{describe_node(node)} whose axis stands for all behind it"
    return None


def mend_resizes(
    before: Sequence[NodeProto],
    after: Sequence[NodeProto],
    constants: Mapping[str, TensorProto],
    opset: int,
) -> None:
    """Gives what was `Upsample`, or `Resize` before opset 11, the coordinates that it had.

    Weights of linear interpolation count from the first sample. The nearest sample is the one
    before, and in `Resize` that makes an image smaller the one behind: so onnxruntime has it.

    Args:
        before: the nodes as they were.
        after: the nodes at opset 18, changed in place.
        constants: small tensors by name.
        opset: that of the model before.

    Raises:
        ModelError: a `Resize` to the nearest sample has scales that are not known, or on both sides
            of 1.
    """
    if opset >= _RESIZE_OPSET:
        return
    resized = {
        node.output[0]: node
        for node in before
        if _is_standard(node) and node.op_type in ("Upsample", "Resize")
    }
    for node in after:
        old = resized.get(node.output[0]) if node.op_type == "Resize" else None
        if old is None:
            continue
        values = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        if old.op_type == "Resize" and _mode(old) == "nearest":
            values["nearest_mode"] = _find_nearest(old, constants)
        kept = [attribute for attribute in node.attribute if attribute.name not in values]
        added = [onnx_helper.make_attribute(name, value) for name, value in values.items()]
        del node.attribute[:]
        node.attribute.extend([*kept, *added])


def _is_standard(node: NodeProto) -> bool:
    return node.domain in ("", "ai.onnx")


def _mode(node: NodeProto) -> str:
    modes = [attribute.s.decode() for attribute in node.attribute if attribute.name == "mode"]
    return modes[0] if modes else "nearest"


def _find_nearest(node: NodeProto, constants: Mapping[str, TensorProto]) -> str:
    tensor = constants.get(node.input[1])
    scales = None if tensor is None else read_inline(tensor)
    if scales is not None and (scales >= 1).all():
        return "floor"
    if scales is not None and (scales <= 1).all():
        return "ceil"
    raise model_error(
        f"cannot raise {describe_node(node)} to opset 18: to the nearest sample its scales must be "
        "constants, and all at least 1 or all at most 1, got "
        f"{'others' if scales is None else scales.tolist()}"
    )
