"""What the scripts that train have in common: images, the steps of SGD, the progress bar."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from script_command import ScriptError

if TYPE_CHECKING:
    from rich.console import Console
    from torch import Generator, Tensor

BATCH_SIZE = 128
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4


def require_torch() -> None:
    """Refuses to train where torch is missing.

    Raises:
        ScriptError: torch is not installed.
    """
    try:
        import torch  # noqa: F401  only whether it is there
    except ImportError as error:
        raise ScriptError(
            'cannot train: torch is not installed; pip install "wl-onnx[models]"'
        ) from error


def set_threads(count: int) -> None:
    """Gives torch a number of threads; 0 leaves its own choice."""
    if count:
        with contextlib.suppress(ImportError):  # whoever trains says so
            import torch

            torch.set_num_threads(count)


def load_augmentation(name: str) -> Callable[[Tensor, Generator], Tensor]:
    """Takes images float32 [n, channels, height, width] and a generator, gives changed ones.

    Args:
        name: see `find_augmentation`; not "none".
    """
    from wl_onnx.finetune.augmentation import find_augmentation

    augment = find_augmentation(name)
    assert augment is not None  # noqa: S101  the caller's own error
    return lambda images, generator: augment((images,), generator)[0]


class Descent:
    """SGD with momentum under one cycle of the learning rate.

    Args:
        parameters: tensors that train.
        max_learning_rate: at the peak of the cycle.
        num_steps: of the whole run.
        cycle: further arguments of torch's `OneCycleLR`.

    Attributes:
        optimizer: torch's, whose state goes into a checkpoint.
        schedule: torch's, as well.
        mean_loss: over about the last fifty steps; NaN before the first.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        max_learning_rate: float,
        num_steps: int,
        **cycle: Any,
    ) -> None:
        import torch

        self.optimizer = torch.optim.SGD(
            parameters,
            lr=max_learning_rate,
            momentum=MOMENTUM,
            weight_decay=WEIGHT_DECAY,
            nesterov=True,
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_learning_rate,
            total_steps=num_steps + 1,
            cycle_momentum=False,
            **cycle,
        )
        self.mean_loss = math.nan

    def step(self, loss: Tensor) -> None:
        """Goes down the gradient of the mean loss of a batch."""
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        is_first = math.isnan(self.mean_loss)
        self.mean_loss = loss.item() if is_first else 0.98 * self.mean_loss + 0.02 * loss.item()


@contextlib.contextmanager
def training_bar(name: str, console: Console) -> Iterator[Callable[[int, int, float], None]]:
    """A progress bar, and what to call with (steps done, steps in all, mean loss of late).

    Args:
        name: of the network.
        console: where it is drawn.
    """
    bar = Progress(
        TextColumn(f"training {name}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        console=console,
    )
    with bar:
        task = bar.add_task("", total=None, loss=math.nan)

        def report(done: int, total: int, loss: float) -> None:
            bar.update(task, completed=done, total=total, loss=loss)

        yield report
