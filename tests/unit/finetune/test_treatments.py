"""What treatments refuse, without torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from wl_onnx import InputError
from wl_onnx.analog import Storage, find_device
from wl_onnx.finetune.treatments import Cluster, Freeze, Mask, Noise, order_treatments

STORAGE = Storage(find_device("pcm-joshi2020"), cells=3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Freeze([1.0, np.nan]), r"values of Freeze must be finite numbers, got float64"),
        (lambda: Freeze(["a"]), r"values of Freeze must be finite numbers, got <U1 \[1\]"),
        (lambda: Mask(1.0), r"sparsity of Mask must be in \[0, 1\), got 1.0"),
        (lambda: Mask("0.5"), r"sparsity of Mask must be in \[0, 1\), got 0.5"),  # type: ignore[arg-type]
        (lambda: Mask(True), r"sparsity of Mask must be in \[0, 1\), got True"),
        (lambda: Mask(mask=[0, 2]), r"mask of Mask must be booleans, got int64 \[2\]"),
        (lambda: Mask(0.5, mask=[0, 1]), r"sparsity of Mask must be absent beside a mask, got 0.5"),
        (lambda: Mask(0.5, gradient="one"), r"must be zero or straight-through, got one"),  # type: ignore[arg-type]
        (lambda: Mask(regrow=True), r"regrow of Mask must be beside a sparsity, got no sparsity"),
        (
            lambda: Mask(0.5, gradient="zero", regrow=True),
            r"gradient of Mask must be straight-through with regrow, got zero",
        ),
        (lambda: Cluster(0), r"clusters of Cluster must be a whole number from 1 to 4096, got 0"),
        (lambda: Cluster(4097), r"must be a whole number from 1 to 4096, got 4097"),
        (lambda: Cluster(2.0), r"must be a whole number from 1 to 4096, got 2.0"),  # type: ignore[arg-type]
        (lambda: Cluster(codes=[0]), r"codes and codebook of Cluster must be given together, got"),
        (lambda: Cluster(2, codes=[0], codebook=[1.0]), r"must be absent beside codes, got 2"),
        (lambda: Cluster(codes=[0.0], codebook=[1.0]), r"must be integers, got float64 \[1\]"),
        (lambda: Cluster(codes=[0, 1], codebook=[1.0]), r"codes of Cluster must be in 0..0, got 1"),
        (lambda: Cluster(codes=[-1], codebook=[1.0]), r"codes of Cluster must be in 0..0, got -1"),
        (lambda: Cluster(codes=[0], codebook=[]), r"a list of 1 to 4096 numbers, got"),
        (lambda: Cluster(codes=[0], codebook=[np.inf]), r"codebook of Cluster must be finite numb"),
        (lambda: Noise(3), r"device of Noise must be a device or its name, got 3"),  # type: ignore[arg-type]
        (lambda: Noise(STORAGE, cells=2), r"cells of Noise must be absent beside a Storage, got 2"),
        (lambda: Noise(cells="2"), r"cells of Noise must be a number, got 2"),  # type: ignore[arg-type]
        (lambda: Noise(strength=-1), r"strength of Noise must be finite and not negative, got -1"),
        (lambda: Noise(gradient="no"), r"gradient of Noise must be straight-through or exact, got"),  # type: ignore[arg-type]
        (lambda: Noise(seed=-1), r"seed of Noise must be a whole number below .*, got -1"),
        (lambda: Cluster(keep_zero=1), r"keep_zero of Cluster must be True or False, got 1"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=rf"^cannot treat a parameter: .*{message}"):
        make()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("mask", r"a treatment must be Freeze, Mask, Cluster or Noise, got 'mask'$"),
        ((Mask(0.5), 3), r"a treatment must be Freeze, Mask, Cluster or Noise, got 3$"),
        ((Mask(0.5), Mask(0.6)), r"it must have one treatment of a kind, got Mask twice$"),
        ((Mask(0.5), Freeze()), r"Freeze must stand alone or with Noise, got it with Mask$"),
        ((Cluster(2), Mask(0.5, regrow=True)), r"gradient of Mask must be zero, got regrow; det"),
        (
            (Cluster(2), Mask(0.5, gradient="straight-through")),
            r"gradient of Mask must be zero, got straight-through; detach and attach Mask",
        ),
    ],
)  # fmt: skip
def test_treatments_that_do_not_go_together_are_refused(given: object, message: str) -> None:
    with pytest.raises(InputError, match=rf"^cannot attach to fc: .*{message}"):
        order_treatments("fc", given)


def test_noise_says_how_weights_are_stored() -> None:
    storage = Noise("gaussian:0.1", cells=2, time_s=60.0).storage
    assert (storage.cells, storage.time_s) == (2, 60)
    assert storage.device == find_device("gaussian:0.1")
    assert Noise(STORAGE).storage is STORAGE
    assert Noise().storage == Storage(find_device("pcm-nandakumar2019"))
    with pytest.raises(InputError, match=r"^cannot find a device: the name must be one of"):
        Noise("pcm")
    with pytest.raises(InputError, match=r"cells must be above 0 and at most 64, got 0"):
        Noise(cells=0)


def test_a_mask_acts_before_clusters() -> None:
    mask, cluster = Mask(0.5), Cluster(4)
    assert order_treatments("fc", [cluster, mask]) == (mask, cluster)
    assert order_treatments("fc", mask) == (mask,)
    noise = Noise()
    assert order_treatments("fc", (noise, cluster, mask)) == (mask, cluster, noise)
    assert order_treatments("fc", None) == ()


def test_fields_are_frozen_and_gradients_follow_regrowth() -> None:
    mask = Mask(0.5)
    with pytest.raises(AttributeError):
        mask.sparsity = 0.6  # type: ignore[misc]
    assert not mask.passes_gradient
    assert Mask(0.5, regrow=True).passes_gradient
    assert Mask(0.5, gradient="straight-through").passes_gradient
