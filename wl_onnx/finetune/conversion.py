"""An ONNX graph, node by node, as a graph of calls in torch.fx."""

from __future__ import annotations

import collections
import dataclasses
import functools
import inspect
import operator as python_operator
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TypeProto, inliner
from torch import fx, nn

import wl_onnx.finetune.operators  # noqa: F401  enters them into the registry
from wl_onnx.errors import ModelError
from wl_onnx.finetune.attribute_names import AttributeNames, write_names
from wl_onnx.finetune.constants import Constant, read_attributes, read_constant, to_literal
from wl_onnx.finetune.element_types import to_dtype
from wl_onnx.finetune.registry import NEWEST_OPSET, OLDEST_OPSET, Operator, find_operator
from wl_onnx.finetune.trainable import find_trainable
from wl_onnx.finetune.training_flag import TrainingFlag
from wl_onnx.graph import is_compressed, is_portable, load_model
from wl_onnx.graph.failures import model_error
from wl_onnx.graph.scopes import Body, find_bodies, form_key

if TYPE_CHECKING:
    from wl_onnx.graph.model import CompressibleModel

__all__ = ["MAX_FOLDED_ELEMENTS", "convert_model"]

MAX_FOLDED_ELEMENTS = 1 << 20
"""Most elements of a value that is computed once for all; larger ones are computed at each run."""

_FLAG = "training_flag"

Value: TypeAlias = fx.Node | Constant
Scope: TypeAlias = collections.ChainMap[str, Value]


def convert_model(
    model: str | os.PathLike[str] | ModelProto, *, update_statistics: bool
) -> fx.GraphModule:
    """The model as a torch module; see `wl_onnx.finetune.to_torch`.

    Args:
        model: path or ModelProto.
        update_statistics: whether training updates running statistics.
    """
    loaded = load_model(model)
    if is_compressed(loaded) or is_portable(loaded):
        raise model_error(
            f"cannot bring {loaded.name} to torch: the model must not be compressed, got nodes "
            "that decode weights; decompress it first"
        )
    if loaded.proto.functions:
        inlined = inliner.inline_local_functions(loaded.proto)
        loaded = dataclasses.replace(loaded, proto=inlined)
    return _Conversion(loaded, update_statistics=update_statistics).run()


