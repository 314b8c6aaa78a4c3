"""A small model that the tests of compressions share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper


@pytest.fixture(scope="module")
def weights() -> list[np.ndarray]:
    rng = np.random.default_rng(11)
    return [
        rng.laplace(size=(80, 120)).astype(np.float32),
        rng.normal(size=(120, 60)).astype(np.float32),
    ]


@pytest.fixture(scope="module")
def model(make_mlp: Callable[..., onnx.ModelProto], weights: list[np.ndarray]) -> onnx.ModelProto:
    proto = make_mlp(*weights)
    helper.set_model_props(proto, {"author": "someone"})
    proto.doc_string = "a model"
    proto.opset_import.add(domain="com.microsoft", version=1)
    return proto
