"""LeNet-300-100 and LeNet-5: their layers, in torch and as ONNX.

Both are those of Caffe and of most papers on compression: LeNet-300-100 has two hidden layers with
ReLU; LeNet-5 has 20 and 50 filters of 5 x 5, each layer followed by max pooling and by nothing
else, then 500 hidden units with ReLU (Y. LeCun et al., "Gradient-based learning applied to document
recognition", 1998; Caffe's examples/mnist/lenet.prototxt).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from image_model import INPUT, OUTPUT, make_image_model
from mnist import IMAGE_SIZE
from onnx import helper

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import onnx
    from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer: the name of an ONNX operator, and its weight where it has one.

    Attributes:
        op: "Conv" (5 x 5, no padding), "MaxPool" (2 x 2), "Flatten", "Gemm" or "Relu".
        name: prefix of the parameters `name.weight` and `name.bias`; "" where there are none.
        shape: shape of the weight, output channels first.
    """

    op: str
    name: str = ""
    shape: tuple[int, ...] = ()


MODELS: dict[str, tuple[Layer, ...]] = {
    "lenet300": (
        Layer("Flatten"),
        Layer("Gemm", "fc1", (300, 784)),
        Layer("Relu"),
        Layer("Gemm", "fc2", (100, 300)),
        Layer("Relu"),
        Layer("Gemm", "fc3", (10, 100)),
    ),
    "lenet5": (
        Layer("Conv", "conv1", (20, 1, 5, 5)),
        Layer("MaxPool"),
        Layer("Conv", "conv2", (50, 20, 5, 5)),
        Layer("MaxPool"),
        Layer("Flatten"),
        Layer("Gemm", "fc1", (500, 800)),
        Layer("Relu"),
        Layer("Gemm", "fc2", (10, 500)),
    ),
}


def draw_parameters(layers: tuple[Layer, ...], generator: Any) -> dict[str, Tensor]:
    """Weights and biases uniform in +-1/sqrt(inputs), as torch's own layers draw them.

    Args:
        layers: the network.
        generator: torch's, from which they are drawn.

    Returns:
        float32 tensors that train, by name.
    """
    import torch

    parameters = {}
    for layer in layers:
        if layer.name:
            bound = 1 / math.sqrt(math.prod(layer.shape[1:]))
            for suffix, shape in (("weight", layer.shape), ("bias", layer.shape[:1])):
                tensor = torch.empty(shape).uniform_(-bound, bound, generator=generator)
                parameters[f"{layer.name}.{suffix}"] = tensor.requires_grad_()
    return parameters


def forward(layers: tuple[Layer, ...], parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The logits [n, 10] of images [n, 1, 28, 28], for training."""
    from torch.nn import functional

    for layer in layers:
        if layer.op == "Conv":
            x = functional.conv2d(
                x, parameters[f"{layer.name}.weight"], parameters[f"{layer.name}.bias"]
            )
        elif layer.op == "Gemm":
            x = functional.linear(
                x, parameters[f"{layer.name}.weight"], parameters[f"{layer.name}.bias"]
            )
        elif layer.op == "MaxPool":
            x = functional.max_pool2d(x, 2)
        elif layer.op == "Flatten":
            x = x.flatten(1)
        else:
            x = functional.relu(x)
    return x


def build_onnx(
    name: str,
    parameters: Mapping[str, npt.NDArray[np.float32]],
    metadata: Mapping[str, str],
) -> onnx.ModelProto:
    """The network as ONNX, see `make_image_model`.

    Args:
        name: key of `MODELS`.
        parameters: float32 arrays by name, of the shapes that the layers give.
        metadata: written to `metadata_props`.
    """
    attributes: dict[str, dict[str, Any]] = {
        "Conv": {"kernel_shape": [5, 5]},
        "MaxPool": {"kernel_shape": [2, 2], "strides": [2, 2]},
        "Flatten": {"axis": 1},
        "Gemm": {"transB": 1},
        "Relu": {},
    }
    nodes, value = [], INPUT
    layers = MODELS[name]
    for index, layer in enumerate(layers):
        weights = [f"{layer.name}.weight", f"{layer.name}.bias"] if layer.name else []
        node_name = layer.name or f"{layer.op.lower()}{index}"
        output = OUTPUT if index == len(layers) - 1 else f"{node_name}_out"
        nodes.append(
            helper.make_node(
                layer.op, [value, *weights], [output], name=node_name, **attributes[layer.op]
            )
        )
        value = output
    return make_image_model(
        name,
        nodes,
        parameters,
        (1, IMAGE_SIZE, IMAGE_SIZE),
        metadata=metadata,
        producer="models/lenet.py",
    )
