from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from tests.unit.runtime.convolutions import CONVOLUTIONS, make_model
from wl_onnx.graph import find_layers, load_model
from wl_onnx.runtime.patches import cut_rows, fits_output

RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def make_transposed() -> tuple[onnx.ModelProto, np.ndarray]:
    x, w = floats(2, 4, 5, 6), floats(4, 3, 3, 2)
    settings = {"strides": [2, 1], "dilations": [2, 1], "group": 2, "pads": [3, 0, 2, 1]}
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], **settings)
    return make_model([node], x, w=w), x


def make_convolution(name: str) -> tuple[onnx.ModelProto, np.ndarray]:
    x_shape, w_shape, attributes = CONVOLUTIONS[name]
    x = floats(*x_shape)
    node = helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
    return make_model([node], x, w=floats(*w_shape)), x


@pytest.mark.parametrize("name", ["transposed", *sorted(CONVOLUTIONS)])
def test_an_output_has_the_shape_that_onnxruntime_gives_it(name: str) -> None:
    model, x = make_transposed() if name == "transposed" else make_convolution(name)
    (layer,) = find_layers(load_model(model))
    assert layer.view is not None
    session = onnxruntime.InferenceSession(model.SerializeToString())
    shape = session.run(None, {"x": x})[0].shape
    for axis in range(-1, len(shape)):
        given = tuple(size + (i == axis) for i, size in enumerate(shape))
        is_same = fits_output(x.shape, layer.inputs[0], layer.view.matrix_shape, given)
        assert is_same == (axis == -1)


@pytest.mark.parametrize("name", ["transposed", *sorted(CONVOLUTIONS)])
def test_drawn_patches_are_among_all_of_them(name: str) -> None:
    model, x = make_transposed() if name == "transposed" else make_convolution(name)
    (layer,) = find_layers(load_model(model))
    ((whole,),) = cut_rows([x], layer.inputs[0])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    y = session.run(None, {"x": x})[0]
    rng = np.random.default_rng(0)
    ((drawn, given),) = cut_rows([x], layer.inputs[0], outputs=[y], max_places=5, rng=rng)
    num_groups, _, num_columns = whole.shape
    assert drawn.shape == (num_groups, 5 * len(x), num_columns)
    assert layer.view is not None
    matrices = layer.view.to_matrices(layer.site.numpy())
    # The output at the same places is what the layer makes of the patches.
    np.testing.assert_allclose(drawn @ matrices.swapaxes(1, 2), given, rtol=1e-4, atol=1e-4)
    for sample in range(len(x)):
        places = np.split(whole, len(x), axis=1)[sample][0]
        for row in np.split(drawn, len(x), axis=1)[sample][0]:
            assert (places == row).all(axis=1).any()
