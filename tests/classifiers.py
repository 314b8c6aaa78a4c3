"""What the tests of compression by data share: small models that tell classes apart, and data."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray

NUM_CLASSES = 5


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A model that is good at its data, and the data.

    Attributes:
        model: takes "x", gives logits "y".
        x: inputs.
        labels: the classes of the inputs.
    """

    model: onnx.ModelProto
    x: Array
    labels: Array

    @property
    def data(self) -> dict[str, Array]:
        return {"x": self.x, "labels": self.labels}


def form_model(
    nodes: list[onnx.NodeProto],
    x: Array,
    constants: tuple[str, ...] = (),
    *,
    batch: int | str = "n",
    **tensors: Array,
) -> onnx.ModelProto:
    """A model with input x and output y; tensors are initializers, or Constant nodes."""
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    given = {name: numpy_helper.from_array(array, name) for name, array in tensors.items()}
    first = [helper.make_node("Constant", [], [name], value=given.pop(name)) for name in constants]
    graph = helper.make_graph(
        [*first, *nodes],
        "graph",
        [helper.make_tensor_value_info("x", kind, [batch, *x.shape[1:]])],
        [helper.make_tensor_value_info("y", kind, [batch, None])],
        list(given.values()),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def draw_classes(rng: np.random.Generator, num_samples: int, *shape: int) -> tuple[Array, Array]:
    """Points around one centre for each class."""
    centres = rng.standard_normal((NUM_CLASSES, *shape))
    labels = rng.integers(0, NUM_CLASSES, num_samples)
    x = centres[labels] + 0.8 * rng.standard_normal((num_samples, *shape))
    return x.astype(np.float32), labels


def fit_output(features: Array, labels: Array) -> tuple[Array, Array]:
    """Weight `[num_features, classes]` and bias of a last layer, by ridge regression."""
    ones = np.hstack([features, np.ones((len(features), 1))])
    wanted = 6 * np.eye(NUM_CLASSES)[labels] - 3
    ridge = 1e-2 * len(features) * np.eye(ones.shape[1])
    solved = np.linalg.solve(ones.T @ ones + ridge, ones.T @ wanted)
    return solved[:-1], solved[-1]


def make_mlp_classifier(
    *,
    num_inputs: int = 24,
    num_hidden: int = 48,
    num_samples: int = 400,
    dtype: type = np.float32,
    scale: float = 1.0,
    has_bias: bool = True,
    constants: tuple[str, ...] = (),
    batch: int | str = "n",
) -> Classifier:
    """Random features, and a layer fitted to them; the first layer's output times a scale, and
    divided by it again in the second.

    Of 1,152 and 240 weights by default.
    """
    rng = np.random.default_rng(17)
    x, labels = draw_classes(rng, num_samples, num_inputs)
    w0 = rng.standard_normal((num_inputs, num_hidden)) / np.sqrt(num_inputs)
    b0 = 0.5 * rng.standard_normal(num_hidden) * has_bias
    w1, b1 = fit_output(np.maximum(x @ w0 + b0, 0), labels)
    tensors = {"w0": w0 * scale, "w1": w1 / scale}
    nodes = [helper.make_node("MatMul", ["x", "w0"], ["p"])]
    hidden, product = "p", "y"
    if has_bias:
        tensors |= {"b0": b0 * scale, "b1": b1}
        nodes.append(helper.make_node("Add", ["p", "b0"], ["q"]))
        hidden, product = "q", "s"
    nodes.append(helper.make_node("Relu", [hidden], ["r"]))
    nodes.append(helper.make_node("MatMul", ["r", "w1"], [product]))
    if has_bias:
        nodes.append(helper.make_node("Add", ["s", "b1"], ["y"]))
    given = {name: array.astype(dtype) for name, array in tensors.items()}
    x = x.astype(dtype)
    return Classifier(form_model(nodes, x, constants, batch=batch, **given), x, labels)


def make_conv_classifier(*, group: int = 1, num_samples: int = 160) -> Classifier:
    """Random filters over 6x6 images of 4 channels, their means, and a layer fitted to these."""
    rng = np.random.default_rng(23)
    x, labels = draw_classes(rng, num_samples, 4, 6, 6)
    tensors = {
        "k": rng.standard_normal((12, 4 // group, 3, 3)).astype(np.float32) / 4,
        "kb": rng.standard_normal(12).astype(np.float32),
    }
    conv = helper.make_node("Conv", ["x", "k", "kb"], ["h"], group=group, pads=[1, 1, 1, 1])
    nodes = [
        conv,
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["m"], kernel_shape=[3, 3], strides=[3, 3]),
        helper.make_node("Flatten", ["m"], ["f"]),
    ]
    w, b = fit_output(run(form_model(nodes, x, **tensors), x, output="f"), labels)
    nodes.append(helper.make_node("Gemm", ["f", "w", "b"], ["y"], transB=1))
    tensors |= {"w": w.T.astype(np.float32), "b": b.astype(np.float32)}
    return Classifier(form_model(nodes, x, **tensors), x, labels)


def make_lstm(num_batches: int = 8) -> tuple[onnx.ModelProto, list[dict[str, Array]]]:
    """A model none of whose layers can be observed, and feeds `[5, 3, 12]`."""
    rng = np.random.default_rng(5)
    feeds = [{"x": rng.standard_normal((5, 3, 12)).astype(np.float32)} for _ in range(num_batches)]
    tensors = {
        "W": rng.standard_normal((1, 64, 12)).astype(np.float32),
        "R": rng.standard_normal((1, 64, 16)).astype(np.float32) / 4,
        "B": rng.standard_normal((1, 128)).astype(np.float32),
    }
    node = helper.make_node("LSTM", ["x", "W", "R", "B"], ["y"], hidden_size=16)
    model = form_model([node], feeds[0]["x"], batch=5, **tensors)
    model.graph.input[0].CopyFrom(
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [5, "n", 12])
    )
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [5, 1, "n", 16])
    )
    return model, feeds


def run(model: onnx.ModelProto, x: Array, output: str = "y") -> Array:
    """An output of a model without custom operators, as float64."""
    import onnxruntime

    if output not in {one.name for one in model.graph.output}:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        del copy.graph.output[:]
        copy.graph.output.append(helper.make_empty_tensor_value_info(output))
        model = copy
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run([output], {"x": x})[0], np.float64)


def accuracy(logits: Array, labels: Array) -> float:
    """In percent."""
    return 100 * float((logits.argmax(axis=1) == labels).mean())


def snr_db(before: Array, now: Array) -> float:
    """Of all numbers together, in dB."""
    return 10 * float(np.log10(np.square(before).sum() / np.square(now - before).sum()))


def divergence(before: Array, now: Array) -> float:
    """Mean KL divergence of the softmax along the last axis, in nats."""
    old, new = (one - one.max(axis=-1, keepdims=True) for one in (before, now))
    old, new = (one - np.log(np.exp(one).sum(axis=-1, keepdims=True)) for one in (old, new))
    return float((np.exp(old) * (old - new)).sum(axis=-1).mean())
