from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.unit.graph.builders import arrays_of, value
from tests.unit.graph.unit_networks import draw, network, node, remove, units, why
from wl_onnx.graph import load_model, remove_dead_units, to_proto

Array = np.ndarray


def image_network(pads: int, *between: onnx.NodeProto, **tensors: Array) -> onnx.ModelProto:
    """Channel 0 is constant 0 after Relu, 1 constant 0.5, 2 is not read, the others are alive."""
    first, second = draw(6, 2, 3, 3), draw(3, 6, 3, 3)
    first[:2] = 0
    second[:, 2] = 0
    return network(
        [
            node("Conv", ["x", "w1", "b1"], ["h"]),
            node("Relu", ["h"], ["r"]),
            *between,
            node("Conv", [between[-1].output[0] if between else "r", "w2"], ["y"], pads=[pads] * 4),
        ],
        ["n", 2, 9, 9],
        w1=first,
        b1=np.array([-1, 0.5, 1, 2, 3, 4], np.float32),
        w2=second,
        **tensors,
    )


def test_a_padded_convolution_takes_up_no_constant_but_0() -> None:
    smaller, report = remove(image_network(1), 2, 2, 9, 9)
    assert units(report) == {"w1": 4, "w2": 3}
    assert [len(n.input) for n in smaller.graph.node] == [3, 1, 2]
    smaller, report = remove(image_network(0), 2, 2, 9, 9)
    assert units(report) == {"w1": 3, "w2": 3}
    wanted = 0.5 * draw(3, 6, 3, 3)[:, 1].sum(axis=(1, 2))
    np.testing.assert_allclose(arrays_of(smaller)["w2.bias"], wanted, rtol=1e-6)
    proto = image_network(0)
    del proto.graph.node[2].attribute[:]
    proto.graph.node[2].attribute.append(helper.make_attribute("auto_pad", "SAME_UPPER"))
    assert units(remove(proto, 2, 2, 9, 9)[1]) == {"w1": 4, "w2": 3}


@pytest.mark.parametrize(
    ("attributes", "left"),
    [
        ({"op_type": "MaxPool", "pads": [1, 1, 1, 1]}, 3),
        ({"op_type": "MaxPool", "pads": [1, 1, 1, 1], "ceil_mode": 1}, 5),
        ({"op_type": "AveragePool", "pads": [1, 1, 1, 1]}, 3),
        ({"op_type": "AveragePool", "pads": [1, 1, 1, 1], "count_include_pad": 1}, 4),
        ({"op_type": "AveragePool", "auto_pad": "SAME_LOWER"}, 3),
        ({"op_type": "AveragePool", "auto_pad": "VALID", "count_include_pad": 1}, 3),
    ],
)
def test_pools_pass_constants_unless_their_padding_counts(
    attributes: dict[str, object], left: int
) -> None:
    pool = node(inputs=["r"], outputs=["p"], kernel_shape=[2, 2], **attributes)
    assert units(remove(image_network(0, pool), 2, 2, 9, 9)[1])["w1"] == left


def test_used_indices_of_a_pool_keep_units() -> None:
    pool = node("MaxPool", ["r"], ["p", "where"], kernel_shape=[2, 2])
    proto = image_network(0, pool)
    assert units(remove(proto, 2, 2, 9, 9)[1])["w1"] == 3
    proto.graph.output.append(value("where", "n", 6, 6, 6, data_type=TensorProto.INT64))
    assert (
        why(remove(proto, 2, 2, 9, 9)[1], "w1") == "goes to MaxPool, whose other outputs are used"
    )


# Padding hides what the normalisation makes of the two constants, not what has no kernel.
@pytest.mark.parametrize(("pads", "kept"), [(0, [3, 4]), (1, [0, 1, 3, 4])])
def test_what_belongs_to_a_channel_goes_along(pads: int, kept: list[int]) -> None:
    kernels = draw(6, 1, 3, 3)
    kernels[5] = 0  # whatever it reads, it gives its bias
    between = [
        node("BatchNormalization", ["r", "scale", "shift", "mean", "var"], ["n"]),
        node("Conv", ["n", "dw", "db"], ["d"], group=6, pads=[pads] * 4),
        node("PRelu", ["d", "slope"], ["p"]),
    ]
    four = {name: draw(6) for name in ("scale", "shift", "mean", "var")}
    proto = image_network(0, *between, **four, dw=kernels, db=draw(6), slope=draw(6, 1, 1))
    smaller, report = remove(proto, 2, 2, 9, 9)
    assert units(report) == {"w1": len(kept), "dw": len(kept), "w2": 3}
    after = arrays_of(smaller)
    for name in (*four, "db"):
        np.testing.assert_array_equal(after[name], draw(6)[kept])
    np.testing.assert_array_equal(after["slope"], draw(6, 1, 1)[kept])
    np.testing.assert_array_equal(after["dw"], kernels[kept])
    group = next(a for a in smaller.graph.node[3].attribute if a.name == "group")
    assert group.i == len(kept)