class _Conversion:
    """One model on its way to torch."""

    def __init__(self, model: CompressibleModel, *, update_statistics: bool) -> None:
        self._model = model
        self._opsets = {_plain(entry.domain): entry.version for entry in model.proto.opset_import}
        self._bodies = find_bodies(model.proto)
        self._root = nn.Module()
        self._graph = fx.Graph()
        self._attributes = AttributeNames()
        self._inputs = AttributeNames()
        self._initializers: dict[str, str] = {}
        self._training: fx.Node | None = None
        self._update_statistics = update_statistics
        if update_statistics:
            self._root.add_module(self._attributes.claim(_FLAG), TrainingFlag())

    def run(self) -> fx.GraphModule:
        """The module."""
        opset = self._opsets.get("", NEWEST_OPSET)
        if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
            raise model_error(
                f"cannot bring {self._model.name} to torch: its opset must be {OLDEST_OPSET} to "
                f"{NEWEST_OPSET}, got {opset}"
            )
        main = self._bodies[0]
        scope: Scope = collections.ChainMap(self._enter_initializers(main))
        for value in self._model.proto.graph.input:
            if value.name not in main.initializer_names:
                scope[value.name] = self._enter_input(value.name, value.type)
        self._convert_nodes(main, scope)
        try:
            outputs = [self._to_node(scope[name]) for name in main.outputs]
        except ValueError as error:
            raise model_error(
                f"cannot bring the outputs of {self._model.name} to torch: {error}"
            ) from error
        self._graph.output(outputs[0] if len(outputs) == 1 else tuple(outputs))
        module = fx.GraphModule(self._root, self._graph, "OnnxGraph")
        write_names(module, self._initializers)
        return module

    def _enter_initializers(self, body: Body) -> dict[str, Value]:
        if isinstance(body.graph, GraphProto) and body.graph.sparse_initializer:
            raise model_error(
                f"cannot bring {self._model.name} to torch: initializers must be dense, got the "
                f"sparse {body.graph.sparse_initializer[0].values.name}"
            )
        is_main = body is self._bodies[0]
        trainable = find_trainable(self._bodies, self._find) if is_main else frozenset()
        return {
            tensor.name: Constant(
                functools.partial(read_constant, self._model, tensor),
                self._attributes.claim(form_key(body.scope, tensor.name)),
                tensor.name if is_main else None,
                tensor.name in trainable,
            )
            for tensor in body.initializers
        }

    def _enter_input(self, name: str, kind: TypeProto) -> fx.Node:
        if not kind.HasField("tensor_type"):
            shown = kind.WhichOneof("value") or "no type"
        else:
            try:
                to_dtype(kind.tensor_type.elem_type)
            except ValueError as error:
                shown = str(error)
            else:
                return self._graph.placeholder(self._inputs.claim(name))
        raise model_error(
            f"cannot bring {self._model.name} to torch: its inputs must be tensors of a type that "
            f"torch computes with, got {shown} for {name}"
        )

    def _convert_nodes(self, body: Body, scope: Scope) -> None:
        children = iter(body.children)
        for node in body.graph.node:
            if not node.output:
                raise self._refuse(node, "it must have an output, got none")
            branches: dict[str, Body] = {}
            for attribute in node.attribute:
                if attribute.type == AttributeProto.GRAPH:
                    branches[attribute.name] = next(children)
                for _ in attribute.graphs:
                    next(children)
            try:
                if (_plain(node.domain), node.op_type) == ("", "If"):
                    results = self._convert_branch(node, branches, scope)
                else:
                    results = self._convert_node(node, scope)
            except ValueError as error:
                if isinstance(error, ModelError):
                    raise
                raise self._refuse(node, str(error)) from error
            scope.update(
                (name, result) for name, result in zip(node.output, results, strict=True) if name
            )

    def _convert_branch(
        self, node: NodeProto, branches: Mapping[str, Body], scope: Scope
    ) -> list[Value]:
        condition = _look_up(scope, node.input[0])
        if not isinstance(condition, Constant) or condition.tensor.numel() != 1:
            raise ValueError("its condition must be constant, got one that follows from inputs")
        branch = branches["then_branch" if bool(condition.tensor) else "else_branch"]
        inner = scope.new_child(self._enter_initializers(branch))
        self._convert_nodes(branch, inner)
        return [inner[name] for name in branch.outputs]

    def _convert_node(self, node: NodeProto, scope: Scope) -> list[Value]:
        entry = self._find(node)
        if entry is None:
            domain = _plain(node.domain)
            shown = f"{domain}.{node.op_type}" if domain else node.op_type
            raise ValueError(
                "its operator must be one that the bridge knows, got "
                f"{shown} of opset {self._opsets.get(domain, 1)}"
            )
        inputs = [_look_up(scope, name) if name else None for name in node.input]
        attributes = read_attributes(node, self._model)
        if entry.takes("output_count"):
            attributes["output_count"] = len(node.output)
        elif len(node.output) != 1:
            raise ValueError(f"it must give one output, got {len(node.output)}")
        _check_call(entry, inputs, attributes)
        given = [*inputs, *attributes.values()]
        if not any(isinstance(v, fx.Node) or _is_parameter(v) for v in given):
            folded = _fold(entry, inputs, attributes)
            if folded is not None:
                return [self._enter_folded(n, t) for n, t in zip(node.output, folded, strict=True)]
        return self._emit(node, entry, inputs, attributes)

    def _emit(
        self,
        node: NodeProto,
        entry: Operator,
        inputs: list[Value | None],
        attributes: dict[str, Any],
    ) -> list[Value]:
        arguments: list[Any] = []
        for index, value in enumerate(inputs):
            if index in entry.host and isinstance(value, Constant):
                try:
                    arguments.append(to_literal(value.tensor))
                except ValueError as error:
                    raise ValueError(
                        f"its input {node.input[index]} must be of rank 0 or 1, got {error}"
                    ) from error
            else:
                arguments.append(None if value is None else self._to_node(value))
        for name, value in attributes.items():
            if isinstance(value, Constant):
                attributes[name] = self._to_node(value)
        if self._update_statistics and entry.takes("training"):
            self._training = self._training or self._graph.call_module(_FLAG)
            attributes["training"] = self._training
        result = self._graph.call_function(entry.function, tuple(arguments), attributes)
        if len(node.output) == 1:
            return [result]
        return [
            self._graph.call_function(python_operator.getitem, (result, index))
            for index in range(len(node.output))
        ]

    def _enter_folded(self, name: str, tensor: torch.Tensor) -> Constant:
        return Constant(lambda: tensor, self._attributes.claim(name))

    def _to_node(self, value: Value) -> fx.Node:
        if isinstance(value, fx.Node):
            return value
        if value.node is None:
            if value.is_parameter:
                self._root.register_parameter(value.attribute, nn.Parameter(value.tensor))
            else:
                self._root.register_buffer(value.attribute, value.tensor)
            if value.initializer is not None:
                self._initializers[value.attribute] = value.initializer
            value.node = self._graph.get_attr(value.attribute)
        return value.node

    def _find(self, node: NodeProto) -> Operator | None:
        domain = _plain(node.domain)
        return find_operator(domain, node.op_type, self._opsets.get(domain, 1))

    def _refuse(self, node: NodeProto, reason: str) -> ModelError:
        shown = node.name or f"that gives {node.output[0] if node.output else 'nothing'}"
        return model_error(f"cannot bring node {shown} to torch: {reason}")


def _fold(
    entry: Operator, inputs: list[Value | None], attributes: Mapping[str, Any]
) -> tuple[torch.Tensor, ...] | None:
    """The outputs of a node of constants; None if they are large, or it fails."""
    arguments = [value.tensor if isinstance(value, Constant) else value for value in inputs]
    keywords = {k: v.tensor if isinstance(v, Constant) else v for k, v in attributes.items()}
    try:
        with torch.no_grad():
            result = entry.function(*arguments, **keywords)
    except (RuntimeError, IndexError, TypeError, AttributeError):
        return None  # fails when the graph runs, as it would anywhere
    outputs = result if isinstance(result, tuple) else (result,)
    if sum(output.numel() for output in outputs) > MAX_FOLDED_ELEMENTS:
        return None
    return outputs


def _check_call(entry: Operator, inputs: list[Value | None], attributes: Mapping[str, Any]) -> None:
    signature = inspect.signature(entry.function)
    unknown = attributes.keys() - signature.parameters.keys()
    if unknown:
        raise ValueError(f"its attributes must be known, got {', '.join(sorted(unknown))}")
    try:
        signature.bind(*inputs, **attributes)
    except TypeError as error:
        raise ValueError(
            f"its inputs and attributes must be those of the operator, got {error}"
        ) from error
    reason = entry.check(attributes) if entry.check else None
    if reason:
        raise ValueError(reason)


def _look_up(scope: Scope, name: str) -> Value:
    if name not in scope:
        raise ValueError(f"its inputs must be given by nodes before it, got {name}")
    return scope[name]


def _is_parameter(value: object) -> bool:
    return isinstance(value, Constant) and value.is_parameter


def _plain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain
