"""Trains LeNet-300-100 or LeNet-5 on MNIST and writes it as ONNX.

    python models/lenet.py --data mnist.npz --model lenet5 --out lenet5.onnx
    python models/lenet.py --data mnist.npz --digits digits.npz

Needs numpy, onnx, onnxruntime, rich and, for training, torch: `pip install ".[models]"`.

The networks are those of `lenet_network.py`. The input is `input`, float32 [N, 1, 28, 28] in 0..1,
the output `logits`, float32 [N, 10]; the initializers are named `conv1.weight`, `conv1.bias` and so
on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from accuracy import measure_accuracy
from image_model import write_measured
from lenet_network import MODELS, Layer, build_onnx, draw_parameters, forward
from mnist import read_mnist, to_input
from rich.console import Console
from script_command import run_script
from script_files import check_folder, replacing
from training import BATCH_SIZE, Descent, load_augmentation, require_torch, training_bar

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_LEARNING_RATE = 0.1


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
        ScriptError: torch is not installed.
    """
    require_torch()
    import torch
    from torch.nn import functional

    generator = torch.Generator().manual_seed(seed)
    parameters = draw_parameters(layers, generator)
    x = torch.from_numpy(to_input(images))
    y = torch.from_numpy(labels.astype(np.int64))
    augment = load_augmentation("affine")
    num_batches = max(1, len(x) // BATCH_SIZE)
    num_steps = epochs * num_batches
    descent = Descent(parameters.values(), MAX_LEARNING_RATE, num_steps)
    for step in range(num_steps):
        if step % num_batches == 0:
            order = torch.randperm(len(x), generator=generator)
        start = (step % num_batches) * BATCH_SIZE
        batch = order[start : start + BATCH_SIZE]
        logits = forward(layers, parameters, augment(x[batch], generator))
        descent.step(functional.cross_entropy(logits, y[batch]))
        progress(step + 1, num_steps, descent.mean_loss)
    return {name: tensor.detach().numpy() for name, tensor in parameters.items()}


def write_digits(path: Path, mnist: Mapping[str, npt.NDArray[np.uint8]], count: int) -> None:
    """Writes the first test digits as `input` and `labels` (int64), samples along axis 0."""
    count = min(count, len(mnist["x_test"]))
    with replacing(path) as temporary:
        np.savez_compressed(
            temporary,
            input=to_input(mnist["x_test"][:count]),
            labels=mnist["y_test"][:count].astype(np.int64),
        )


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
        if path is not None:
            check_folder(path)
    mnist = read_mnist(options.data)
    if options.digits is not None:
        write_digits(options.digits, mnist, options.num_digits)
        size_bytes = options.digits.stat().st_size
        console.print(f"{options.digits}: {size_bytes:,} bytes", soft_wrap=True)
    if options.out is None:
        return
    with training_bar(options.model, console) as progress:
        parameters = train(
            MODELS[options.model],
            mnist["x_train"],
            mnist["y_train"],
            epochs=options.epochs,
            seed=options.seed,
            progress=progress,
        )
    model = build_onnx(options.model, parameters, {})
    line = write_measured(
        options.out,
        model,
        dataset="MNIST",
        accuracy=measure_accuracy(model, mnist["x_test"], mnist["y_test"], to_input),
        run={"epochs": options.epochs, "seed": options.seed},
    )
    console.print(line, soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; 0 on success, 1 after one line on stderr."""
    return run_script(lambda: _run(_parse(arguments)))


if __name__ == "__main__":
    sys.exit(main())
