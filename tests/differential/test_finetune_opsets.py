"""Operators as they were in earlier opsets, against onnxruntime: attributes that became inputs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

torch = pytest.importorskip("torch", reason="torch is not installed")

from wl_onnx import finetune  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Case:
    """A node: the shape of its input, its constants behind that, its attributes."""

    name: str
    opset: int
    shape: tuple[int, ...]
    constants: tuple[np.ndarray, ...] = ()
    num_outputs: int = 1
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        shown = "-".join(f"{key}={value}" for key, value in self.attributes.items())
        return f"{self.name}-{self.opset}-{shown}".replace(" ", "")


def case(name: str, opset: int, shape: tuple[int, ...], *constants: Any, **attributes: Any) -> Case:
    arrays = tuple(np.asarray(one) for one in constants)
    outputs = attributes.pop("num_outputs_", 1)
    return Case(name, opset, shape, arrays, outputs, attributes)


def floats(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


IMAGE = (2, 4, 7, 9)
POSITIVE = np.abs(floats(4, seed=2)) + 0.5
NORM = (floats(4), floats(4, seed=3), floats(4, seed=4), POSITIVE)

CASES = [
    *[case("Softmax", o, (2, 3, 4), axis=a) for o in (7, 11, 12, 13) for a in (0, 1, 2)],
    *[case("Softmax", o, (2, 3, 4)) for o in (7, 12, 13)],
    *[case("LogSoftmax", o, (2, 3, 4)) for o in (7, 11, 13)],
    *[case("Hardmax", o, (2, 3, 4)) for o in (7, 11, 13)],
    case("Squeeze", 7, (2, 1, 3, 1), axes=[1]),
    case("Squeeze", 11, (2, 1, 3, 1), axes=[-1]),
    case("Squeeze", 13, (2, 1, 3, 1), i64(1, -1)),
    case("Squeeze", 13, (2, 1, 3, 1)),
    case("Unsqueeze", 7, (2, 3), axes=[0, 3]),
    case("Unsqueeze", 11, (2, 3), axes=[-1, 0]),
    case("Unsqueeze", 13, (2, 3), i64(-1, 1)),
    case("ReduceSum", 7, (2, 3, 4), axes=[1], keepdims=0),
    case("ReduceSum", 11, (2, 3, 4), axes=[-1]),
    case("ReduceSum", 13, (2, 3, 4), i64(0, 2)),
    case("ReduceSum", 13, (2, 3, 4), i64(), noop_with_empty_axes=1),
    *[
        case(f"Reduce{kind}", o, (2, 3, 4), axes=[1], keepdims=0)
        for kind in ("Mean", "Max", "Min", "Prod", "L1", "L2", "LogSumExp", "SumSquare")
        for o in (7, 11, 13)
    ],
    *[case(f"Reduce{kind}", 18, (2, 3, 4), i64(-1)) for kind in ("Mean", "Max", "L2", "LogSumExp")],
    case("Clip", 7, (3, 4), min=-0.5, max=0.5),
    case("Clip", 7, (3, 4), min=-0.5),
    case("Clip", 11, (3, 4), np.float32(-0.5), np.float32(0.25)),
    case("Clip", 13, (3, 4), np.float32(0.5), np.float32(-0.5)),
    case("Pad", 7, (2, 3, 4), pads=[0, 1, 2, 1, 0, -1], value=2.5),
    case("Pad", 7, (2, 3, 4), pads=[0, 1, 2, 0, 1, 1], mode="reflect"),
    case("Pad", 11, (2, 3, 4), i64(0, 1, 2, 1, 0, 1), np.float32(1.5)),
    case("Pad", 13, (2, 3, 4), i64(0, 1, 2, 1, 0, 1), mode="edge"),
    case("Pad", 19, (2, 3, 4), i64(0, 1, 2, 1, 0, 1), mode="wrap"),
    case("Pad", 18, (2, 3, 4), i64(1, 2), np.float32(0), i64(-1)),
    case("Slice", 7, (4, 5, 6), starts=[1, -3], ends=[3, 100], axes=[0, 2]),
    case("Slice", 7, (4, 5), starts=[0, 1], ends=[-1, 3]),
    case("Slice", 10, (4, 5, 6), i64(-1, 1), i64(-100, 5), i64(0, 1), i64(-1, 2)),
    case("Slice", 13, (4, 5, 6), i64(3), i64(0), i64(-1), i64(-2)),
    case("Upsample", 7, (1, 2, 3, 4), scales=[1.0, 1.0, 2.0, 3.0], mode="nearest"),
    case("Upsample", 7, (1, 2, 3, 4), scales=[1.0, 1.0, 2.0, 1.5], mode="linear"),
    case("Upsample", 9, (1, 2, 3, 4), f32(1, 1, 2, 2), mode="nearest"),
    case("Resize", 10, (1, 2, 4, 6), f32(1, 1, 0.6, 2), mode="nearest"),
    case("Resize", 10, (1, 2, 4, 6), f32(1, 1, 0.5, 2), mode="linear"),
    *[
        case(
            "Resize", o, (1, 2, 4, 6), f32(), f32(1, 1, 0.7, 2.5),
            mode=m, coordinate_transformation_mode=t,
        )
        for o in (11, 13)
        for m in ("nearest", "linear", "cubic")
        for t in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    ],
    *[
        case("Resize", 13, (1, 2, 4, 6), f32(), f32(), i64(1, 2, 9, 3), nearest_mode=n)
        for n in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    ],
    case("Dropout", 7, (3, 4), ratio=0.3),
    case("Dropout", 10, (3, 4), ratio=0.3, num_outputs_=2),
    case("Dropout", 13, (3, 4), np.float32(0.3)),
    *[case("BatchNormalization", o, IMAGE, *NORM, epsilon=1e-3) for o in (7, 9, 14, 15)],
    case("BatchNormalization", 15, (5, 4), *NORM),
    case("InstanceNormalization", 7, IMAGE, floats(4), floats(4, seed=3)),
    case("GroupNormalization", 18, IMAGE, floats(2), floats(2, seed=3), num_groups=2),
    case("GroupNormalization", 21, IMAGE, floats(4), floats(4, seed=3), num_groups=2),
    case("LayerNormalization", 17, IMAGE, floats(7, 9), floats(7, 9, seed=3), axis=-2),
    *[case("LRN", o, IMAGE, size=s) for o in (7, 13) for s in (3, 5)],
    case("TopK", 7, (3, 6), k=2, num_outputs_=2),
    case("TopK", 10, (3, 6), i64(2), axis=0, num_outputs_=2),
    case("TopK", 11, (3, 6), i64(3), largest=0, num_outputs_=2),
    case("Split", 7, (6, 4), split=[1, 3, 2], num_outputs_=3),
    case("Split", 11, (6, 4), axis=-1, num_outputs_=2),
    case("Split", 13, (6, 4), i64(4, 2), num_outputs_=2),
    case("Split", 18, (7, 4), num_outputs=3, num_outputs_=3),
    case("Gather", 7, (4, 5), np.array([[0, 2], [1, 1]]), axis=1),
    case("Gather", 11, (4, 5), i64(-1, 0)),
    case("Gather", 13, (4, 5), np.int64(-2), axis=1),
    case("PRelu", 7, (2, 3, 4), floats(3, 1)),
    case("Gemm", 7, (3, 4), floats(5, 4), floats(5), transB=1, alpha=0.5, beta=2.0),
    case("Gemm", 11, (4, 3), floats(4, 5), transA=1),
    case("Flatten", 7, (2, 3, 4), axis=2),
    case("Flatten", 11, (2, 3, 4), axis=-1),
    case("Reshape", 7, (2, 3, 4), i64(0, -1)),
    case("Expand", 8, (3, 1), i64(2, 1, 4)),
    case("Tile", 7, (2, 3), i64(2, 1)),
    case("ConstantOfShape", 9, (2,)),
    case("CumSum", 11, (2, 3), np.int32(1), exclusive=1, reverse=1),
    case("Pow", 7, (3, 4), f32(2)),
    case("Pow", 13, (3, 4), i64(3)),
    *[
        case("Conv", 7, IMAGE, floats(6, 4, 3, 2), floats(6), auto_pad=p, strides=[2, 1])
        for p in ("SAME_UPPER", "SAME_LOWER", "VALID")
    ],
    case("Conv", 11, IMAGE, floats(6, 2, 3, 3), group=2, pads=[0, 2, 1, 1], dilations=[2, 1]),
    case("Conv", 11, (2, 4, 9), floats(6, 4, 3), floats(6), pads=[1, 1]),
    case("Conv", 11, (1, 2, 5, 6, 7), floats(3, 2, 3, 2, 3), strides=[1, 2, 2]),
    *[
        case("ConvTranspose", 11, IMAGE, floats(4, 3, 3, 3), floats(3), **keywords)
        for keywords in (
            {"strides": [2, 3], "pads": [1, 0, 0, 1], "output_padding": [1, 2]},
            {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
            {"output_shape": [15, 20], "strides": [2, 2]},
            {"dilations": [2, 1], "auto_pad": "VALID"},
        )
    ],
    *[
        case(kind, o, IMAGE, kernel_shape=[3, 2], **keywords)
        for kind, o in (("MaxPool", 7), ("MaxPool", 12), ("AveragePool", 7), ("AveragePool", 11))
        for keywords in (
            {"strides": [2, 2]},
            {"strides": [2, 2], "pads": [1, 0, 1, 1]},
            {"auto_pad": "SAME_UPPER", "strides": [2, 1]},
            {"auto_pad": "SAME_LOWER"},
        )
    ],
    *[
        case(kind, 19, IMAGE, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, **keywords)
        for kind in ("MaxPool", "AveragePool")
        for keywords in ({}, {"pads": [1, 1, 1, 1]}, {"dilations": [2, 1]})
    ],
    case("AveragePool", 11, IMAGE, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    case("MaxPool", 12, IMAGE, kernel_shape=[2, 2], pads=[1, 1, 0, 0], num_outputs_=2),
    case("LpPool", 11, IMAGE, kernel_shape=[2, 2], p=3),
]  # fmt: skip


def make_model(one: Case) -> tuple[onnx.ModelProto, np.ndarray]:
    names = ["x", *(f"c{index}" for index in range(len(one.constants)))]
    outputs = [f"y{index}" for index in range(one.num_outputs)]
    x = floats(*one.shape, seed=7)
    if one.name == "ConstantOfShape":
        x = np.array(one.shape, np.int64)
    graph = helper.make_graph(
        [helper.make_node(one.name, names, outputs, **one.attributes)],
        one.name,
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)],
        [helper.make_value_info(name, onnx.TypeProto()) for name in outputs],
        [numpy_helper.from_array(c, n) for c, n in zip(one.constants, names[1:], strict=True)],
    )
    opset = helper.make_opsetid("", one.opset)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8), x


@pytest.mark.parametrize("one", CASES, ids=str)
def test_gives_what_onnxruntime_gives(one: Case) -> None:
    torch.set_num_threads(1)
    model, x = make_model(one)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    expected = session.run(None, {"x": x})
    found = finetune.to_torch(model)(torch.from_numpy(x))
    found = found if isinstance(found, tuple) else (found,)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        array = a.detach().numpy()
        assert array.dtype == b.dtype
        assert array.shape == b.shape
        np.testing.assert_allclose(array, b, rtol=1e-4, atol=1e-5)
