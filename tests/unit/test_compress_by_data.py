"""Models compressed by data, through the public function."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import wl_onnx
from tests.classifiers import make_mlp_classifier, run


def decode(result: wl_onnx.Result) -> onnx.ModelProto:
    return wl_onnx.decompress(result.model)


@pytest.mark.parametrize("constants", [("w0", "b1"), ("b0",)])
def test_constant_nodes_hold_weights_and_biases(constants: tuple[str, ...]) -> None:
    plain, other = make_mlp_classifier(), make_mlp_classifier(constants=constants)
    expected, found = (
        decode(wl_onnx.compress(one.model, data=one.data, min_snr=20.0, max_trials=4))
        for one in (plain, other)
    )
    np.testing.assert_array_equal(run(found, plain.x), run(expected, plain.x))
