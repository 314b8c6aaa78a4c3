"""Weights stored one by one as flags say."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.classifiers import Classifier, form_model, make_conv_classifier, make_mlp_classifier
from tests.unit.graph import builders
from wl_onnx.analog import Storage, find_device
from wl_onnx.codecs import cells
from wl_onnx.evaluation import Limits
from wl_onnx.graph import find_weights, load_model
from wl_onnx.planning.calibration import Calibration
from wl_onnx.planning.cell_writer import StoredTensor
from wl_onnx.planning.prepared import Goal, prepare
from wl_onnx.planning.store_by_flags import find_channel_axes, store_by_flags
from wl_onnx.recipe import Recipe

PCM = find_device("pcm-nandakumar2019")
ALL = frozenset(("sign", "adaptive", "sparsity", "sensitivity"))


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return make_mlp_classifier()


@pytest.fixture(scope="module")
def calibration(classifier: Classifier) -> Calibration:
    model = load_model(classifier.model)
    goal = Goal(classifier.data, None, Limits())
    return prepare(model, find_weights(model), Recipe(), goal).calibration


def store(
    proto: onnx.ModelProto, calibration: Calibration | None = None, **flags: Any
) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    model = load_model(proto)
    return store_by_flags(
        model, find_weights(model), Storage(PCM, **flags), calibration=calibration
    )


@pytest.mark.parametrize("has_data", [False, True])
@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("masks", [False, True])
def test_the_sparsity_is_exact(
    classifier: Classifier,
    calibration: Calibration,
    has_data: bool,
    sparsity: float,
    masks: bool,
) -> None:
    protect = frozenset(("sign", "sparsity") if masks else ("sign",))
    stored, reasons = store(
        classifier.model, calibration if has_data else None, sparsity=sparsity, protect=protect
    )
    assert not reasons
    for one in stored.values():
        size = one.values.size
        zeros = one.values == 0
        # A level of 0 is 0 too; the mask has those that were pruned, and no others.
        assert zeros.sum() >= round(sparsity * size) - 1
        assert (one.noise == 0).sum() == (round(sparsity * size) if masks else 0)
        assert one.info.num_stored == (size - round(sparsity * size) if masks else size)
        for seed in range(3):
            read = cells.read(one.blob, write_seed=seed, read_seed=seed)
            pruned = one.noise.reshape(-1) == 0
            assert (read[pruned] == 0).all()
            assert (read[~pruned] != 0).mean() > 0.5


def test_without_data_the_smallest_go(classifier: Classifier) -> None:
    stored, _ = store(classifier.model, sparsity=0.5)
    arrays = builders.arrays_of(classifier.model)
    for key, one in stored.items():
        pruned = one.noise == 0
        assert np.abs(arrays[key][pruned]).max() <= np.abs(arrays[key][~pruned]).min()


def test_with_data_the_others_make_up_for_what_goes(
    classifier: Classifier, calibration: Calibration
) -> None:
    blind, _ = store(classifier.model, sparsity=0.5, protect=frozenset(("sign", "sparsity")))
    seeing, _ = store(
        classifier.model, calibration, sparsity=0.5, protect=frozenset(("sign", "sparsity"))
    )
    weight = builders.arrays_of(classifier.model)["w0"].astype(np.float64)
    counts = calibration.row_weights["w0"].reshape(-1)
    errors = [
        (np.square(classifier.x @ (one["w0"].values - weight)) * counts).sum()
        for one in (blind, seeing)
    ]
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("cells_each", [1.0, 1.7, 4.0])
def test_sensitive_weights_get_more_cells_within_the_budget(
    classifier: Classifier, calibration: Calibration, cells_each: float
) -> None:
    stored, _ = store(classifier.model, calibration, sparsity=0.5, protect=ALL, cells=cells_each)
    for one in stored.values():
        assert 0.8 * cells_each * one.values.size < one.info.num_cells
        assert one.info.num_cells <= cells_each * one.values.size
    # An input of w0 that hardly varies counts little: its weights have fewer cells than most.
    blob = cells.parse(stored["w0"].blob)
    rows = np.asarray(blob.row_exponents.exponents, float)
    energies = np.square(classifier.x[::2]).mean(axis=0)
    assert np.corrcoef(rows, np.log(energies))[0, 1] > 0.4


def test_numbers_follow_the_order_of_the_weights(classifier: Classifier) -> None:
    stored, _ = store(classifier.model)
    assert [one.info.tensor for one in stored.values()] == [0, 1]


def test_what_lies_in_a_function_is_left() -> None:
    stored, reasons = store(builders.functions())
    assert list(stored) == ["w"]
    ((key, reason),) = reasons.items()
    assert key.endswith("own")
    assert "lies in a function" in reason
    keys = [site.key for site in find_weights(load_model(builders.functions()))]
    assert stored["w"].info.tensor == keys.index("w")


def test_outputs_lie_along_the_channel_axis() -> None:
    def axes_of(node: onnx.NodeProto, *shape: int, x: tuple[int, ...]) -> dict[str, int]:
        model = form_model([node], np.zeros((1, *x), np.float32), w=np.ones(shape, np.float32))
        return find_channel_axes(load_model(model))

    make = helper.make_node
    assert axes_of(make("MatMul", ["x", "w"], ["y"]), 8, 8, x=(8,)) == {"w": 1}
    assert axes_of(make("Gemm", ["x", "w"], ["y"]), 8, 6, x=(8,)) == {"w": 1}
    assert axes_of(make("Gemm", ["x", "w"], ["y"], transB=1), 8, 8, x=(8,)) == {"w": 0}
    assert axes_of(make("Conv", ["x", "w"], ["y"]), 4, 4, 3, 3, x=(4, 8, 8)) == {"w": 0}
    assert axes_of(make("Conv", ["x", "w"], ["y"], group=4), 4, 1, 3, 3, x=(4, 8, 8)) == {"w": 0}
    up = make("ConvTranspose", ["x", "w"], ["y"])
    assert axes_of(up, 4, 5, 3, 3, x=(4, 8, 8)) == {"w": 1}
    assert find_channel_axes(load_model(builders.mlp())) == {"w1": 1, "w2": 0}


@pytest.mark.parametrize("make", [make_mlp_classifier, make_conv_classifier])
def test_each_output_has_its_own_scale(make: Any) -> None:
    proto = make().model
    plain, _ = store(proto)
    scaled, _ = store(proto, scale="channel")
    axes = find_channel_axes(load_model(proto))
    assert set(axes) == set(plain)
    for key, one in scaled.items():
        assert one.info.num_channels == one.values.shape[axes[key]]
        assert one.noise.sum() < plain[key].noise.sum()


def test_progress_is_told(classifier: Classifier) -> None:
    model = load_model(classifier.model)
    told: list[tuple[str, int, int]] = []
    store_by_flags(
        model, find_weights(model), Storage(PCM), progress=lambda *given: told.append(given)
    )
    assert told == [("w0", 0, 2), ("w1", 1, 2)]