def test_grouped_convolutions_keep_units() -> None:
    proto = image_network(0, node("Conv", ["r", "g"], ["p"], group=3), g=draw(6, 2, 1, 1))
    assert why(remove(proto, 2, 2, 9, 9)[1], "w1") == "goes to Conv with several groups"


def flat_network(
    shape: list[int], *, batch: int | str = "n", typed: bool = False
) -> onnx.ModelProto:
    first, second = draw(4, 1, 3, 3), draw(16, 3)
    first[1] = 0
    second[8:12] = 0
    proto = network(
        [
            node("Conv", ["x", "w1", "b1"], ["h"]),
            node("MaxPool", ["h"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
            node("Reshape", ["p", "shape"], ["f"]),
            node("Sigmoid", ["f"], ["s"]),
            node("Gemm", ["s", "w2", "b2"], ["y"]),
        ],
        [batch, 1, 6, 6],
        w1=first,
        b1=draw(4),
        w2=second,
        b2=draw(3),
        shape=np.array(shape),
    )
    if typed:
        given = helper.make_tensor("shape", TensorProto.INT64, [len(shape)], shape)
        proto.graph.initializer[4].CopyFrom(given)
    return proto


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize(
    ("shape", "after"), [([0, -1], [0, -1]), ([0, 16], [0, 8]), ([-1, 16], [-1, 8])]
)
def test_shapes_of_images_as_rows_follow(shape: list[int], after: list[int], typed: bool) -> None:
    smaller, report = remove(flat_network(shape, typed=typed), 3, 1, 6, 6)
    assert units(report) == {"w1": 2, "w2": 3}
    assert list(arrays_of(smaller)["shape"]) == after
    np.testing.assert_array_equal(
        arrays_of(smaller)["w2"], draw(16, 3)[[0, 1, 2, 3, 12, 13, 14, 15]]
    )


def test_a_reshape_that_may_mix_images_keeps_units() -> None:
    assert units(remove(flat_network([1, -1], batch=1), 1, 1, 6, 6)[1])["w1"] == 2
    # For a batch of 2, a row of 16 numbers is what this makes of two images of 8.
    proto = flat_network([1, -1])
    proto.graph.input[0].CopyFrom(value("x", "n", 1, 6, 4))
    reason = "goes to Reshape to a shape that is not known"
    assert why(remove(proto, 2, 1, 6, 4)[1], "w1") == reason
    proto = flat_network([-1, 16])
    proto.graph.input[0].CopyFrom(value("x", "n", 1, "height", "width"))
    assert why(remove(proto, 2, 1, 6, 4)[1], "w1") == reason


def test_a_shape_that_two_use_keeps_units() -> None:
    proto = flat_network([0, 16])
    proto.graph.node.append(node("Identity", ["shape"], ["z"]))
    reason = "goes to Reshape with shape, which is used elsewhere too"
    assert why(remove(proto, 3, 1, 6, 6)[1], "w1") == reason


def test_lenet5_with_nine_tenths_of_its_units_dead(
    find_model: Callable[[str], Path], digits: dict[str, Array]
) -> None:
    proto = onnx.load(find_model("lenet5"))
    arrays = {name: np.array(array) for name, array in arrays_of(proto).items()}
    rng = np.random.default_rng(2)
    wanted = {}
    names = ["conv1.weight", "conv2.weight", "fc1.weight", "fc2.weight"]
    for name, reader in itertools.pairwise(names):
        rows = len(arrays[name])
        dead = rng.permutation(rows)[: rows * 9 // 10]
        half = len(dead) // 2
        arrays[name][dead[:half]] = 0
        columns = arrays[reader].reshape(len(arrays[reader]), rows, -1)
        columns[:, dead[half:]] = 0
        wanted[name] = rows - len(dead)
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name], tensor.name))
    model = load_model(proto)
    report = remove_dead_units(model)
    assert units(report) == {**wanted, "fc2.weight": 10}
    assert wanted == {"conv1.weight": 2, "conv2.weight": 5, "fc1.weight": 50}
    sizes = {layer.name: layer.weights_after for layer in report.layers}
    assert sizes == dict(zip(names, (2 * 25, 5 * 2 * 25, 50 * 5 * 16, 10 * 50), strict=True))
    smaller = to_proto(model)
    onnx.checker.check_model(smaller, full_check=True)
    before, after = (session_run(one, digits["input"][:100]) for one in (proto, smaller))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-6 * np.abs(before).max())


def session_run(proto: onnx.ModelProto, images: Array) -> Array:
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    logits: Array = session.run(None, {"input": images})[0]
    return logits


def test_paths_that_meet_at_another_axis_keep_units() -> None:
    proto = network(
        [
            node("Conv", ["x", "w1"], ["h"]),
            node("GlobalAveragePool", ["h"], ["p"]),
            node("Flatten", ["p"], ["f"]),
            node("Mul", ["h", "f"], ["m"]),  # of as many columns as channels, rows as images
            node("Conv", ["m", "w2"], ["y"]),
        ],
        [6, 2, 8, 8],
        w1=draw(6, 2, 3, 3),
        w2=np.zeros((3, 6, 1, 1), np.float32),
    )
    assert why(remove(proto, 6, 2, 8, 8)[1], "w1") == "goes to Mul"
