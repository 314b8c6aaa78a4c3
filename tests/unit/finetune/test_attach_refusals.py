"""What attaching, detaching and putting back refuse, and that nothing changes then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import wl_onnx
from wl_onnx import InputError, finetune
from wl_onnx.finetune import Cluster, Freeze, Mask, Noise, attach, detach, export_state

torch = pytest.importorskip("torch", reason="torch is not installed")

from tests.unit.finetune.networks import Net, to_graph  # noqa: E402


def with_integers() -> Net:
    net = Net()
    net.table = torch.nn.Parameter(torch.arange(3), requires_grad=False)
    return net


def with_nan() -> Net:
    net = Net()
    with torch.no_grad():
        net.fc1.weight[0, 0] = float("nan")
    return net


def with_twin() -> Net:
    net = Net()
    net.head = torch.nn.Linear(24, 5)
    net.head.weight = net.fc2.weight
    return net


def treated() -> Net:
    net = Net()
    attach(net, {"fc1.weight": Mask(0.5)})
    return net


WRONG_MASK = np.ones((216, 24), bool)


@pytest.mark.parametrize(
    ("make", "plan", "message"),
    [
        (Net, {"conv2.weight": Freeze()},
         r"to conv2.weight: the module must have a parameter of that name, got none; there are "
         r"conv1.weight, "),
        (Net, {"conv1[.]kernel*": Freeze()},
         r"to conv1\[.\]kernel\*: it must match a parameter's name, got no match among conv1.wei"),
        (Net, {"norm.running_mean": Freeze()}, r"must have a parameter of that name, got none"),
        (Net, {1: Freeze()}, r": names must be texts, got 1$"),
        (Net, {"fc1.weight": Mask(mask=WRONG_MASK)},
         r"to fc1.weight: mask must have its shape \[24, 216\], got \[216, 24\]$"),
        (Net, {"fc1.weight": Freeze(np.zeros(3))},
         r"to fc1.weight: values must have its shape \[24, 216\], got \[3\]$"),
        (Net, {"fc1.weight": Cluster(codes=[0], codebook=[1.0])},
         r"to fc1.weight: codes must have its shape \[24, 216\], got \[1\]$"),
        (Net, {"fc1.weight": Cluster()},
         r"fc1.weight: without clusters its distinct values must be at most 4096, got 51\d\d$"),
        (Net, {"fc1.weight": "mask"}, r"must be Freeze, Mask, Cluster or Noise, got 'mask'$"),
        (with_integers, {"table": Freeze()}, r"table: it must be a float parameter, got int64$"),
        (with_nan, {"fc1.weight": Mask(0.5)}, r"fc1.weight: its weights must be finite, got nan$"),
        (with_twin, {"fc2.weight": Freeze()},
         r"fc2.weight: it must stand at one place of the module, got it at head.weight too$"),
        (with_nan, {"fc1.weight": Noise()}, r"fc1.weight: its weights must be finite, got nan$"),
        (treated, {"fc1.weight": Freeze()},
         r"fc1.weight: it must not be parametrised yet, got Masked; detach the module before$"),
        (Net, 3, r"by name, Result.plan or Result.model of compress, or a path, got int$"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_and_nothing_changes(make: Any, plan: Any, message: str) -> None:
    net = make()
    before, names = export_state(net), list(net.state_dict())
    if isinstance(plan, dict):
        plan = {"conv1.weight": Mask(0.5), **plan}
    with pytest.raises(InputError, match=rf"^cannot attach.*{message}"):
        attach(net, plan)
    assert list(net.state_dict()) == names
    for name, value in export_state(net).items():
        assert value.tobytes() == before[name].tobytes()


def test_names_that_the_module_has_not_are_refused() -> None:
    with pytest.raises(InputError, match=r"cannot attach to fc.weight: the module must have a par"):
        attach(Net(), {}, names={"fc.weight": "w"})
    with pytest.raises(InputError, match=r"decoded must be cluster or freeze, got 'no'$"):
        attach(Net(), {}, decoded="no")  # type: ignore[arg-type]


def test_parametrisations_of_others_are_left_alone() -> None:
    net = Net()
    torch.nn.utils.parametrizations.weight_norm(net.fc1)
    assert export_state(net)["fc1.weight"].shape == (24, 216)
    detach(net)
    assert torch.nn.utils.parametrize.is_parametrized(net.fc1)
    attach(net, {"fc2.weight": Mask(0.5)})

    class Doubled(torch.nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return 2 * weight

    torch.nn.utils.parametrize.register_parametrization(net.fc2, "weight", Doubled())
    with pytest.raises(
        InputError,
        match=r"^cannot detach fc2.weight: it must be parametrised by treatments alone, got Double",
    ):
        detach(net)


def test_plans_that_do_not_fix_the_sparsity_are_refused(tmp_path: Path) -> None:
    net = Net()
    model = to_graph(net)
    result = wl_onnx.compress(model)
    with pytest.raises(
        InputError,
        match=r"the sparsity of fc1.weight must be a number, got auto; give the compress",
    ):
        attach(net, result.plan)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({**result.plan, "calibrated": True, "tensors": []}))
    with pytest.raises(
        InputError,
        match=r"^cannot attach the plan of net: its tensors must have a sparsity and clusters, got "
        r"one made with data; give the compressed model instead$",
    ):
        attach(net, path)
    with pytest.raises(InputError, match=r"^cannot load plan .*none.json: it must be a file"):
        attach(net, tmp_path / "none.json")
    with pytest.raises(InputError, match=r"^cannot load .*none.onnx: it must be a file"):
        attach(net, tmp_path / "none.onnx")
    with pytest.raises(InputError, match=r"^cannot attach net: it must be a compressed model, got"):
        attach(net, model)


def test_values_that_do_not_fit_the_graph_are_named() -> None:
    net = Net()
    model = to_graph(net)
    state = export_state(net)
    weight = state["fc1.weight"]
    for values, message in (
        (weight.T, r"its shape must be \[24, 216\], got \[216, 24\]$"),
        (weight.astype(np.float64), r"its element type must be float32, got float64; convert the"),
        ([1.0], r"its values must be an array, got list$"),
    ):
        with pytest.raises(InputError, match=rf"^cannot put back fc1.weight: {message}"):
            finetune.to_onnx({**state, "fc1.weight": values}, model)
    with pytest.raises(
        InputError, match=r"^cannot put back fc3.weight: net must have an initializer of that name"
    ):
        finetune.to_onnx({"fc3.weight": weight}, model)


def test_a_part_of_the_state_leaves_the_rest_as_it_is() -> None:
    net = Net()
    model = to_graph(net)
    changed = finetune.to_onnx({"fc1.bias": np.full(24, 2, np.float32)}, model)
    expected = onnx.ModelProto.FromString(model.SerializeToString())
    (tensor,) = [t for t in expected.graph.initializer if t.name == "fc1.bias"]
    tensor.raw_data = np.full(24, 2, "<f4").tobytes()
    assert changed == expected
    tensors = {k: torch.from_numpy(v) for k, v in export_state(net).items()}
    assert finetune.to_onnx(tensors, model) == model
