"""Trains LeNet-300-100 or LeNet-5 on MNIST and writes it as ONNX.

    python models/lenet.py --data mnist.npz --model lenet5 --out lenet5.onnx
    python models/lenet.py --data mnist.npz --digits digits.npz

Needs numpy, onnx, onnxruntime, rich and, for training, torch: `pip install ".[models]"`.

Both networks are those of Caffe and of most papers on compression: LeNet-300-100 has two hidden
layers with ReLU; LeNet-5 has 20 and 50 filters of 5 x 5, each layer followed by max pooling and by
nothing else, then 500 hidden units with ReLU (Y. LeCun et al., "Gradient-based learning applied to
document recognition", 1998; Caffe's examples/mnist/lenet.prototxt). The input is `input`, float32
[N, 1, 28, 28] in 0..1, the output `logits`, float32 [N, 10]; the initializers are named
`conv1.weight`, `conv1.bias` and so on.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gzip
import math
import os
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
    from torch import Tensor

OPSET = 18
IR_VERSION = 8
NUM_CLASSES = 10
IMAGE_SIZE = 28
BATCH_SIZE = 128

# A random affine map of each training image.
MAX_ROTATION_RAD = math.radians(10)
MAX_SCALE_LOG = 0.1
MAX_SHIFT = 2 / 14  # two pixels, where the image spans -1..1

MAX_LEARNING_RATE = 0.1
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4

SPLITS = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


class LeNetError(ValueError):
    """What the caller gave cannot be used; the message is one line."""


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


def read_mnist(path: Path) -> dict[str, npt.NDArray[np.uint8]]:
    """MNIST as x_train, y_train, x_test and y_test.

    Args:
        path: an `.npz` with arrays of these four names, or a folder with the four original files
            (`train-images-idx3-ubyte` and so on, compressed with gzip or not).

    Returns:
        Images uint8 [n, 28, 28] and labels uint8 [n] in 0..9.

    Raises:
        LeNetError: a file is missing, damaged, or does not hold MNIST's shapes.
    """
    arrays = _read_folder(path) if path.is_dir() else _read_npz(path)
    for split in ("train", "test"):
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
        if x.dtype != np.uint8 or x.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE) or not len(x):
            raise LeNetError(
                f"cannot read {path}: x_{split} must be uint8 [n, 28, 28], got {x.dtype} "
                f"{list(x.shape)}"
            )
        if y.shape != (len(x),) or y.dtype.kind not in "iu" or y.min() < 0 or y.max() > 9:
            raise LeNetError(
                f"cannot read {path}: y_{split} must be {len(x)} whole numbers in 0..9, got "
                f"{y.dtype} {list(y.shape)}"
            )
        arrays[f"y_{split}"] = y.astype(np.uint8)
    return arrays


def _read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it holds a single array")
        with archive:
            return {name: archive[name] for name in SPLITS}
    except KeyError as error:
        raise LeNetError(
            f"cannot read {path}: it must hold {', '.join(SPLITS)}, got no such array: {error}"
        ) from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise LeNetError(
            f"cannot read {path}: it must be an .npz file or a folder with MNIST's four files, "
            f"got: {reason}"
        ) from error


def _read_folder(folder: Path) -> dict[str, npt.NDArray[Any]]:
    arrays = {}
    for name, stem in SPLITS.items():
        stems = (stem, stem.replace("-idx", ".idx"))
        candidates = [folder / f"{s}{suffix}" for s in stems for suffix in ("", ".gz")]
        path = next((c for c in candidates if c.is_file()), None)
        if path is None:
            raise LeNetError(
                f"cannot read {folder}: it must hold MNIST's four files, got no {stem}[.gz]"
            )
        arrays[name] = read_idx(path)
    return arrays


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """The array in an idx file of unsigned bytes, compressed with gzip or not.

    Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database": two zero bytes, 8 for unsigned
    bytes, the number of dimensions, each dimension as a big-endian uint32, the data.

    Raises:
        LeNetError: the file is damaged or holds another type.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise LeNetError(f"cannot read {path}: it must be a gzip file, got: {error}") from error
    if len(data) < 4 or data[:3] != b"\0\0\x08" or len(data) < 4 + 4 * data[3]:
        raise LeNetError(
            f"cannot read {path}: an idx file of bytes must begin with 00 00 08, got "
            f"{data[:4].hex(' ') or 'nothing'}"
        )
    header = 4 + 4 * data[3]
    shape = [int(size) for size in np.frombuffer(data[4:header], ">u4")]
    if len(data) - header != math.prod(shape):
        raise LeNetError(
            f"cannot read {path}: {shape} must be followed by {math.prod(shape)} bytes, got "
            f"{len(data) - header}"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def to_input(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Images uint8 [n, 28, 28] as the networks' input, float32 [n, 1, 28, 28] in 0..1."""
    return images[:, np.newaxis].astype(np.float32) / np.float32(255)


def write_digits(path: Path, mnist: Mapping[str, npt.NDArray[np.uint8]], count: int) -> None:
    """Writes the first test digits as `input` and `labels` (int64), samples along axis 0."""
    count = min(count, len(mnist["x_test"]))
    with _replacing(path) as temporary:
        np.savez_compressed(
            temporary,
            input=to_input(mnist["x_test"][:count]),
            labels=mnist["y_test"][:count].astype(np.int64),
        )


def train(
    layers: tuple[Layer, ...],
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.uint8],
    *,
    epochs: int,
    seed: int,
    progress: Callable[[int, int, float], None],
) -> dict[str, npt.NDArray[np.float32]]:
    """Trains a network with SGD, one cycle of the learning rate, and random affine maps.

    Args:
        layers: the network.
        images: uint8 [n, 28, 28].
        labels: uint8 [n].
        epochs: passes over the images.
        seed: seed of the first weights, the order and the maps. The same seed gives the same
            weights on the same machine, not on every one.
        progress: called after each step with (steps done, steps in all, mean loss of late).

    Returns:
        The parameters by name.

    Raises:
        LeNetError: torch is not installed.
    """
    try:
        import torch
        from torch.nn import functional
    except ImportError as error:
        raise LeNetError(
            'cannot train: torch is not installed; pip install "wl-onnx[models]"'
        ) from error

    generator = torch.Generator().manual_seed(seed)
    parameters = _first_parameters(layers, generator)
    x = torch.from_numpy(to_input(images))
    y = torch.from_numpy(labels.astype(np.int64))
    num_batches = max(1, len(x) // BATCH_SIZE)
    num_steps = epochs * num_batches
    optimizer = torch.optim.SGD(
        parameters.values(),
        lr=MAX_LEARNING_RATE,
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
        nesterov=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, MAX_LEARNING_RATE, total_steps=num_steps + 1, cycle_momentum=False
    )
    mean_loss = math.nan
    for step in range(num_steps):
        if step % num_batches == 0:
            order = torch.randperm(len(x), generator=generator)
        start = (step % num_batches) * BATCH_SIZE
        batch = order[start : start + BATCH_SIZE]
        logits = _forward(layers, parameters, _warp(x[batch], generator))
        loss = functional.cross_entropy(logits, y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        mean_loss = loss.item() if step == 0 else 0.98 * mean_loss + 0.02 * loss.item()
        progress(step + 1, num_steps, mean_loss)
    return {name: tensor.detach().numpy() for name, tensor in parameters.items()}


def _first_parameters(layers: tuple[Layer, ...], generator: Any) -> dict[str, Tensor]:
    """Weights and biases uniform in +-1/sqrt(inputs), as torch's own layers draw them."""
    import torch

    parameters = {}
    for layer in layers:
        if layer.name:
            bound = 1 / math.sqrt(math.prod(layer.shape[1:]))
            for suffix, shape in (("weight", layer.shape), ("bias", layer.shape[:1])):
                tensor = torch.empty(shape).uniform_(-bound, bound, generator=generator)
                parameters[f"{layer.name}.{suffix}"] = tensor.requires_grad_()
    return parameters


def _forward(layers: tuple[Layer, ...], parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
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


def _warp(images: Tensor, generator: Any) -> Tensor:
    """Each image under a random rotation, scale and shift of its own."""
    import torch
    from torch.nn import functional

    def uniform(bound: float, *shape: int) -> Tensor:
        return torch.empty(len(images), *shape).uniform_(-bound, bound, generator=generator)

    angle, scale = uniform(MAX_ROTATION_RAD), uniform(MAX_SCALE_LOG).exp()
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    rows = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
    maps = torch.cat([rows, uniform(MAX_SHIFT, 2, 1)], 2)
    grid = functional.affine_grid(maps, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def build_onnx(
    name: str,
    parameters: Mapping[str, npt.NDArray[np.float32]],
    metadata: Mapping[str, str],
) -> onnx.ModelProto:
    """The network as ONNX, opset 18 and IR version 8, checked by onnx.

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
    nodes, value = [], "input"
    layers = MODELS[name]
    for index, layer in enumerate(layers):
        weights = [f"{layer.name}.weight", f"{layer.name}.bias"] if layer.name else []
        node_name = layer.name or f"{layer.op.lower()}{index}"
        output = "logits" if index == len(layers) - 1 else f"{node_name}_out"
        nodes.append(
            helper.make_node(
                layer.op, [value, *weights], [output], name=node_name, **attributes[layer.op]
            )
        )
        value = output
    image: list[str | int | None] = ["N", 1, IMAGE_SIZE, IMAGE_SIZE]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", NUM_CLASSES])],
        [numpy_helper.from_array(array, key) for key, array in parameters.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="wl_onnx models/lenet.py",
    )
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    return model


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
        handle, name = tempfile.mkstemp(suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise LeNetError(
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
    parser = argparse.ArgumentParser(description="Trains a LeNet on MNIST and writes it as ONNX.")
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz, or MNIST's folder")
    parser.add_argument("--model", choices=sorted(MODELS), default="lenet5")
    parser.add_argument("--out", type=Path, help="the ONNX file to write")
    parser.add_argument("--digits", type=Path, help="an .npz of test digits to write")
    parser.add_argument("--num-digits", type=int, default=1000, help="default 1000")
    parser.add_argument("--epochs", type=int, default=12, help="default 12")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    options = parser.parse_args(arguments)
    if options.out is None and options.digits is None:
        parser.error("nothing to do: give --out, --digits or both")
    if options.epochs < 1 or options.num_digits < 1:
        parser.error("--epochs and --num-digits must be at least 1")
    if options.digits is not None and options.digits.suffix != ".npz":
        parser.error(f"--digits must end in .npz, got {options.digits}")
    return options


def _run(options: argparse.Namespace) -> None:
    console = Console()
    for path in (options.out, options.digits):
        if path is not None and not path.absolute().parent.is_dir():
            raise LeNetError(f"cannot write {path}: its folder must exist, got none")
    mnist = read_mnist(options.data)
    if options.digits is not None:
        write_digits(options.digits, mnist, options.num_digits)
        size_bytes = options.digits.stat().st_size
        console.print(f"{options.digits}: {size_bytes:,} bytes", soft_wrap=True)
    if options.out is None:
        return
    bar = Progress(
        TextColumn(f"training {options.model}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        console=console,
    )
    with bar:
        task = bar.add_task("", total=None, loss=math.nan)
        parameters = train(
            MODELS[options.model],
            mnist["x_train"],
            mnist["y_train"],
            epochs=options.epochs,
            seed=options.seed,
            progress=lambda done, total, loss: bar.update(
                task, completed=done, total=total, loss=loss
            ),
        )
    model = build_onnx(options.model, parameters, {})
    accuracy = measure_accuracy(model, mnist["x_test"], mnist["y_test"])
    metadata = {
        "dataset": "MNIST",
        "test_accuracy": f"{accuracy:.4f}",
        "epochs": str(options.epochs),
        "seed": str(options.seed),
    }
    helper.set_model_props(model, metadata)
    with _replacing(options.out) as temporary:
        onnx.save(model, temporary)
    console.print(
        f"{options.out}: {options.out.stat().st_size:,} bytes, "
        f"test accuracy {100 * accuracy:.2f} % in onnxruntime",
        soft_wrap=True,
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; 0 on success, 1 after one line on stderr."""
    try:
        _run(_parse(arguments))
    except LeNetError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
