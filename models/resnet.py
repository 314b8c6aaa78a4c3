"""Trains ResNet-20 on CIFAR-10 and writes it as ONNX, BatchNormalization folded into the weights.

    python models/resnet.py --data cifar10.npz --out resnet20.onnx

Needs numpy, onnx, onnxruntime, rich and torch: `pip install ".[models]"`. On two cores with
bfloat16 it takes an hour; a run that was interrupted goes on from its last epoch.

The network is that of `resnet_network.py`. The input is `input`, float32 [N, 3, 32, 32], RGB in
0..1 less the mean of each channel over its deviation; the output `logits`, float32 [N, 10].
"""

from __future__ import annotations

import argparse
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from accuracy import measure_accuracy
from cifar10 import read_cifar10, to_input
from image_model import write_measured
from resnet_network import build_module, build_onnx, fold
from rich.console import Console
from script_command import ScriptError, run_script
from script_files import check_folder, replacing
from training import (
    BATCH_SIZE,
    Descent,
    load_augmentation,
    require_torch,
    set_threads,
    training_bar,
)

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor, nn

MAX_LEARNING_RATE = 0.2


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
        ScriptError: torch is not installed, or the checkpoint is of another run.
    """
    require_torch()
    import torch
    from torch.nn import functional

    torch.manual_seed(seed)
    module = build_module()
    x = torch.from_numpy(to_input(images))
    y = torch.from_numpy(labels.astype(np.int64))
    augment = load_augmentation("mirror")
    num_batches = max(1, len(x) // BATCH_SIZE)
    num_steps = epochs * num_batches
    descent = Descent(
        module.parameters(), MAX_LEARNING_RATE, num_steps, pct_start=0.2, anneal_strategy="linear"
    )
    first_epoch = _resume(checkpoint, module, descent, (epochs, seed, len(x)))
    for epoch in range(first_epoch, epochs):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = torch.randperm(len(x), generator=generator)
        for index in range(num_batches):
            batch = order[index * BATCH_SIZE : (index + 1) * BATCH_SIZE]
            inputs = augment(x[batch], generator)
            with torch.autocast("cpu", torch.bfloat16):
                logits = module(inputs.contiguous(memory_format=torch.channels_last))
            descent.step(functional.cross_entropy(logits.float(), y[batch]))
            progress(epoch * num_batches + index + 1, num_steps, descent.mean_loss)
        with replacing(checkpoint) as temporary:
            torch.save(
                {
                    "run": (epochs, seed, len(x)),
                    "epoch": epoch + 1,
                    "module": module.state_dict(),
                    "optimizer": descent.optimizer.state_dict(),
                    "schedule": descent.schedule.state_dict(),
                },
                temporary,
            )
    _measure_statistics(module, x)
    return fold(module)


def _resume(checkpoint: Path, module: nn.Module, descent: Descent, run: tuple[int, ...]) -> int:
    """Loads the state of the same run, if there is one; gives the next epoch."""
    import torch

    if not checkpoint.exists():
        return 0
    try:
        state = torch.load(checkpoint, weights_only=True)
        if tuple(state["run"]) != run:
            raise ValueError("one of another run")
        module.load_state_dict(state["module"])
        descent.optimizer.load_state_dict(state["optimizer"])
        descent.schedule.load_state_dict(state["schedule"])
        return int(state["epoch"])
    except (OSError, ValueError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ScriptError(
            f"cannot go on from {checkpoint}: it must be a checkpoint of this run, got: {reason}; "
            "remove it to begin anew"
        ) from error


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
    check_folder(options.out)
    cifar10 = read_cifar10(options.data)
    count = len(cifar10["x_train"]) - options.held_out
    if count < 1:
        raise ScriptError(
            f"cannot train: --held-out must leave images, got {options.held_out} of "
            f"{len(cifar10['x_train'])}"
        )
    set_threads(options.threads)
    checkpoint = options.out.with_suffix(".checkpoint")
    with training_bar("resnet20", console) as progress:
        parameters = train(
            cifar10["x_train"][:count],
            cifar10["y_train"][:count],
            epochs=options.epochs,
            seed=options.seed,
            checkpoint=checkpoint,
            progress=progress,
        )
    model = build_onnx(parameters, {})
    line = write_measured(
        options.out,
        model,
        dataset="CIFAR-10",
        accuracy=measure_accuracy(model, cifar10["x_test"], cifar10["y_test"], to_input),
        run={"epochs": options.epochs, "seed": options.seed, "held_out": options.held_out},
    )
    checkpoint.unlink(missing_ok=True)
    console.print(line, soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; 0 on success, 1 after one line on stderr."""
    return run_script(lambda: _run(_parse(arguments)))


if __name__ == "__main__":
    sys.exit(main())
