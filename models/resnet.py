"""Trains ResNet-20 on CIFAR-10 and writes it as ONNX, BatchNormalization folded into the weights.

    python models/resnet.py --data cifar10.npz --out resnet20.onnx

Needs numpy, onnx, onnxruntime, rich and torch: `pip install ".[models]"`. On two cores with
bfloat16 it takes an hour; a run that was interrupted goes on from its last epoch.

The network is that of K. He et al., "Deep residual learning for image recognition" (2016), section
4.2: three stages of three blocks with 16, 32 and 64 channels; a shortcut that changes the shape
takes every other pixel and pads channels with zeros (option A). The input is `input`, float32
[N, 3, 32, 32], RGB in 0..1 less the mean of each channel over its deviation; the output `logits`,
float32 [N, 10].
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import pickle
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor, nn

OPSET = 18
IR_VERSION = 8
NUM_CLASSES = 10
IMAGE_SIZE = 32
STAGES = ((16, 1), (32, 2), (64, 2))
BLOCKS_PER_STAGE = 3
MEAN = (0.4914, 0.4822, 0.4465)
DEVIATION = (0.2470, 0.2435, 0.2616)

BATCH_SIZE = 128
MAX_LEARNING_RATE = 0.2
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
MAX_SHIFT = 4  # pixels
EPSILON = 1e-5


class ResNetError(ValueError):
    """What the caller gave cannot be used; the message is one line."""


def read_cifar10(path: Path) -> dict[str, npt.NDArray[np.uint8]]:
    """CIFAR-10 as x_train, y_train, x_test and y_test.

    Args:
        path: an `.npz` with arrays of these four names, or the folder `cifar-10-batches-bin` of the
            binary version.

    Returns:
        Images uint8 [n, 32, 32, 3] in RGB and labels uint8 [n] in 0..9.

    Raises:
        ResNetError: a file is missing, damaged, or does not hold CIFAR-10's shapes.
    """
    arrays = _read_folder(path) if path.is_dir() else _read_npz(path)
    for split in ("train", "test"):
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
        if x.dtype != np.uint8 or x.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE, 3) or not len(x):
            raise ResNetError(
                f"cannot read {path}: x_{split} must be uint8 [n, 32, 32, 3], got {x.dtype} "
                f"{list(x.shape)}"
            )
        if y.shape != (len(x),) or y.dtype.kind not in "iu" or y.min() < 0 or y.max() > 9:
            raise ResNetError(
                f"cannot read {path}: y_{split} must be {len(x)} whole numbers in 0..9, got "
                f"{y.dtype} {list(y.shape)}"
            )
        arrays[f"y_{split}"] = y.astype(np.uint8)
    return arrays


def _read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    names = [f"{kind}_{split}" for split in ("train", "test") for kind in "xy"]
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it holds a single array")
        with archive:
            return {name: archive[name] for name in names}
    except KeyError as error:
        raise ResNetError(
            f"cannot read {path}: it must hold {', '.join(names)}, got no such array: {error}"
        ) from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ResNetError(f"cannot read {path}: it must be an .npz file, got: {reason}") from error


def _read_folder(folder: Path) -> dict[str, npt.NDArray[np.uint8]]:
    """The binary version: of each image a byte for the label, then red, green and blue planes."""
    files = {
        "train": [folder / f"data_batch_{index}.bin" for index in range(1, 6)],
        "test": [folder / "test_batch.bin"],
    }
    arrays = {}
    record_bytes = 1 + 3 * IMAGE_SIZE**2
    for split, paths in files.items():
        records = []
        for path in paths:
            try:
                data = np.fromfile(path, np.uint8)
            except OSError as error:
                raise ResNetError(
                    f"cannot read {folder}: it must hold CIFAR-10's binary files, got no "
                    f"{path.name}"
                ) from error
            if not data.size or data.size % record_bytes:
                raise ResNetError(
                    f"cannot read {path}: it must hold records of {record_bytes} bytes, got "
                    f"{data.size} bytes"
                )
            records.append(data.reshape(-1, record_bytes))
        table = np.concatenate(records)
        planes = table[:, 1:].reshape(-1, 3, IMAGE_SIZE, IMAGE_SIZE)
        arrays[f"x_{split}"] = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
        arrays[f"y_{split}"] = table[:, 0].copy()
    return arrays


def to_input(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Images uint8 [n, 32, 32, 3] as the network's input, float32 [n, 3, 32, 32]."""
    scaled = images.astype(np.float32) / np.float32(255)
    normal = (scaled - np.float32(MEAN)) / np.float32(DEVIATION)
    return np.ascontiguousarray(normal.transpose(0, 3, 1, 2))


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


