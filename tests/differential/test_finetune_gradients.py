"""Whole networks through the bridge: outputs of onnxruntime, gradients by finite differences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

torch = pytest.importorskip("torch", reason="torch is not installed")

from wl_onnx import finetune  # noqa: E402

MODELS = ("lenet5", "lenet300", "resnet20", "slim-320")


class Network:
    """Collects nodes and weights; each value is named after its position."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(5)

    def weight(self, *shape: int, scale: float = 0.4, shift: float = 0.0) -> str:
        name = f"layer.{len(self.weights)}/weight"
        values = self.rng.normal(shift, scale, shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def constant(self, values: object, dtype: type) -> str:
        name = f"constant.{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def add(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def model(self, output: str, shape: tuple[int, ...], opset: int = 20) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_value_info(output, onnx.TypeProto())],
            self.weights,
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8
        )


def make_cnn() -> onnx.ModelProto:
    n = Network()
    y = n.add("Conv", "x", n.weight(4, 2, 3, 3), n.weight(4), auto_pad="SAME_UPPER")
    norm = (n.weight(4, shift=1), n.weight(4), n.weight(4), n.weight(4, scale=0.1, shift=1))
    y = n.add("BatchNormalization", y, *norm)
    y = n.add("MaxPool", n.add("LeakyRelu", y), kernel_shape=[2, 2], strides=[2, 2])
    y = n.add("ConvTranspose", y, n.weight(4, 3, 2, 2), n.weight(3), strides=[2, 2])
    y = n.add("PRelu", y, n.weight(3, 1, 1))
    y = n.add("AveragePool", y, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
    y = n.add("Flatten", y)
    return n.model(n.add("Gemm", y, n.weight(5, 27), n.weight(5), transB=1), (2, 2, 6, 6))


def make_mlp() -> onnx.ModelProto:
    n = Network()
    y = n.add("Add", n.add("MatMul", "x", n.weight(6, 8)), n.weight(8))
    y = n.add("Elu", y)
    y = n.add("Gemm", y, n.weight(8, 4), n.weight(4), alpha=0.5)
    return n.model(n.add("LogSoftmax", y), (3, 6))


def make_transformer() -> onnx.ModelProto:
    n = Network()
    y = n.add("LayerNormalization", "x", n.weight(8, shift=1), n.weight(8))
    parts = []
    for _ in range(3):
        one = n.add("Add", n.add("MatMul", y, n.weight(8, 8)), n.weight(8))
        one = n.add("Reshape", one, n.constant([0, 0, 2, 4], np.int64))
        parts.append(n.add("Transpose", one, perm=[0, 2, 1, 3]))
    scores = n.add("MatMul", parts[0], n.add("Transpose", parts[1], perm=[0, 1, 3, 2]))
    scores = n.add("Div", scores, n.constant(2.0, np.float32))
    mask = np.triu(np.full((5, 5), -np.inf), 1)
    scores = n.add("Add", scores, n.constant(mask, np.float32))
    y = n.add("MatMul", n.add("Softmax", scores), parts[2])
    y = n.add("Transpose", y, perm=[0, 2, 1, 3])
    # A shape that follows from the input's, as exporters write it.
    shape = n.add("Shape", "x")
    y = n.add("Reshape", y, shape)
    y = n.add("Add", "x", n.add("MatMul", y, n.weight(8, 8)))
    z = n.add("Gelu", n.add("MatMul", y, n.weight(8, 16)), approximate="tanh")
    return n.model(n.add("Add", y, n.add("MatMul", z, n.weight(16, 8))), (2, 5, 8))


def make_recurrent(kind: str, gates: int, **attributes: object) -> onnx.ModelProto:
    n = Network()
    weights = (n.weight(2, gates * 3, 4), n.weight(2, gates * 3, 3), n.weight(2, gates * 6))
    lengths = n.constant([6, 3], np.int32)
    initial = n.weight(2, 2, 3)
    extra = (n.weight(2, 2, 3), n.weight(2, 9)) if kind == "LSTM" else ()
    y = n.add(
        kind, "x", *weights, lengths, initial, *extra,
        hidden_size=3, direction="bidirectional", **attributes,
    )  # fmt: skip
    y = n.add("Reshape", n.add("Transpose", y, perm=[0, 2, 1, 3]), n.constant([0, 0, -1], np.int64))
    return n.model(n.add("MatMul", y, n.weight(6, 2)), (6, 2, 4))


NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    "cnn": make_cnn,
    "mlp": make_mlp,
    "transformer": make_transformer,
    "lstm": lambda: make_recurrent("LSTM", 4),
    "gru": lambda: make_recurrent("GRU", 3, linear_before_reset=1),
    "gru_reset_first": lambda: make_recurrent("GRU", 3, clip=0.7),
    "rnn": lambda: make_recurrent("RNN", 1, activations=["Tanh", "Affine"], activation_alpha=[0.5]),
}


