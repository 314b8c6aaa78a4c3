"""Constants of a graph: tensors, read when first needed, and attributes as Python values."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from onnx import AttributeProto, NodeProto, TensorProto, numpy_helper

from wl_onnx.finetune.element_types import to_dtype, to_tensor
from wl_onnx.graph.tensors import is_external

if TYPE_CHECKING:
    import torch
    from torch import fx

    from wl_onnx.graph.model import CompressibleModel

__all__ = ["Constant", "read_attributes", "read_constant", "to_literal"]

Literal = bool | int | float | tuple[bool | int | float, ...]


@dataclasses.dataclass(eq=False)
class Constant:
    """A value that is known before the graph runs.

    Attributes:
        source: gives the tensor; called once.
        attribute: what the module calls it.
        initializer: its key among the model's initializers, or None.
        may_train: whether it is a parameter if its values allow that.
        node: reads it in the graph, once something does.
    """

    source: Callable[[], torch.Tensor]
    attribute: str
    initializer: str | None = None
    may_train: bool = False
    node: fx.Node | None = None

    @functools.cached_property
    def tensor(self) -> torch.Tensor:
        """The value, on the CPU."""
        return self.source()

    @functools.cached_property
    def is_parameter(self) -> bool:
        """Whether it is trained: not if it holds infinities, as masks do."""
        return self.may_train and bool(self.tensor.isfinite().all())


def read_constant(model: CompressibleModel, tensor: TensorProto) -> torch.Tensor:
    """The value of a tensor in a model.

    Raises:
        ModelError: the data is missing.
        ValueError: torch does not compute with its element type.
    """
    try:
        to_dtype(tensor.data_type)
    except ValueError as error:
        raise ValueError(
            f"its constants must be of types that torch computes with, got {error}"
        ) from error
    # The graph layer reads the element types of weights alone.
    array = model.read(tensor) if is_external(tensor) else numpy_helper.to_array(tensor)
    return to_tensor(array, tensor.data_type)


def to_literal(tensor: torch.Tensor) -> Literal:
    """A tensor as Python numbers: one for rank 0, a tuple for rank 1.

    Raises:
        ValueError: the rank is higher; the message completes "..., got".
    """
    if tensor.dim() > 1:
        raise ValueError(f"shape {list(tensor.shape)}")
    values: Any = tensor.tolist()
    return tuple(values) if tensor.dim() else values


def read_attributes(node: NodeProto, model: CompressibleModel) -> dict[str, Any]:
    """A node's attributes by name: numbers, texts and tuples of them; tensors as `Constant`.

    Subgraphs are left out.

    Raises:
        ValueError: an attribute is of another type; the message completes "..., got".
    """
    values: dict[str, Any] = {}
    for attribute in node.attribute:
        kind = attribute.type
        if kind == AttributeProto.INT:
            values[attribute.name] = attribute.i
        elif kind == AttributeProto.FLOAT:
            values[attribute.name] = attribute.f
        elif kind == AttributeProto.STRING:
            values[attribute.name] = attribute.s.decode("utf-8", "replace")
        elif kind == AttributeProto.INTS:
            values[attribute.name] = tuple(attribute.ints)
        elif kind == AttributeProto.FLOATS:
            values[attribute.name] = tuple(attribute.floats)
        elif kind == AttributeProto.STRINGS:
            values[attribute.name] = tuple(s.decode("utf-8", "replace") for s in attribute.strings)
        elif kind == AttributeProto.TENSOR:
            values[attribute.name] = Constant(
                functools.partial(read_constant, model, attribute.t),
                f"{node.output[0]}_{attribute.name}",
            )
        elif kind not in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            shown = AttributeProto.AttributeType.Name(kind)
            raise ValueError(f"{attribute.name} of type {shown}")
    return values
