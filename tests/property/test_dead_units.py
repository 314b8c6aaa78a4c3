"""Dead units of random networks: as many go as a plain count says, and the outputs stay."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from wl_onnx.graph import load_model, remove_dead_units, to_proto

Array = np.ndarray
Rule = Callable[[int, float | None], float | None]


@dataclasses.dataclass(eq=False, repr=False)
class Layer:
    """A layer as the count sees it.

    Attributes:
        weight: `[num_rows, num_inputs, block]`.
        bias: what is added to each row.
        can_absorb: whether a constant input may go into the bias.
        rules: what the operators behind it make of a unit's constant, or of an unknown value.
        readers: indices of the layers that read it.
    """

    weight: Array
    bias: Array
    can_absorb: bool
    rules: list[Rule] = dataclasses.field(default_factory=list)
    readers: list[int] = dataclasses.field(default_factory=list)


def count_units(layers: list[Layer]) -> list[int]:
    """How many units of each layer are left, by going through them until nothing changes."""
    alive = [list(range(len(layer.weight))) for layer in layers]
    inputs = {reader: index for index, one in enumerate(layers) for reader in one.readers}
    changed = True
    while changed:
        changed = False
        for index, layer in enumerate(layers):
            if not layer.readers:
                continue
            dead = []
            for unit in alive[index]:
                before = alive[inputs[index]] if index in inputs else range(layer.weight.shape[1])
                has_input = any(layer.weight[unit, i].any() for i in before)
                constant = None if has_input else float(layer.bias[unit])
                for rule in layer.rules:
                    constant = rule(unit, constant)
                goes = True
                for reader in (layers[r] for r in layer.readers):
                    rows = alive[layers.index(reader)]
                    is_read = any(reader.weight[row, unit].any() for row in rows)
                    absorbed = constant is not None and (constant == 0 or reader.can_absorb)
                    goes = goes and (not is_read or absorbed)
                if goes:
                    dead.append((unit, constant))
            if len(dead) == len(alive[index]):
                dead = [(unit, constant) for unit, constant in dead if unit != alive[index][0]]
            for unit, constant in dead:
                changed = True
                alive[index].remove(unit)
                for reader in (layers[r] for r in layer.readers):
                    if constant:
                        reader.bias = reader.bias + constant * reader.weight[:, unit].sum(axis=1)
    return [len(units) for units in alive]


class Network:
    """A random network, as ONNX and as the count sees it."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, Array] = {}
        self.layers: list[Layer] = []
        self.value = "x"
        self.num_units = draw(st.integers(1, 3))
        self.size = draw(st.integers(7, 9))
        self.num_inputs = self.num_units
        self.num_places = self.size
        self.source: int | None = None

    def add(self, op_type: str, *tensors: str, **attributes: object) -> None:
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, [self.value, *tensors], [output], **attributes))
        self.value = output

    def tensor(self, values: Array) -> str:
        name = f"t{len(self.tensors)}"
        self.tensors[name] = np.asarray(values, np.float32)
        return name

    def add_layer(self, num_rows: int, block: int, can_absorb: bool, has_bias: bool) -> Layer:
        weight = self.rng.standard_normal((num_rows, self.num_units, block))
        # Sums of small numbers, so that the rounding of their order is small beside 1.
        weight = (2 * weight / np.abs(weight).sum(axis=(1, 2), keepdims=True)).astype(np.float32)
        for axis in (0, 1):
            share = self.draw(st.sampled_from([0, 0, 0.3, 0.7, 1]))
            gone = self.rng.random(weight.shape[axis]) < share
            weight[(slice(None),) * axis + (gone,)] = 0
        weight[self.rng.random(weight.shape) < self.draw(st.sampled_from([0, 0.5, 0.9]))] = 0
        bias = self.rng.standard_normal(num_rows).astype(np.float32)
        bias = bias if has_bias else np.zeros_like(bias)
        layer = Layer(weight, bias, can_absorb)
        if self.source is not None:
            self.layers[self.source].readers.append(len(self.layers))
        self.source = len(self.layers)
        self.layers.append(layer)
        self.num_units = num_rows
        return layer

    def rule(self, function: Callable[[float], float]) -> None:
        self.layers[-1].rules.append(lambda _, c: None if c is None else function(c))

    def convolve(self) -> None:
        kernel = self.draw(st.sampled_from([1, 2, 3])) if self.size >= 3 else 1
        pad = self.draw(st.sampled_from([0, 0, 1])) if kernel == 3 else 0
        has_bias = self.draw(st.booleans())
        num_columns = self.num_units
        layer = self.add_layer(self.draw(st.integers(1, 7)), kernel**2, pad == 0, has_bias)
        shape = (self.num_units, num_columns, kernel, kernel)
        tensors = [self.tensor(layer.weight.reshape(shape))]
        if has_bias:
            tensors.append(self.tensor(layer.bias))
        self.add("Conv", *tensors, pads=[pad] * 4)
        self.size += 2 * pad - kernel + 1

    def connect(self, block: int) -> None:
        kind = self.draw(st.sampled_from(["Gemm", "turned", "MatMul", "bare"]))
        has_bias = kind not in ("bare",) and (kind == "MatMul" or self.draw(st.booleans()))
        layer = self.add_layer(self.draw(st.integers(1, 9)), block, kind != "bare", has_bias)
        weight = layer.weight.reshape(self.num_units, -1)
        tensors = [self.tensor(weight if kind == "turned" else weight.T)]
        if has_bias:
            tensors.append(self.tensor(layer.bias))
        if kind in ("Gemm", "turned"):
            self.add("Gemm", *tensors, transB=int(kind == "turned"))
        else:
            self.add("MatMul", tensors[0])
            for name in tensors[1:]:
                self.add("Add", name)

    def treat(self, *, is_image: bool) -> None:
        op_type = self.draw(st.sampled_from(["Relu", "Sigmoid", "Clip", "Mul", "BN", "PRelu", ""]))
        shape = (self.num_units, 1, 1) if is_image else (self.num_units,)
        if op_type == "Relu":
            self.add("Relu")
            self.rule(lambda c: max(c, 0.0))
        elif op_type == "Sigmoid":
            self.add("Sigmoid")
            self.rule(lambda c: 1 / (1 + math.exp(-c)))
        elif op_type == "Clip":
            self.add("Clip", self.tensor(np.float32(-0.5)), self.tensor(np.float32(0.25)))
            self.rule(lambda c: min(max(c, -0.5), 0.25))
        elif op_type == "Mul":
            factor = self.rng.integers(-1, 3, self.num_units).astype(np.float32)
            self.add("Mul", self.tensor(factor.reshape(shape)))
            self.layers[-1].rules.append(
                lambda u, c: 0.0 if not factor[u] else None if c is None else float(c * factor[u])
            )
        elif op_type == "PRelu":
            slope = self.rng.standard_normal(self.num_units).astype(np.float32)
            self.add("PRelu", self.tensor(slope.reshape(shape)))
            self.layers[-1].rules.append(
                lambda u, c: None if c is None else float(c * slope[u]) if c < 0 else c
            )
        elif op_type == "BN":
            four = self.rng.uniform(0.5, 1.5, (4, self.num_units)).astype(np.float32)
            self.add("BatchNormalization", *map(self.tensor, four))
            self.layers[-1].rules.append(
                lambda u, c: (
                    None
                    if c is None
                    else float((c - four[2, u]) / math.sqrt(four[3, u] + 1e-5) * four[0, u])
                    + float(four[1, u])
                )
            )

    def pool(self) -> None:
        kind = self.draw(st.sampled_from(["", "MaxPool", "AveragePool", "depthwise"]))
        if self.size < 3 or not kind or (kind == "depthwise" and self.num_units == 1):
            return
        if kind == "depthwise":
            pad = self.draw(st.sampled_from([0, 1]))
            kernels = self.rng.standard_normal((self.num_units, 1, 3, 3)).astype(np.float32)
            kernels[self.rng.random(self.num_units) < 0.3] = 0
            bias = self.rng.integers(-1, 2, self.num_units).astype(np.float32)
            names = self.tensor(kernels), self.tensor(bias)
            self.add("Conv", *names, pads=[pad] * 4, group=self.num_units)
            self.layers[-1].rules.append(
                lambda u, c: (
                    float(bias[u])
                    if not kernels[u].any() or c == 0
                    else None
                    if c is None or pad
                    else float(bias[u] + c * kernels[u].sum())
                )
            )
            self.size += 2 * pad - 2
        else:
            self.add(kind, kernel_shape=[2, 2], strides=[2, 2])
            self.size //= 2

    def to_model(self) -> onnx.ModelProto:
        self.nodes[-1].output[0] = "y"
        kind = TensorProto.FLOAT
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("x", kind, ["n", *self.input_shape])],
            [helper.make_tensor_value_info("y", kind, ["n", None])],
            [numpy_helper.from_array(array, name) for name, array in self.tensors.items()],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return onnx.shape_inference.infer_shapes(proto) if self.draw(st.booleans()) else proto

    @property
    def input_shape(self) -> list[int]:
        return [self.num_inputs, self.num_places, self.num_places]