def open_session(model: onnx.ModelProto | Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def draw(model: onnx.ModelProto) -> np.ndarray:
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(11).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_give_what_onnxruntime_gives(name: str) -> None:
    torch.set_num_threads(1)
    model = NETWORKS[name]()
    x = draw(model)
    expected = open_session(model).run(None, {"x": x})[0]
    found = finetune.to_torch(model)(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_finite_differences(name: str) -> None:
    torch.set_num_threads(1)
    model = NETWORKS[name]()
    module = finetune.to_torch(model).double()
    x = torch.from_numpy(draw(model)).double()
    names = [key for key, _ in module.named_parameters()]
    assert len(names) >= 4

    def compute(*values: torch.Tensor) -> torch.Tensor:
        replaced = dict(zip(names, values, strict=True))
        result: torch.Tensor = torch.func.functional_call(module, replaced, (x,))
        return result

    values = tuple(p.detach().clone().requires_grad_(True) for p in module.parameters())
    assert torch.autograd.gradcheck(compute, values, eps=1e-6, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_lowers_the_loss_in_onnxruntime(name: str) -> None:
    torch.set_num_threads(1)
    model = NETWORKS[name]()
    x = draw(model)
    module = finetune.to_torch(model)
    target = torch.zeros_like(module(torch.from_numpy(x)))
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
    before = open_session(model).run(None, {"x": x})[0]
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(module(torch.from_numpy(x)), target).backward()
        optimizer.step()
    trained = finetune.to_onnx(module, model)
    after = open_session(trained).run(None, {"x": x})[0]
    assert float((after**2).mean()) < float((before**2).mean())
    found = module(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(found, after, rtol=1e-5, atol=1e-5 * np.abs(after).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_in_half_precision(name: str) -> None:
    """Near what float32 gives, in float16 all through, and with a gradient for every weight."""
    torch.set_num_threads(1)
    model = NETWORKS[name]()
    x = torch.from_numpy(draw(model))
    expected = finetune.to_torch(model)(x).detach()
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            half = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    module = finetune.to_torch(model)
    found = module(x.half())
    assert found.dtype == torch.float16
    assert float((found.detach() - expected).abs().max()) < 0.02 * float(expected.abs().max())
    found.float().square().sum().backward()
    assert all(bool(p.grad.isfinite().all()) and bool(p.grad.any()) for p in module.parameters())
    assert finetune.to_onnx(module, model) == model


@pytest.mark.parametrize("name", MODELS)
def test_real_models(name: str, find_model: Callable[[str], Path]) -> None:
    torch.set_num_threads(1)
    path = find_model(name)
    session = open_session(path)
    (value,) = session.get_inputs()
    shape = [size if isinstance(size, int) else 3 for size in value.shape]
    x = np.random.default_rng(3).random(shape, dtype=np.float32)
    module = finetune.to_torch(path)
    found = module(torch.from_numpy(x))
    for one, other in zip(
        found if isinstance(found, tuple) else (found,),
        session.run(None, {value.name: x}),
        strict=True,
    ):
        error = np.abs(one.detach().numpy() - other).max()
        assert error <= 1e-5 * np.abs(other).max()
    original = onnx.load(path)
    assert finetune.to_onnx(module, path).SerializeToString() == original.SerializeToString()
    floats = {t.name for t in original.graph.initializer if t.data_type == TensorProto.FLOAT}
    names = finetune.initializer_names(module)
    assert {names[key] for key, _ in module.named_parameters()} == floats
