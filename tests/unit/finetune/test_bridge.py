"""What trains, what it is called, and what comes back into the graph."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.unit.finetune.graphs import linear, make, normalized, parameters, values_of
from wl_onnx import ModelError, finetune

torch = pytest.importorskip("torch", reason="torch is not installed")

F32 = TensorProto.FLOAT


def test_parameters_carry_the_names_of_initializers() -> None:
    module = finetune.to_torch(linear())
    assert finetune.initializer_names(module) == {
        "fc_1_weight": "fc.1/weight",
        "fc_1_bias": "fc.1/bias",
    }
    assert dict(module.named_parameters()).keys() == {"fc_1_weight", "fc_1_bias"}
    assert module.state_dict().keys() == {"fc_1_weight", "fc_1_bias"}


@pytest.mark.parametrize(
    "name",
    ["0", "lambda", "training", "forward", "weight", "ü é", "_parameters", "__class__", "a:0"],
)
def test_any_name_makes_an_attribute(name: str) -> None:
    module = finetune.to_torch(linear(name=name))
    (attribute,) = [k for k, v in finetune.initializer_names(module).items() if v == name]
    assert attribute.isidentifier()
    assert getattr(module, attribute).shape == (2, 3)
    assert module(torch.zeros(4, 3)).shape == (4, 2)


def test_names_that_look_alike_stay_apart() -> None:
    weights = {name: np.full(2, i, np.float32) for i, name in enumerate(("a.b", "a/b", "a_b"))}
    nodes = [
        helper.make_node("Add", ["x", "a.b"], ["p"]),
        helper.make_node("Add", ["p", "a/b"], ["q"]),
        helper.make_node("Add", ["q", "a_b"], ["y"]),
    ]
    module = finetune.to_torch(make(nodes, weights, (2,)))
    for attribute, name in finetune.initializer_names(module).items():
        np.testing.assert_array_equal(getattr(module, attribute).detach(), weights[name])
    assert parameters(module) == set(weights)


@pytest.mark.parametrize("name", ["self", "lambda", "x y", "forward", "1"])
def test_any_name_of_an_input_is_taken(name: str) -> None:
    model = make([helper.make_node("Relu", [name], ["y"])], {}, (2,))
    model.graph.input[0].name = name
    assert finetune.to_torch(model)(torch.tensor([-1.0, 2.0])).tolist() == [0, 2]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_there_and_back_is_the_same_model(dtype: type, tmp_path: Path) -> None:
    model = linear(dtype)
    model.graph.initializer[1].doc_string = "kept"
    module = finetune.to_torch(model)
    assert {p.dtype for p in module.parameters()} == {getattr(torch, np.dtype(dtype).name)}
    assert finetune.to_onnx(module, model) == model
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    assert finetune.to_onnx(finetune.to_torch(path), path) == model


def test_values_in_typed_fields_stay_where_they_are() -> None:
    model = linear()
    tensor = model.graph.initializer[0]
    values = numpy_helper.to_array(tensor).ravel().tolist()
    tensor.ClearField("raw_data")
    tensor.float_data.extend(values)
    module = finetune.to_torch(model)
    assert finetune.to_onnx(module, model) == model
    with torch.no_grad():
        module.fc_1_weight.add_(1)
    after = finetune.to_onnx(module, model)
    np.testing.assert_allclose(
        values_of(after, "fc.1/weight").ravel(), np.array(values, np.float32) + 1
    )
    assert after.graph.initializer[1] == model.graph.initializer[1]


def test_external_data_is_read_and_comes_back_inside(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(linear(), path, save_as_external_data=True, size_threshold=0)
    after = finetune.to_onnx(finetune.to_torch(path), path)
    np.testing.assert_array_equal(
        values_of(after, "fc.1/weight"), values_of(linear(), "fc.1/weight")
    )


def test_bfloat16_trains_too() -> None:
    model = make(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], {}, (1, 2), kind=TensorProto.BFLOAT16
    )
    model.graph.initializer.append(
        helper.make_tensor("w", TensorProto.BFLOAT16, (2, 2), [1.0, 2.0, 3.0, 4.0])
    )
    module = finetune.to_torch(model)
    assert module.w.dtype == torch.bfloat16
    assert finetune.to_onnx(module, model) == model
    assert module(torch.ones(1, 2, dtype=torch.bfloat16)).tolist() == [[4, 6]]


def test_running_statistics_hold_still_unless_asked() -> None:
    model = normalized()
    module = finetune.to_torch(model)
    module.train()
    x = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0))
    first = module(x)
    assert parameters(module) == {"s", "b"}
    assert finetune.to_onnx(module, model) == model
    np.testing.assert_array_equal(first.detach(), module.eval()(x).detach())


def test_running_statistics_follow_the_batches_when_asked() -> None:
    model = normalized()
    module = finetune.to_torch(model, update_statistics=True)
    x = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0))
    y = module.train()(x).detach().numpy()
    mean, var = x.numpy().mean((0, 2)), x.numpy().var((0, 2))
    scale, bias = values_of(model, "s"), values_of(model, "b")
    expected = (x.numpy() - mean[:, None]) / np.sqrt(var[:, None] + 1e-5)
    np.testing.assert_allclose(y, expected * scale[:, None] + bias[:, None], rtol=1e-4, atol=1e-5)

    after = finetune.to_onnx(module, model)
    np.testing.assert_allclose(
        values_of(after, "m"), 0.75 * values_of(model, "m") + 0.25 * mean, rtol=1e-5
    )
    np.testing.assert_allclose(
        values_of(after, "v"), 0.75 * values_of(model, "v") + 0.25 * var, rtol=1e-5
    )
    module.eval()(x)
    assert finetune.to_onnx(module, model) == after


def test_constants_of_formulas_do_not_train() -> None:
    nodes = [
        helper.make_node("Pow", ["x", "exponent"], ["p"]),
        helper.make_node("Add", ["p", "epsilon"], ["q"]),
        helper.make_node("Clip", ["q", "low", "high"], ["r"]),
        helper.make_node("Reshape", ["r", "shape"], ["s"]),
        helper.make_node("Constant", [], ["factor"], value_floats=[2.0, 3.0]),
        helper.make_node("Mul", ["s", "factor"], ["t"]),
        helper.make_node("Add", ["t", "mask"], ["u"]),
        helper.make_node("PRelu", ["u", "slope"], ["y"]),
    ]
    weights = {
        "exponent": np.array([2], np.float32),
        "epsilon": np.array(1e-5, np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(1, np.float32),
        "shape": np.array([-1, 2], np.int64),
        "mask": np.array([0, -np.inf], np.float32),
        "slope": np.array([0.25], np.float32),
        "unused": np.zeros(3, np.float32),
    }
    model = make(nodes, weights, (4,))
    module = finetune.to_torch(model)
    assert parameters(module) == {"slope"}
    assert finetune.to_onnx(module, model) == model
    module(torch.ones(4, requires_grad=True))[:, 0].sum().backward()


def test_a_bias_of_one_number_trains() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["q"]),
        helper.make_node("Mul", ["q", "factor"], ["y"]),
    ]
    weights = {
        "w": np.ones((3, 1), np.float32),
        "b": np.zeros(1, np.float32),
        "factor": np.array([0.5], np.float32),
    }
    assert parameters(finetune.to_torch(make(nodes, weights, (2, 3)))) == {"w", "b"}


def test_an_initializer_that_is_an_input_too_is_a_parameter() -> None:
    model = linear()
    model.graph.input.append(helper.make_tensor_value_info("fc.1/weight", F32, (2, 3)))
    assert "fc.1/weight" in parameters(finetune.to_torch(model))


def test_several_outputs_are_a_tuple_in_order() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Neg", ["x"], ["b"])]
    found = finetune.to_torch(make(nodes, {}, (2,), outputs=("b", "a")))(torch.tensor([1.0, -2.0]))
    assert [one.tolist() for one in found] == [[-1, 2], [1, 0]]


def test_shapes_that_the_graph_computes_from_constants_are_folded() -> None:
    nodes = [
        helper.make_node("Constant", [], ["two"], value_int=2),
        helper.make_node("Constant", [], ["axis"], value_ints=[0]),
        helper.make_node("Unsqueeze", ["two", "axis"], ["row"]),
        helper.make_node("Constant", [], ["rest"], value_ints=[-1]),
        helper.make_node("Concat", ["row", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
    ]
    module = finetune.to_torch(make(nodes, {}, (6,)))
    calls = [node for node in module.graph.nodes if node.op == "call_function"]
    assert [call.args[1] for call in calls] == [(2, -1)]
    assert not module.state_dict()


@pytest.mark.parametrize(("condition", "expected"), [(True, 3.0), (False, -1.0)])
def test_a_constant_condition_chooses_its_branch(condition: bool, expected: float) -> None:
    bodies = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("Add", ["x", "step"], ["inner"])],
            name,
            [],
            [helper.make_tensor_value_info("inner", F32, None)],
            [numpy_helper.from_array(np.array([step], np.float32), "step")],
        )
        for name, step in (("then", 2.0), ("else", -2.0))
    }
    nodes = [
        helper.make_node("If", ["condition"], ["z"], **bodies),
        helper.make_node("Identity", ["z"], ["y"]),
    ]
    model = make(nodes, {"condition": np.array(condition)}, (1,))
    assert finetune.to_torch(model)(torch.ones(1)).tolist() == [expected]
    model.graph.initializer.pop()
    model.graph.input.append(helper.make_tensor_value_info("condition", TensorProto.BOOL, ()))
    with pytest.raises(
        ModelError, match=r"node that gives z to torch: its condition must be const"
    ):
        finetune.to_torch(model)


def test_functions_of_the_model_are_inlined() -> None:
    function = helper.make_function(
        "own",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    model = make(
        [
            helper.make_node("Twice", ["x"], ["t"], domain="own"),
            helper.make_node("Mul", ["t", "w"], ["y"]),
        ],
        {"w": np.array([1, 2], np.float32)},
        (2,),
    )
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("own", 1))
    module = finetune.to_torch(model)
    assert module(torch.tensor([1.0, 2.0])).tolist() == [2, 8]
    assert finetune.to_onnx(module, model) == model


def test_a_deep_copy_trains_on_its_own() -> None:
    model = linear()
    module = finetune.to_torch(model)
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.fc_1_bias.zero_()
    assert finetune.to_onnx(module, model) == model
    assert not values_of(finetune.to_onnx(other, model), "fc.1/bias").any()
    other.load_state_dict(module.state_dict())
    assert finetune.to_onnx(other, model) == model


def test_parametrised_weights_come_back_as_they_are_used() -> None:
    model = linear()
    module = finetune.to_torch(model)

    class Halved(torch.nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return weight / 2

    torch.nn.utils.parametrize.register_parametrization(module, "fc_1_weight", Halved())
    before = values_of(model, "fc.1/weight")
    after = values_of(finetune.to_onnx(module, model), "fc.1/weight")
    np.testing.assert_array_equal(after, before / 2)