@st.composite
def networks(draw: st.DrawFn) -> tuple[onnx.ModelProto, list[Layer], list[int]]:
    network = Network(draw)
    block = network.size**2
    for _ in range(draw(st.integers(0, 3))):
        network.convolve()
        network.treat(is_image=True)
        network.pool()
        block = network.size**2
    ends = ["Flatten", "Reshape", "GlobalAveragePool"]
    end = draw(st.sampled_from(ends if network.layers else ends[:1]))
    if end == "GlobalAveragePool":
        network.add(end)
        network.add("Squeeze", network.tensor(np.zeros(0)))
        network.tensors[network.nodes[-1].input[1]] = np.array([2, 3])
        block = 1
    elif end == "Reshape":
        places = network.num_units * block
        wanted = draw(st.sampled_from([[0, -1], [0, places], [-1, places]]))
        network.add(end, network.tensor(np.zeros(0)))
        network.tensors[network.nodes[-1].input[1]] = np.array(wanted)
    else:
        network.add(end)
    for _ in range(draw(st.integers(1, 3))):
        network.connect(block)
        block = 1
        network.treat(is_image=False)
    network.layers[-1].rules.clear()
    return network.to_model(), network.layers, network.input_shape


def run(proto: onnx.ModelProto, x: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    output: Array = session.run(None, {"x": x})[0]
    return output


@settings(max_examples=150, deadline=None, derandomize=True)
@given(network=networks())
def test_what_goes_is_what_changes_nothing(
    network: tuple[onnx.ModelProto, list[Layer], list[int]],
) -> None:
    proto, layers, input_shape = network
    model = load_model(proto)
    report = remove_dead_units(model)
    smaller = to_proto(model)
    onnx.checker.check_model(smaller, full_check=True)

    x = np.random.default_rng(1).standard_normal((4, *input_shape)).astype(np.float32)
    before, after = run(proto, x), run(smaller, x)
    assert before.shape == after.shape
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-6 * max(1.0, np.abs(before).max()))

    kernels = [one for one in report.layers if one.weights_before]
    shapes = {t.name: list(t.dims) for t in smaller.graph.initializer}
    given = [one for one in kernels if not is_depthwise(proto, one.name)]
    assert [one.units_after for one in given] == count_units(layers)
    for one in kernels:
        assert one.weights_after == math.prod(shapes[one.name])

    again = load_model(smaller)
    assert remove_dead_units(again).num_units == 0
    assert to_proto(again) == smaller


def is_depthwise(proto: onnx.ModelProto, name: str) -> bool:
    node = next(n for n in proto.graph.node if name in n.input)
    return any(a.name == "group" and a.i > 1 for a in node.attribute)
