"""ResNet-20: a module for torch, and as ONNX with BatchNormalization folded into the weights.

The network is that of K. He et al., "Deep residual learning for image recognition" (2016), section
4.2: three stages of three blocks with 16, 32 and 64 channels; a shortcut that changes the shape
takes every other pixel and pads channels with zeros (option A).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from cifar10 import IMAGE_SIZE
from image_model import INPUT, NUM_CLASSES, OUTPUT, make_image_model
from onnx import helper

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx
    from torch import Tensor, nn

STAGES = ((16, 1), (32, 2), (64, 2))
BLOCKS_PER_STAGE = 3
EPSILON = 1e-5


def build_module() -> nn.Module:
    """ResNet-20 for training, each convolution followed by BatchNormalization."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Unit(nn.Module):
        """A convolution of 3 x 3 and its normalisation."""

        def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
            super().__init__()
            self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.norm = nn.BatchNorm2d(outputs, eps=EPSILON)
            nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(x))

    class Block(nn.Module):
        """Two units beside a shortcut."""

        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.first = Unit(inputs, outputs, stride)
            self.second = Unit(outputs, outputs)
            self.stride, self.added = stride, outputs - inputs

        def forward(self, x: Tensor) -> Tensor:
            branch = self.second(functional.relu(self.first(x)))
            if self.added:
                side = self.added // 2
                x = x[:, :, :: self.stride, :: self.stride]
                x = functional.pad(x, (0, 0, 0, 0, side, self.added - side))
            return functional.relu(branch + x)

    class ResNet(nn.Module):
        """The whole network."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = Unit(3, STAGES[0][0])
            self.blocks = nn.ModuleList()
            inputs = STAGES[0][0]
            for channels, stride in STAGES:
                for index in range(BLOCKS_PER_STAGE):
                    self.blocks.append(Block(inputs, channels, stride if index == 0 else 1))
                    inputs = channels
            self.head = nn.Linear(inputs, NUM_CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            x = functional.relu(self.stem(x))
            for block in self.blocks:
                x = block(x)
            return self.head(x.mean((2, 3)))

    return ResNet().to(memory_format=torch.channels_last)


def fold(module: nn.Module) -> dict[str, npt.NDArray[np.float32]]:
    """Weights and biases by initializer name, each normalisation folded into its convolution.

    With gamma, beta, mean m and variance v of an output channel the weight is multiplied by
    g = gamma / sqrt(v + epsilon), and the bias is beta - g m (S. Ioffe and C. Szegedy, "Batch
    normalization", 2015, section 3.1).
    """
    units = {"stem": module.stem}
    for index, block in enumerate(module.blocks):
        units[f"block{index}.first"] = block.first
        units[f"block{index}.second"] = block.second
    parameters = {}
    for name, unit in units.items():
        norm = unit.norm
        gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        weight = unit.conv.weight.double() * gain[:, None, None, None]
        bias = norm.bias.double() - gain * norm.running_mean.double()
        parameters[f"{name}.weight"] = _to_float32(weight)
        parameters[f"{name}.bias"] = _to_float32(bias)
    parameters["head.weight"] = _to_float32(module.head.weight)
    parameters["head.bias"] = _to_float32(module.head.bias)
    return parameters


def _to_float32(tensor: Tensor) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().float().numpy())


def build_onnx(
    parameters: Mapping[str, npt.NDArray[np.float32]], metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """The network as ONNX, see `make_image_model`.

    Args:
        parameters: what `fold` gives.
        metadata: written to `metadata_props`.
    """
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, npt.NDArray[Any]] = {}

    def add(op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def convolve(value: str, name: str, stride: int = 1) -> str:
        inputs = [value, f"{name}.weight", f"{name}.bias"]
        return add(
            "Conv", inputs, name, kernel_shape=[3, 3], strides=[stride] * 2, pads=[1, 1, 1, 1]
        )

    value = add("Relu", [convolve(INPUT, "stem")], "stem_out")
    channels_in, index = STAGES[0][0], 0
    for channels, stage_stride in STAGES:
        for position in range(BLOCKS_PER_STAGE):
            name, stride = f"block{index}", stage_stride if position == 0 else 1
            inner = add("Relu", [convolve(value, f"{name}.first", stride)], f"{name}_inner")
            branch = convolve(inner, f"{name}.second")
            if channels != channels_in:
                value = _add_shortcut(add, constants, value, name, channels - channels_in, stride)
            value = add("Relu", [add("Add", [branch, value], f"{name}_sum")], f"{name}_out")
            channels_in, index = channels, index + 1
    value = add("Flatten", [add("GlobalAveragePool", [value], "pooled")], "features", axis=1)
    add("Gemm", [value, "head.weight", "head.bias"], OUTPUT, transB=1)
    return make_image_model(
        "resnet20",
        nodes,
        {**parameters, **constants},
        (3, IMAGE_SIZE, IMAGE_SIZE),
        metadata=metadata,
        producer="models/resnet.py",
    )


def _add_shortcut(
    add: Callable[..., str],
    constants: dict[str, npt.NDArray[Any]],
    value: str,
    name: str,
    added: int,
    stride: int,
) -> str:
    """Every other pixel, and zeros for the channels that are added."""
    constants["slice_starts"] = np.array([0, 0], np.int64)
    constants["slice_ends"] = np.array([IMAGE_SIZE, IMAGE_SIZE], np.int64)
    constants["slice_axes"] = np.array([2, 3], np.int64)
    constants["slice_steps"] = np.array([stride, stride], np.int64)
    side = added // 2
    constants[f"{name}_pads"] = np.array([0, side, 0, 0, 0, added - side, 0, 0], np.int64)
    slices = [value, "slice_starts", "slice_ends", "slice_axes", "slice_steps"]
    return add("Pad", [add("Slice", slices, f"{name}_slice"), f"{name}_pads"], f"{name}_shortcut")