def train(
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.uint8],
    *,
    epochs: int,
    seed: int,
    checkpoint: Path,
    progress: Callable[[int, int, float], None],
) -> dict[str, npt.NDArray[np.float32]]:
    """Trains with SGD, one cycle of the learning rate, random shifts and mirroring, in bfloat16.

    Args:
        images: uint8 [n, 32, 32, 3].
        labels: uint8 [n].
        epochs: passes over the images.
        seed: seed of the first weights, the order, the shifts and the mirroring.
        checkpoint: file in which the state is kept after each epoch; a run goes on from it, and it
            is removed at the end.
        progress: called after each step with (steps done, steps in all, mean loss of late).

    Returns:
        Weights and biases by initializer name, BatchNormalization folded into them.

    Raises:
        ResNetError: torch is not installed.
    """
    try:
        import torch
        from torch.nn import functional
    except ImportError as error:
        raise ResNetError(
            'cannot train: torch is not installed; pip install "wl-onnx[models]"'
        ) from error

    torch.manual_seed(seed)
    module = build_module()
    x = torch.from_numpy(to_input(images))
    padded = functional.pad(x, (MAX_SHIFT,) * 4)
    y = torch.from_numpy(labels.astype(np.int64))
    num_batches = max(1, len(x) // BATCH_SIZE)
    optimizer = torch.optim.SGD(
        module.parameters(),
        lr=MAX_LEARNING_RATE,
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
        nesterov=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        MAX_LEARNING_RATE,
        total_steps=epochs * num_batches + 1,
        pct_start=0.2,
        anneal_strategy="linear",
        cycle_momentum=False,
    )
    first_epoch = _resume(checkpoint, module, optimizer, schedule, (epochs, seed, len(x)))
    mean_loss = math.nan
    for epoch in range(first_epoch, epochs):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = torch.randperm(len(x), generator=generator)
        for index in range(num_batches):
            batch = order[index * BATCH_SIZE : (index + 1) * BATCH_SIZE]
            inputs = _augment(padded, batch, generator)
            with torch.autocast("cpu", torch.bfloat16):
                logits = module(inputs.contiguous(memory_format=torch.channels_last))
            loss = functional.cross_entropy(logits.float(), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            mean_loss = loss.item() if math.isnan(mean_loss) else mean_loss
            mean_loss = 0.98 * mean_loss + 0.02 * loss.item()
            progress(epoch * num_batches + index + 1, epochs * num_batches, mean_loss)
        with _replacing(checkpoint) as temporary:
            torch.save(
                {
                    "run": (epochs, seed, len(x)),
                    "epoch": epoch + 1,
                    "module": module.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                },
                temporary,
            )
    _measure_statistics(module, x)
    return fold(module)


def _resume(
    checkpoint: Path, module: nn.Module, optimizer: Any, schedule: Any, run: tuple[int, ...]
) -> int:
    """Loads the state of the same run, if there is one; gives the next epoch."""
    import torch

    if not checkpoint.exists():
        return 0
    try:
        state = torch.load(checkpoint, weights_only=True)
        if tuple(state["run"]) != run:
            raise ValueError("one of another run")
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        return int(state["epoch"])
    except (OSError, ValueError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ResNetError(
            f"cannot go on from {checkpoint}: it must be a checkpoint of this run, got: {reason}; "
            "remove it to begin anew"
        ) from error


def _augment(padded: Tensor, batch: Tensor, generator: Any) -> Tensor:
    """The images of a batch, each shifted by up to `MAX_SHIFT` pixels, half of them mirrored."""
    import torch

    count = len(batch)
    offsets = torch.randint(0, 2 * MAX_SHIFT + 1, (2, count, 1), generator=generator)
    columns = torch.arange(IMAGE_SIZE).expand(count, -1)
    is_mirrored = torch.rand(count, 1, generator=generator) < 0.5
    columns = torch.where(is_mirrored, IMAGE_SIZE - 1 - columns, columns) + offsets[0]
    rows = torch.arange(IMAGE_SIZE) + offsets[1]
    return padded[
        batch[:, None, None, None],
        torch.arange(3)[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


def _measure_statistics(module: nn.Module, x: Tensor) -> None:
    """Means and variances anew in float32, over images as they are.

    Those of the training are of moving weights, in bfloat16 and of shifted images.
    """
    import torch

    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.reset_running_stats()
            part.momentum = None  # the mean of all batches
    module.train()
    with torch.no_grad():
        for start in range(0, min(len(x), 10_000), 500):
            module(x[start : start + 500].contiguous(memory_format=torch.channels_last))
    module.eval()


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
    """The network as ONNX, opset 18 and IR version 8, checked by onnx.

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

    value = add("Relu", [convolve("input", "stem")], "stem_out")
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
    add("Gemm", [value, "head.weight", "head.bias"], "logits", transB=1)
    image: list[str | int | None] = ["N", 3, IMAGE_SIZE, IMAGE_SIZE]
    graph = helper.make_graph(
        nodes,
        "resnet20",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", NUM_CLASSES])],
        [numpy_helper.from_array(array, key) for key, array in {**parameters, **constants}.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="wl_onnx models/resnet.py",
    )
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    return model


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


def measure_accuracy(
    model: onnx.ModelProto, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]
) -> float:
    """Share of images, in 0..1, that the model classifies rightly in onnxruntime."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    correct = 0
    for start in range(0, len(images), 1000):
        (logits,) = session.run(None, {"input": to_input(images[start : start + 1000])})
        correct += int((logits.argmax(axis=1) == labels[start : start + 1000]).sum())
    return correct / len(images)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place where the block succeeds."""
    try:
        handle, name = tempfile.mkstemp(suffix=path.suffix, dir=path.absolute().parent)
    except OSError as error:
        raise ResNetError(
            f"cannot write {path}: its folder must be writable, got: {error.strerror}"
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trains ResNet-20 on CIFAR-10, writes it as ONNX.")
    parser.add_argument("--data", type=Path, required=True, help="cifar10.npz or CIFAR-10's folder")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--epochs", type=int, default=64, help="default 64")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--threads", type=int, default=0, help="default: torch's own choice")
    parser.add_argument(
        "--held-out", type=int, default=4000, help="training images kept apart; default 4000"
    )
    options = parser.parse_args(arguments)
    if options.epochs < 1 or options.held_out < 0 or options.threads < 0:
        parser.error("--epochs must be at least 1, --held-out and --threads at least 0")
    return options


def _run(options: argparse.Namespace) -> None:
    console = Console()
    if not options.out.absolute().parent.is_dir():
        raise ResNetError(f"cannot write {options.out}: its folder must exist, got none")
    cifar10 = read_cifar10(options.data)
    count = len(cifar10["x_train"]) - options.held_out
    if count < 1:
        raise ResNetError(
            f"cannot train: --held-out must leave images, got {options.held_out} of "
            f"{len(cifar10['x_train'])}"
        )
    if options.threads:
        with contextlib.suppress(ImportError):
            import torch

            torch.set_num_threads(options.threads)
    bar = Progress(
        TextColumn("training resnet20"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        console=console,
    )
    checkpoint = options.out.with_suffix(".checkpoint")
    with bar:
        task = bar.add_task("", total=None, loss=math.nan)
        parameters = train(
            cifar10["x_train"][:count],
            cifar10["y_train"][:count],
            epochs=options.epochs,
            seed=options.seed,
            checkpoint=checkpoint,
            progress=lambda done, total, loss: bar.update(
                task, completed=done, total=total, loss=loss
            ),
        )
    model = build_onnx(parameters, {})
    accuracy = measure_accuracy(model, cifar10["x_test"], cifar10["y_test"])
    metadata = {
        "dataset": "CIFAR-10",
        "test_accuracy": f"{accuracy:.4f}",
        "epochs": str(options.epochs),
        "seed": str(options.seed),
        "held_out": str(options.held_out),
    }
    helper.set_model_props(model, metadata)
    with _replacing(options.out) as temporary:
        onnx.save(model, temporary)
    checkpoint.unlink(missing_ok=True)
    console.print(
        f"{options.out}: {options.out.stat().st_size:,} bytes, "
        f"test accuracy {100 * accuracy:.2f} % in onnxruntime",
        soft_wrap=True,
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; 0 on success, 1 after one line on stderr."""
    try:
        _run(_parse(arguments))
    except ResNetError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
