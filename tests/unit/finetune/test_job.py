"""Targets that cannot be, and what tells one job from another."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import onnx
import pytest

from tests.unit.finetune.graphs import linear
from tests.unit.finetune.modules import classified
from wl_onnx import Storage
from wl_onnx.analog import find_device
from wl_onnx.errors import InputError
from wl_onnx.finetune.job import Targets, form_fingerprint
from wl_onnx.finetune.noisy_recipe import NoisyRecipe
from wl_onnx.finetune.weightless_recipe import WeightlessRecipe


def test_there_is_one_target_at_most() -> None:
    with pytest.raises(InputError, match=r"got target_ratio 2 and max_drop 1\.0$"):
        Targets(2, 1.0)
    assert Targets() == Targets(None, None)


@pytest.mark.parametrize("ratio", [0.5, math.inf, math.nan, "9"])
def test_ratios_that_cannot_be(ratio: float) -> None:
    with pytest.raises(InputError, match=r"^cannot fine-tune: target_ratio must be a number of at"):
        Targets(ratio=ratio)


@pytest.mark.parametrize("drop", [-0.1, math.inf])
def test_drops_that_cannot_be(drop: float) -> None:
    with pytest.raises(InputError, match=r"^cannot fine-tune: max_drop must be a number of at le"):
        Targets(max_drop=drop)


def test_fingerprints_tell_all_that_matters_apart() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    pcm = Storage(find_device("pcm-nandakumar2019"))
    model, data = linear(), (classified(), classified(seed=2))
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    changed.graph.initializer[0].raw_data = np.zeros(6, np.float32).tobytes()
    arguments = {
        "model": model,
        "data": data,
        "recipe": WeightlessRecipe(),
        "targets": Targets(),
        "storage": None,
    }
    others = {
        "model": [changed],
        "data": [(data[1], data[0])],
        "recipe": [WeightlessRecipe(batch_size=1), NoisyRecipe()],
        "targets": [Targets(3.0), Targets(None, 3.0)],
        "storage": [
            pcm,
            dataclasses.replace(pcm, cells=2.0),
            dataclasses.replace(pcm, protect=frozenset(("sign",))),
            dataclasses.replace(pcm, device=find_device("pcm-joshi2020")),
        ],
    }
    own = form_fingerprint(**arguments)  # type: ignore[arg-type]
    assert form_fingerprint(**arguments) == own  # type: ignore[arg-type]
    seen = {own}
    for name, values in others.items():
        for value in values:
            other = form_fingerprint(**{**arguments, name: value})  # type: ignore[arg-type]
            part = name if name in ("model", "data") else "recipe"
            assert getattr(other, part) != getattr(own, part)
            seen.add(other)
    assert len(seen) == 11
