"""What the bridge refuses, and that it says which tensor, node or operator it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import wl_onnx
from tests.unit.finetune.graphs import linear, make, normalized
from wl_onnx import InputError, ModelError, finetune

torch = pytest.importorskip("torch", reason="torch is not installed")


def test_what_does_not_fit_is_named_with_both_shapes() -> None:
    model = linear()
    module = finetune.to_torch(model)
    module.fc_1_weight = torch.nn.Parameter(torch.zeros(3, 3))
    with pytest.raises(
        InputError,
        match=r"^cannot put back fc.1/weight: its shape must be \[2, 3\], got \[3, 3\]$",
    ):
        finetune.to_onnx(module, model)
    module.fc_1_weight = torch.nn.Parameter(torch.zeros(2, 3).half())
    with pytest.raises(InputError, match=r"type must be float32, got float16; convert the module"):
        finetune.to_onnx(module, model)
    del module.fc_1_weight
    with pytest.raises(
        InputError, match=r"fc.1/weight: the module must have it as fc_1_weight, got"
    ):
        finetune.to_onnx(module, model)
    with pytest.raises(InputError, match=r"cannot put back fc.1/weight: graph must have an init"):
        finetune.to_onnx(module, normalized())
    with pytest.raises(InputError, match=r"it must come from to_torch, got Linear"):
        finetune.to_onnx(torch.nn.Linear(2, 2), model)
    with pytest.raises(InputError, match=r"it must come from to_torch, got Linear"):
        finetune.initializer_names(torch.nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("node", "opset", "message"),
    [
        (
            helper.make_node("Loop", ["", "", "x"], ["y"], name="again"),
            17,
            r"node again to torch: its operator must be one that the bridge knows, got Loop of ops",
        ),
        (
            helper.make_node("Mystery", ["x"], ["y"], domain="own"),
            17,
            r"node that gives y to torch: its operator must .*, got own.Mystery of opset 3$",
        ),
        (
            helper.make_node("Gelu", ["x"], ["y"]),
            19,
            r"its operator must be one that the bridge knows, got Gelu of opset 19$",
        ),
        (
            helper.make_node("Relu", ["x"], ["y"], slope=2.0),
            17,
            r"node that gives y to torch: its attributes must be known, got slope$",
        ),
        (
            helper.make_node("Relu", ["x", "x"], ["y"]),
            17,
            r"its inputs and attributes must be those of the operator, got too many positional",
        ),
        (
            helper.make_node("Relu", ["x"], ["y", "z"]),
            17,
            r"node that gives y to torch: it must give one output, got 2$",
        ),
        (
            helper.make_node("BatchNormalization", ["x"] * 5, ["y", "m", "v"]),
            9,
            r"it must give one output, as at inference, got the statistics of a training graph$",
        ),
        (
            helper.make_node("Softmax", ["x"], ["y"], axis=1),
            6,
            r"^cannot bring graph to torch: its opset must be 7 to 28, got 6$",
        ),
        (
            helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT8E5M2),
            19,
            r"it must cast to a type that torch computes with, got FLOAT8E5M2$",
        ),
        (
            helper.make_node("RNN", ["x", "x", "x"], ["y"], activations=["Wave"]),
            17,
            r"its activations must be those of the specification, got Wave$",
        ),
    ],
)
def test_what_the_bridge_does_not_know_is_named(
    node: onnx.NodeProto, opset: int, message: str
) -> None:
    model = make([node], {}, (2, 3), opset=opset)
    model.opset_import.append(helper.make_opsetid("own", 3))
    with pytest.raises(ModelError, match=message):
        finetune.to_torch(model)


def test_a_node_before_what_it_reads_is_named() -> None:
    nodes = [helper.make_node("Relu", ["later"], ["y"]), helper.make_node("Neg", ["x"], ["later"])]
    with pytest.raises(ModelError, match=r"node that gives y to torch: its inputs .*, got later$"):
        finetune.to_torch(make(nodes, {}, (2,)))


def test_constants_that_torch_does_not_compute_with_are_refused() -> None:
    weights = {"w": np.array([1, 2], np.uint32)}
    nodes = [
        helper.make_node("Cast", ["w"], ["c"], to=1),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    expected = r"node that gives c to torch: its constants must be of types .*, got UINT32$"
    with pytest.raises(ModelError, match=expected):
        finetune.to_torch(make(nodes, weights, (2,)))
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    with pytest.raises(ModelError, match=r"the outputs of graph to torch: its .*, got UINT32$"):
        finetune.to_torch(make(nodes, weights, (2,), outputs=("w",)))


def test_a_compressed_model_is_refused(tmp_path: Path) -> None:
    weights = {"w": np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)}
    model = make([helper.make_node("MatMul", ["x", "w"], ["y"])], weights, (1, 40))
    small = wl_onnx.compress(model, recipe=wl_onnx.Recipe(min_elements=1)).model
    with pytest.raises(ModelError, match=r"must not be compressed, got nodes that decode weights"):
        finetune.to_torch(small)
