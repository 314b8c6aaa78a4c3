"""Noise on a module of the user's own: where it acts, and what is exported."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from wl_onnx import finetune
from wl_onnx.analog import Storage, find_device
from wl_onnx.finetune import Cluster, Freeze, Mask, Noise, attach, detach, export_state

torch = pytest.importorskip("torch", reason="torch is not installed")

from tests.unit.finetune.networks import Net, check_runs_alike, make_batch, to_graph, train  # noqa: E402

DEVICE = "gaussian:0.05"


def read(net: Net, name: str) -> np.ndarray:
    layer = net.get_submodule(name)
    return layer.weight.detach().numpy().copy()


def test_reads_are_noisy_in_training_alone_and_differ_by_parameter() -> None:
    net = Net()
    net.fc3 = copy.deepcopy(net.fc1)
    before = export_state(net)
    attach(net, {"fc*.weight": Noise(DEVICE)})
    first, other, second = read(net, "fc1"), read(net, "fc3"), read(net, "fc1")
    deviation = (first - before["fc1.weight"]).std()
    assert 0.01 < deviation / np.abs(before["fc1.weight"]).max() < 0.1
    assert (first != second).all()
    assert (first != other).all()
    for name, value in export_state(net).items():
        assert value.tobytes() == before[name].tobytes()
    assert (read(net, "fc1") != first).all()
    net.eval()
    assert read(net, "fc1").tobytes() == before["fc1.weight"].tobytes()
    net.train()
    with torch.nn.utils.parametrize.cached():
        assert read(net, "fc1").tobytes() != before["fc1.weight"].tobytes()
        assert export_state(net)["fc1.weight"].tobytes() == before["fc1.weight"].tobytes()
    detach(net)
    for name, value in export_state(net).items():
        assert value.tobytes() == before[name].tobytes()


def test_a_module_in_evaluation_stays_there() -> None:
    net = Net().eval()
    before = read(net, "fc1")
    attach(net, {"fc1.weight": (Mask(0.0), Noise(DEVICE))})
    assert read(net, "fc1").tobytes() == before.tobytes()


def test_the_same_seed_trains_the_same() -> None:
    states = []
    for seed in (1, 1, 2):
        net = Net()
        attach(net, {"*.weight": Noise(DEVICE, seed=seed)})
        states.append(export_state(copy.deepcopy(net)))
        train(net)
        states[-1] = export_state(net)
    assert all((states[0][name] == states[1][name]).all() for name in states[0])
    assert (states[0]["fc1.weight"] != states[2]["fc1.weight"]).any()


def test_noise_acts_on_what_other_treatments_give() -> None:
    net = Net()
    storage = Storage(find_device(DEVICE))
    attach(
        net,
        {
            "fc1.weight": (Noise(storage), Mask(0.5), Cluster(8)),
            "fc2.weight": (Freeze(), Noise(storage)),
            "conv1.weight": (Mask(0.25, regrow=True), Noise(storage)),
        },
    )
    before = export_state(net)
    for name in ("fc1", "fc2"):
        used = before[f"{name}.weight"]
        noisy = read(net, name)
        np.testing.assert_array_equal(noisy == 0, used == 0)  # "sparsity" keeps zeros exact
        assert (noisy != used)[used != 0].all()
    train(net)
    after = export_state(net)
    assert len(np.unique(after["fc1.weight"])) == 9
    assert after["fc2.weight"].tobytes() == before["fc2.weight"].tobytes()
    assert (after["fc1.weight"] != before["fc1.weight"])[before["fc1.weight"] != 0].all()
    check_runs_alike(net, finetune.to_onnx(after, to_graph(Net())))


def test_modules_of_the_bridge_come_back_without_noise() -> None:
    model = to_graph(Net())
    module = finetune.to_torch(model)
    attach(module, {"fc1.weight": Noise(DEVICE)})
    assert module.training
    inputs, _ = make_batch()
    assert (module(inputs) != module(inputs)).any()
    assert finetune.to_onnx(module, model) == model
    assert finetune.to_onnx(copy.deepcopy(module), model) == model
