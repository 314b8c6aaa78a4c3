"""Plans and compressed models as treatments, and trained centroids back into their blobs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import wl_onnx
from tests.unit.finetune.graphs import values_of
from wl_onnx import InputError, finetune
from wl_onnx.finetune import Freeze, attach, detach, export_state

torch = pytest.importorskip("torch", reason="torch is not installed")

from tests.unit.finetune.networks import Net, check_runs_alike, make_batch, to_graph, train  # noqa: E402

CODED = ("fc1.weight", "fc2.weight")


@pytest.fixture(scope="module")
def original() -> onnx.ModelProto:
    net = Net()
    train(net)
    return to_graph(net)


@pytest.mark.parametrize("codec", ["palette", "bloomier"])
def test_a_plan_gives_masks_and_clusters(
    codec: str, original: onnx.ModelProto, tmp_path: Path
) -> None:
    recipe = wl_onnx.Recipe(
        codec=codec, sparsity=0.75, clusters=8, bits=9, codebook="float32", include=("fc1.*",)
    )
    result = wl_onnx.compress(original, recipe=recipe)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(result.plan))
    for plan in (result.plan, path, str(path)):
        net = Net()
        attach(net, plan)
        state = export_state(net)
        weight = state["fc1.weight"]
        assert np.count_nonzero(weight == 0) == 0.75 * weight.size
        assert len(np.unique(weight[weight != 0])) == 8
        for name, value in export_state(Net()).items():
            if name != "fc1.weight":
                np.testing.assert_array_equal(state[name], value)


def compress(model: onnx.ModelProto, codec: str) -> onnx.ModelProto:
    recipe = wl_onnx.Recipe(
        codec=codec, sparsity=0.6, clusters=8, bits=5, min_elements=1, include=CODED,
        allow_growth=True,
    )  # fmt: skip
    result = wl_onnx.compress(model, recipe=recipe)
    assert {one["codec"] for one in result.report["tensors"] if one["name"] in CODED} == {codec}
    return result.model


def check_alike(net: Net, model: onnx.ModelProto, atol: float) -> None:
    net.eval()
    inputs, _ = make_batch(7)
    (found,) = wl_onnx.InferenceSession(model).run(None, {"x": inputs.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, net(inputs).numpy(), rtol=0, atol=atol)


@pytest.mark.parametrize("codec", ["palette", "bloomier"])
@pytest.mark.parametrize("by_path", [True, False])
def test_centroids_of_a_compressed_model_are_trained(
    codec: str, by_path: bool, original: onnx.ModelProto, tmp_path: Path
) -> None:
    small = compress(original, codec)
    decoded = wl_onnx.decompress(small)
    source: onnx.ModelProto | Path = small
    if by_path:
        source = tmp_path / "small.onnx"
        onnx.save(small, source)
    net = Net(5)  # every parameter takes the model's values
    attach(net, source)
    for name, value in export_state(net).items():
        np.testing.assert_array_equal(value, values_of(decoded, name))
    check_alike(net, small, 1e-5)
    train(net)
    state = export_state(net)
    trained = finetune.to_onnx(state, source)
    check_alike(net, trained, 0.02)  # centroids in float16
    again = wl_onnx.decompress(trained)
    for name in CODED:
        before, after = values_of(decoded, name), values_of(again, name)
        np.testing.assert_array_equal(after, state[name].astype(np.float16).astype(np.float32))
        np.testing.assert_array_equal(after == 0, before == 0)
        assert (after != before)[before != 0].all()
    np.testing.assert_array_equal(values_of(again, "fc1.bias"), state["fc1.bias"])
    assert abs(trained.ByteSize() - small.ByteSize()) < 64
    # The plain graph takes the same state in full precision.
    check_runs_alike(net, finetune.to_onnx(state, original))


def test_coded_weights_may_be_frozen_to_train_the_rest(original: onnx.ModelProto) -> None:
    small = compress(original, "bloomier")
    net = Net()
    attach(net, small, decoded="freeze")
    train(net)
    trained = finetune.to_onnx(export_state(net), small)
    assert list(trained.graph.node) == list(small.graph.node)
    check_alike(net, trained, 1e-5)
    assert (values_of(trained, "conv1.weight") != values_of(small, "conv1.weight")).all()


def test_bundles_are_frozen(original: onnx.ModelProto) -> None:
    inputs = make_batch(3, 64)[0].numpy()
    result = wl_onnx.compress(
        original,
        recipe=wl_onnx.Recipe(exclude=("fc2.*",)),
        data=[{"x": x[None]} for x in inputs],
        min_snr=10,
        max_trials=4,
    )
    codecs = {one["name"]: one["codec"] for one in result.report["tensors"]}
    bundled = [name for name, codec in codecs.items() if codec == "bundle"]
    assert bundled
    net = Net()
    attach(net, result.model)
    check_alike(net, result.model, 1e-5)
    for name in bundled:
        owner, attribute = net.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]
        if attribute not in ("running_mean", "running_var"):
            assert not owner.parametrizations[attribute].original.requires_grad
    before = export_state(net)
    train(net, in_evaluation=("norm",))
    after = export_state(net)
    assert all((after[name] == before[name]).all() for name in bundled)
    assert any((after[name] != before[name]).any() for name in after)
    check_alike(net, finetune.to_onnx(export_state(net), result.model), 0.05)


def test_what_a_blob_cannot_hold_is_refused(original: onnx.ModelProto) -> None:
    state = export_state(Net())
    for codec in ("palette", "bloomier"):
        small = compress(original, codec)
        with pytest.raises(
            InputError,
            match=r"^cannot put back fc1.weight: weights of one centroid must be equal, got .* and",
        ):
            finetune.to_onnx(state, small)
    net = Net()
    attach(net, small)
    detach(net)
    with torch.no_grad():
        net.fc1.weight.add_(1)
    with pytest.raises(InputError, match=r"weights that its filter leaves out must be 0, got 1; p"):
        finetune.to_onnx(export_state(net), small)


def test_names_of_a_compressed_model_must_be_in_the_module(original: onnx.ModelProto) -> None:
    small = compress(original, "palette")
    with pytest.raises(
        InputError, match=r"cannot attach to fc1.weight: the module must have a par"
    ):
        attach(torch.nn.Linear(2, 2), small)
    net = Net()
    net.fc1 = torch.nn.Linear(216, 25)
    with pytest.raises(
        InputError,
        match=r"cannot attach to fc1.weight: codes must have its shape \[25, 216\], got \[24, 2",
    ):
        attach(net, small)
    net = Net()
    net.conv1 = torch.nn.Conv2d(1, 6, 5)
    expected = r"conv1.weight: the model's values must have its shape \[6, 1, 5, 5\], got \[6, 1, 3"
    with pytest.raises(InputError, match=expected):
        attach(net, small)
    attach(net, {"conv1.weight": Freeze()})
