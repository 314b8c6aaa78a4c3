"""The built-in recipes on weights with the names and shapes of the zoo's models."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import wl_onnx
from wl_onnx.zoo import load_manifest

# Names as the zoo's exporters gave them; shapes as published, wide ones narrower.
WEIGHTS: dict[str, dict[str, tuple[int, ...]]] = {
    "lenet5": {
        "conv1.weight": (20, 1, 5, 5), "conv2.weight": (50, 20, 5, 5), "fc1.weight": (500, 800),
        "fc2.weight": (10, 500),
    },
    "bertsquad-12": {
        "bert/embeddings/token_type_embeddings:0": (2, 768),
        "bert/encoder/layer_0/attention/self/query/kernel:0": (768, 64),
        "bert/encoder/layer_0/intermediate/dense/kernel:0": (768, 96),
    },
    "mobilenetv2-12": {
        "475": (32, 3, 3, 3), "478": (32, 1, 3, 3), "520": (960, 1, 3, 3), "523": (320, 960, 1, 1),
        "classifier.1.weight": (1000, 1280),
    },
    "resnet50-v1-12": {
        "resnetv17_conv0_weight": (64, 3, 7, 7), "resnetv17_stage1_conv2_weight": (256, 64, 1, 1),
        "resnetv17_dense0_weight": (1000, 256),
    },
    "squeezenet1.0-12": {
        "conv1_w_0": (96, 3, 7, 7), "fire2/squeeze1x1_w_0": (16, 96, 1, 1),
        "conv10_w_0": (1000, 64, 1, 1),
    },
    "vgg16-12": {
        "vgg0_conv0_weight": (64, 3, 3, 3), "vgg0_conv1_weight": (64, 64, 3, 3),
        "vgg0_dense0_weight": (512, 512), "vgg0_dense2_weight": (1000, 96),
    },
}  # fmt: skip
LEFT = {
    "bertsquad-12": {"bert/embeddings/token_type_embeddings:0"},
    "mobilenetv2-12": {"475", "478", "520"},
    "resnet50-v1-12": {"resnetv17_conv0_weight"},
    "vgg16-12": {"vgg0_conv0_weight"},
}
SHARES = {
    "lenet5": {"fc1.weight": 0.1, "fc2.weight": 0.02},
    "bertsquad-12": {"bert/encoder/layer_0/intermediate/dense/kernel:0": 0.005},
    "mobilenetv2-12": {"523": 0.002, "classifier.1.weight": 0.002},
    "resnet50-v1-12": {"resnetv17_dense0_weight": 0.005},
    "squeezenet1.0-12": {"conv1_w_0": 0.001, "conv10_w_0": 0.003},
    "vgg16-12": {
        "vgg0_conv1_weight": 0.005, "vgg0_dense0_weight": 0.02, "vgg0_dense2_weight": 0.02,
    },
}  # fmt: skip


def make_model(weights: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    """Each weight in a layer of its own: a product of two dimensions, a convolution of four."""
    rng = np.random.default_rng(0)
    nodes, inputs, outputs, tensors = [], [], [], []
    for index, (name, shape) in enumerate(weights.items()):
        values = rng.normal(size=shape).astype(np.float32)
        tensors.append(numpy_helper.from_array(values, name))
        x, y = f"x{index}", f"y{index}"
        if len(shape) == 2:
            nodes.append(helper.make_node("MatMul", [x, name], [y]))
            feed: list[int] = [1, shape[0]]
        else:
            group = shape[0] if shape[1] == 1 and shape[0] > 20 else 1
            nodes.append(helper.make_node("Conv", [x, name], [y], group=group))
            feed = [1, shape[1] * group, 14, 14]
        inputs.append(helper.make_tensor_value_info(x, TensorProto.FLOAT, feed))
        outputs.append(helper.make_tensor_value_info(y, TensorProto.FLOAT, None))
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)


@pytest.mark.parametrize("stem", WEIGHTS)
def test_a_recipe_fits_its_model(stem: str) -> None:
    (entry,) = (entry for entry in load_manifest() if entry.stem == stem)
    result = wl_onnx.compress(make_model(WEIGHTS[stem]), recipe=entry.recipe)
    tensors = {tensor["name"]: tensor for tensor in result.report["tensors"]}
    left = {name for name, tensor in tensors.items() if tensor["codec"] == "none"}
    assert left - {"conv1.weight"} == LEFT.get(stem, set())
    for name in tensors.keys() - left:
        assert tensors[name]["codec"] == "palette"
    for name, share in SHARES[stem].items():
        assert 0.5 * share < tensors[name]["error_share"] <= share
