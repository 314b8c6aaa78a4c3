"""Treatments in a training loop of the user's own, on the user's own module."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import wl_onnx
from tests.unit.finetune.graphs import linear, values_of
from wl_onnx import finetune
from wl_onnx.finetune import Cluster, Freeze, Mask, attach, detach, export_state

torch = pytest.importorskip("torch", reason="torch is not installed")

from tests.unit.finetune.networks import Net, check_runs_alike, make_batch, to_graph, train  # noqa: E402


def test_masked_weights_stay_zero_and_all_else_moves() -> None:
    net = Net()
    before = export_state(net)
    attach(net, {"fc1.weight": Mask(0.75)})
    masked = export_state(net)["fc1.weight"]
    magnitudes = np.sort(np.abs(before["fc1.weight"]).reshape(-1))
    expected = np.abs(before["fc1.weight"]) >= magnitudes[round(0.75 * magnitudes.size)]
    np.testing.assert_array_equal(masked, np.where(expected, before["fc1.weight"], 0))
    train(net)
    after = export_state(net)
    np.testing.assert_array_equal(after["fc1.weight"] != 0, expected)
    assert not np.signbit(after["fc1.weight"][~expected]).any()
    assert (after["fc1.weight"] != masked)[expected].all()
    for name in before.keys() - {"fc1.weight"}:
        assert (after[name] != before[name]).all(), name


def test_a_mask_holds_the_gradient_back_unless_it_passes_straight_through() -> None:
    mask = np.arange(216 * 24).reshape(24, 216) % 3 == 0
    gradients = {}
    for kind in ("zero", "straight-through"):
        net = Net()
        attach(net, {"fc1.weight": Mask(mask=mask, gradient=kind)})
        used = net.fc1.weight
        used.retain_grad()
        inputs, labels = make_batch()
        with torch.nn.utils.parametrize.cached():
            torch.nn.functional.cross_entropy(net(inputs), labels).backward()
        gradients[kind] = net.fc1.parametrizations.weight.original.grad.numpy()
    full = gradients["straight-through"]
    assert np.abs(full[~mask]).max() > 0
    np.testing.assert_array_equal(gradients["zero"], np.where(mask, full, 0))


def test_a_mask_without_arguments_keeps_the_zeros_that_are_there() -> None:
    net = Net()
    zeros = np.zeros((24, 216), bool)
    zeros[3:7] = True
    with torch.no_grad():
        net.fc1.weight[3:7] = 0
    attach(net, {"fc1.weight": Mask()})
    train(net)
    np.testing.assert_array_equal(export_state(net)["fc1.weight"] == 0, zeros)


def test_masked_weights_regrow_and_others_go_with_hysteresis() -> None:
    net = Net()
    attach(net, {"fc1.weight": Mask(0.5, regrow=True)})
    held = net.fc1.parametrizations.weight
    start = held[0].mask.numpy().copy()
    threshold = np.sort(np.abs(held.original.detach().numpy()).reshape(-1))[start.size // 2]
    assert (~start).sum() == start.size // 2
    mask = start.copy()

    def follow() -> None:
        nonlocal mask
        magnitudes = np.abs(held.original.detach().numpy())
        low, high = np.float32(0.9) * threshold, np.float32(1.1) * threshold
        mask = (magnitudes > high) | (mask & (magnitudes >= low))
        np.testing.assert_array_equal(held[0].mask.numpy(), mask)

    train(net, steps=4, watch=follow)
    assert (mask & ~start).any()
    assert (start & ~mask).any()
    used = export_state(net)["fc1.weight"]
    np.testing.assert_array_equal(used != 0, mask)
    net.eval()
    net(make_batch()[0])
    np.testing.assert_array_equal(held[0].mask.numpy(), mask)


def test_frozen_parameters_stay_bit_for_bit() -> None:
    net = Net()
    before = export_state(net)
    values = np.random.default_rng(0).normal(size=(5, 24)).astype(np.float32)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    train(net, optimizer)
    before = export_state(net)
    attach(net, {"conv1.*": Freeze(), "fc2.weight": Freeze(values)})
    assert not net.conv1.parametrizations.weight.original.requires_grad
    train(net, optimizer)
    after = export_state(net)
    for name in ("conv1.weight", "conv1.bias"):
        assert after[name].tobytes() == before[name].tobytes()
    assert after["fc2.weight"].tobytes() == values.tobytes()
    assert (after["fc1.weight"] != before["fc1.weight"]).all()
    detach(net)
    assert net.conv1.weight.requires_grad
    assert export_state(net)["fc2.weight"].tobytes() == values.tobytes()
    train(net, optimizer)
    assert (export_state(net)["conv1.weight"] != before["conv1.weight"]).all()


def test_a_centroid_has_the_sum_of_its_weights_gradients() -> None:
    net = Net()
    plain = copy.deepcopy(net)
    attach(net, {"fc1.weight": (Mask(0.5), Cluster(7))})
    weight = export_state(net)["fc1.weight"]
    with torch.no_grad():
        plain.fc1.weight.copy_(torch.from_numpy(weight))
    inputs, labels = make_batch()
    for one in (net, plain):
        torch.nn.functional.cross_entropy(one(inputs), labels).backward()
    original = net.fc1.parametrizations.weight.original
    dense = plain.fc1.weight.grad.numpy().astype(np.float64)
    centroids = original.detach().numpy()
    assert centroids.shape == (7,)
    expected = [dense[weight == centroid].sum() for centroid in centroids]
    np.testing.assert_allclose(original.grad.numpy(), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("keep_zero", [True, False])
def test_clustered_weights_keep_their_groups(keep_zero: bool) -> None:
    net = Net()
    with torch.no_grad():
        net.fc1.weight[:12] = 0
    attach(net, {"fc1.weight": Cluster(6, keep_zero=keep_zero)})
    before = export_state(net)["fc1.weight"]
    train(net)
    after = export_state(net)["fc1.weight"]
    values, groups = np.unique(before, return_inverse=True)
    assert len(values) == 6 + keep_zero
    assert len(np.unique(after)) == len(values)
    for group in range(len(values)):
        (value,) = set(after.reshape(-1)[groups.reshape(-1) == group])
        assert (value == values[group]) == (keep_zero and value == 0)


def test_given_codes_and_values_that_are_there_are_taken_as_they_are() -> None:
    net = Net()
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, (5, 24))
    codebook = np.array([0.5, 0, -0.25], np.float32)
    attach(net, {"fc2.weight": Cluster(codes=codes, codebook=codebook)})
    np.testing.assert_array_equal(export_state(net)["fc2.weight"], codebook[codes])
    assert net.fc2.parametrizations.weight.original.shape == (2,)  # 0 is kept
    detach(net)
    attach(net, {"fc2.weight": Cluster()})
    np.testing.assert_array_equal(export_state(net)["fc2.weight"], codebook[codes])
    assert net.fc2.parametrizations.weight.original.shape == (2,)
    net = Net()
    attach(net, {"fc2.weight": (Mask(mask=codes != 2), Cluster(codes=codes, codebook=codebook))})
    expected = np.where(codes == 0, np.float32(0.5), np.float32(0))
    np.testing.assert_array_equal(export_state(net)["fc2.weight"], expected)


def test_centroids_of_any_type_are_taken_exactly() -> None:
    layer = torch.nn.Linear(7, 1, bias=False, dtype=torch.float64)
    codebook = np.array([0.1])
    attach(layer, {"weight": Cluster(codes=np.zeros((1, 7), int), codebook=codebook)})
    assert sum([0.1] * 7) / 7 != 0.1
    assert set(export_state(layer)["weight"].reshape(-1)) == {0.1}


def test_gradients_of_before_are_gone() -> None:
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net(make_batch()[0]).sum().backward()
    attach(net, {"fc1.weight": Cluster(8), "fc2.weight": Freeze()})
    before = export_state(net)
    optimizer.step()
    after = export_state(net)
    for name in ("fc1.weight", "fc2.weight"):
        assert after[name].tobytes() == before[name].tobytes()


def test_the_last_entry_that_matches_counts() -> None:
    net = Net()
    attach(net, {"*.weight": Mask(0.5), "fc?.weight": Mask(0.75), "fc2.weight": None})
    assert not torch.nn.utils.parametrize.is_parametrized(net.fc2)
    state = export_state(net)
    assert np.count_nonzero(state["conv1.weight"] == 0) == 27
    assert np.count_nonzero(state["fc1.weight"] == 0) == 0.75 * 24 * 216


def test_optimizers_of_before_go_on_where_they_have_no_state() -> None:
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    attach(net, {"fc1.weight": (Mask(0.5), Cluster(8)), "fc2.weight": Mask(0.5)})
    before = export_state(net)
    train(net, optimizer)
    after = export_state(net)
    for name in ("fc1.weight", "fc2.weight"):
        moved = after[name] != before[name]
        np.testing.assert_array_equal(moved, before[name] != 0)


def test_detached_parameters_are_plain_and_the_same_objects() -> None:
    net = Net()
    kept = net.fc1.weight
    kind, names = type(net.fc1), list(net.state_dict())
    attach(net, {"fc1.weight": (Mask(0.5), Cluster(8)), "conv1.bias": Freeze(), "*2.*": Mask(0.1)})
    train(net)
    before = export_state(net)
    detach(net)
    assert net.fc1.weight is kept
    assert kept.shape == (24, 216)
    assert kept.grad is None
    assert type(net.fc1) is kind
    assert sorted(net.state_dict()) == sorted(names)
    after = export_state(net)
    assert after.keys() == before.keys()
    for name, value in before.items():
        assert after[name].tobytes() == value.tobytes(), name
    train(net)
    assert export_state(net)["fc1.weight"][before["fc1.weight"] == 0].any()
    detach(net)  # nothing to do


def test_a_deep_copy_trains_and_detaches_on_its_own() -> None:
    net = Net()
    attach(net, {"fc1.weight": (Mask(0.5), Cluster(8)), "fc2.weight": Freeze()})
    before = export_state(net)
    other = copy.deepcopy(net)
    train(other)
    detach(other)
    for name, value in export_state(net).items():
        assert value.tobytes() == before[name].tobytes(), name
    train(net)
    detach(net)
    state, copied = export_state(net), export_state(other)
    for name in state:
        np.testing.assert_array_equal(state[name], copied[name])


def test_state_goes_into_a_module_with_the_same_treatments() -> None:
    plan = {
        "fc1.weight": (Mask(0.5), Cluster(8)),
        "fc2.weight": Freeze(),
        "conv1.weight": Mask(0.5, regrow=True),
    }
    net, other = Net(0), Net(1)
    attach(net, plan)
    train(net)
    attach(other, plan)
    other.load_state_dict(copy.deepcopy(net.state_dict()))
    expected, found = export_state(net), export_state(other)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_the_way_into_the_graph_and_to_a_palette() -> None:
    net = Net()
    model = to_graph(net)
    attach(net, {"fc1.weight": (Mask(0.75), Cluster(12)), "conv1.weight": Cluster(5)})
    train(net)
    trained = finetune.to_onnx(export_state(net), model)
    check_runs_alike(net, trained)
    weight = values_of(trained, "fc1.weight")
    assert len(np.unique(weight[weight != 0])) == 12
    recipe = wl_onnx.Recipe(
        codec="palette", sparsity=0.75, clusters=12, codebook="float32", include=("fc1.weight",)
    )
    result = wl_onnx.compress(trained, recipe=recipe)
    (entry,) = [one for one in result.report["tensors"] if one["name"] == "fc1.weight"]
    assert entry["codec"] == "palette"
    np.testing.assert_array_equal(values_of(wl_onnx.decompress(result.model), "fc1.weight"), weight)


def test_names_of_initializers_may_differ() -> None:
    net = Net()
    model = to_graph(net)
    for tensor in model.graph.initializer:
        tensor.name = f"net/{tensor.name}"
    for node in model.graph.node:
        node.input[:] = [f"net/{n}" if "." in n else n for n in node.input]
    names = {name: f"net/{name}" for name in export_state(net)}
    attach(net, {"net/fc1.*": Mask(0.5), "fc2.weight": Mask(0.25)}, names=names)
    train(net)
    trained = finetune.to_onnx(export_state(copy.deepcopy(net)), model)
    check_runs_alike(net, trained)
    assert np.count_nonzero(values_of(trained, "net/fc1.weight") == 0) == 24 * 216 / 2
    detach(net)
    assert export_state(net).keys() == set(names.values())


def test_modules_of_the_bridge_are_treated_by_either_name() -> None:
    model = linear()
    module = finetune.to_torch(model)
    attach(module, {"fc.1/weight": Mask(0.5), "fc_1_bias": Freeze()})
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.parametrizations.fc_1_weight.original.add_(1)
    assert np.count_nonzero(export_state(module)["fc.1/weight"]) == 3
    weight = values_of(model, "fc.1/weight")
    expected = np.where(export_state(module)["fc.1/weight"] != 0, weight + 1, 0)
    np.testing.assert_array_equal(export_state(other)["fc.1/weight"], expected)
    np.testing.assert_array_equal(
        values_of(finetune.to_onnx(other, model), "fc.1/weight"), expected
    )
    inputs = torch.ones(4, 3)
    np.testing.assert_allclose(
        other(inputs).detach().numpy(),
        inputs.numpy() @ expected.T + values_of(model, "fc.1/bias"),
        rtol=1e-6,
    )
    detach(other)
    np.testing.assert_array_equal(export_state(other)["fc.1/weight"], expected)
    assert module(inputs).shape == (4, 2)
    again = copy.deepcopy(other)
    np.testing.assert_array_equal(again(inputs).detach(), other(inputs).detach())
    attach(again, {"fc.1/weight": Freeze()})


def test_a_module_of_the_bridge_may_be_part_of_a_larger_one() -> None:
    model = linear()
    whole = torch.nn.Sequential(finetune.to_torch(model), torch.nn.Linear(2, 2))
    attach(whole, {"fc.1/weight": Mask(0.5)})
    assert export_state(whole).keys() == {"fc.1/weight", "fc.1/bias", "1.weight", "1.bias"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_of_floats_are_treated(dtype: torch.dtype) -> None:
    net = Net().to(dtype)
    attach(net, {"fc1.weight": (Mask(0.5), Cluster(5)), "fc2.weight": Mask(0.5)})
    weight = export_state(net)["fc1.weight"]
    assert weight.dtype.name == str(dtype).removeprefix("torch.")
    assert len(np.unique(weight.astype(np.float64))) == 6
    net.fc1.weight.sum().backward()
    gradient = net.fc1.parametrizations.weight.original.grad
    counts = [np.count_nonzero(weight == c) for c in np.unique(weight) if c != 0]
    expected = torch.tensor(counts).to(dtype).double()
    torch.testing.assert_close(gradient.double(), expected, rtol=0.05, atol=0)


def test_shared_modules_count_once_and_twins_are_exported_once() -> None:
    first = torch.nn.Linear(4, 4)
    net = torch.nn.Sequential(first, first, torch.nn.Linear(4, 4))
    attach(net, {"0.weight": Mask(0.5)})
    assert export_state(net).keys() == {"0.weight", "0.bias", "2.weight", "2.bias"}
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    net[1].weight = net[0].weight
    assert export_state(net).keys() == {"0.weight", "0.bias", "1.bias"}
