"""The training loop that all recipes share."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from wl_onnx.errors import InputError, ModelError
from wl_onnx.finetune.batches import Batches, check_label_range, load_tensor
from wl_onnx.finetune.losses import Objective, make_loss
from wl_onnx.finetune.progress import Evaluation, ReportFn, RunSummary, StepReport
from wl_onnx.finetune.run import Run, TrainerState
from wl_onnx.finetune.scores import are_probabilities, take_first, to_logits

if TYPE_CHECKING:
    from wl_onnx.finetune.augmentation import AugmentFn
    from wl_onnx.finetune.optimization import OptimizerFn
    from wl_onnx.finetune.training_data import TrainingData

__all__ = ["Evaluation", "RunSummary", "StepReport", "Trainer", "TrainerState"]

_EVALUATION_BATCH = 500
_REPORTS_PER_EPOCH = 20


class Trainer:
    """Trains a module that gives class scores, in one run or several.

    One seed gives the same parameters on the same machine with the same versions and threads. Each
    epoch takes the samples in an order of its own; a rest that does not fill a batch is left out of
    it. Where the module's scores are probabilities, their logarithms are the logits.

    Args:
        module: what is trained; it takes the inputs by position. It is moved to the device.
        data: what it is trained on.
        validation: what it is validated on after each epoch.
        teacher_logits: the original's scores of the training data, float32 `[n, classes]`, as the
            module would give them; taken only where the objective is about them.
        objective: the loss; by default that of the task.
        batch_size: samples of a step; where the data have a fixed batch, that is it.
        seed: of the orders.
        device: where torch computes, such as "cpu" or "cuda".
        report: told where it is.
        parameters: those that train unless a run names others; they may be others than the
            module's. None: all that require a gradient.
        augment: changes each batch of inputs at random before it is used, or None; then the
            teacher must be a module.
        teacher: the original as a module, which is asked for each batch anew; in place of
            `teacher_logits`.
        precision: in which products are computed while training, "float32" or "bfloat16", which is
            twice as fast where the processor has it; parameters and evaluations are in float32.

    Attributes:
        size_bytes: what reports give as such; to be set from outside.
        steps_per_epoch: batches of an epoch.

    Raises:
        InputError: labels or the teacher's scores are absent where the objective needs them, or do
            not fit the module's classes.
        ModelError: the module does not run on the data, or gives no class scores.
    """

    def __init__(
        self,
        module: nn.Module,
        data: TrainingData,
        *,
        validation: TrainingData | None = None,
        teacher_logits: npt.NDArray[np.float32] | None = None,
        objective: Objective | None = None,
        batch_size: int = 128,
        seed: int = 0,
        device: str = "cpu",
        report: ReportFn | None = None,
        parameters: Iterable[nn.Parameter] | None = None,
        augment: AugmentFn | None = None,
        teacher: nn.Module | None = None,
        precision: str = "float32",
    ) -> None:
        objective = objective or Objective()
        self._augment = augment
        self._teacher_module = teacher
        self._precision = precision
        self.size_bytes: int | None = None
        self._module = module.to(device)
        self._device = device
        self._batches = Batches(data, batch_size=batch_size, device=device, seed=seed)
        self.steps_per_epoch = self._batches.per_epoch
        self._report = report
        self._report_interval = max(1, self.steps_per_epoch // _REPORTS_PER_EPOCH)
        self._parameters = None if parameters is None else tuple(parameters)
        self._loss = make_loss(objective)
        self._validation = validation
        self._accuracy: float | None = None
        self._to_logits: Callable[[Tensor], Tensor] | None = None
        num_classes = self._probe(data)
        for samples in (data, validation):
            if samples is not None and samples.labels is not None:
                check_label_range(samples.labels, num_classes)
        self._labels = self._batches.labels if objective.needs_labels else None
        if objective.needs_labels and self._labels is None:
            raise InputError(
                "cannot fine-tune: the data must have labels where task_weight is above 0, got none"
            )
        self._teacher: Tensor | None = None
        if objective.needs_teacher and teacher is None:
            if augment is not None:
                raise InputError(
                    "cannot fine-tune: the teacher must be a module where inputs are augmented, "
                    "got its scores of inputs as they are"
                )
            self._teacher = self._load_teacher(teacher_logits, (data.num_samples, num_classes))

    def run(
        self,
        stage: str,
        epochs: float,
        *,
        learning_rate: float,
        optimizer: str | OptimizerFn = "adam",
        schedule: str = "cosine",
        penalty: Callable[[float], Tensor] | None = None,
        after_step: Callable[[float], None] | None = None,
        parameters: Iterable[nn.Parameter] | None = None,
        resume: TrainerState | None = None,
        on_epoch: Callable[[TrainerState], None] | None = None,
    ) -> RunSummary:
        """Trains for some epochs, with an optimiser of its own.

        The module is in training mode meanwhile, and as it was afterwards. Where the run stops
        early, by Ctrl-C or any error, tensors are as they were after its last whole epoch.

        Args:
            stage: name of the run, in reports and errors; the orders of samples depend on it.
            epochs: how many, above 0; parts of one are rounded to steps, to one at least.
            learning_rate: the highest of the run.
            optimizer: "adam", "sgd", or what makes one of parameters and a learning rate.
            schedule: how the learning rate goes; see `scale_rate`.
            penalty: added to the loss; called at each step with the share of the run that is done
                before it, in 0..1.
            after_step: called without gradients after each step with the share that is done by
                then, 1 at the last: for masks and projections.
            parameters: those that train; for no others are gradients computed. None: the trainer's.
            resume: state from which an interrupted run with the same arguments goes on.
            on_epoch: called with the state after each epoch, which is its own to keep.

        Raises:
            InputError: an argument is out of range, or the state is of another run.
            TrainingError: the loss or a parameter became NaN or infinite.
        """
        if not 0 < epochs < math.inf:
            raise InputError(f"cannot fine-tune: epochs must be above 0, got {epochs!r}")
        chosen = self._choose(parameters)
        run = Run(
            self._module,
            stage,
            max(1, round(epochs * self.steps_per_epoch)),
            parameters=chosen,
            optimizer=optimizer,
            learning_rate=learning_rate,
            schedule=schedule,
        )
        if resume is not None:
            run.resume(resume)
        with _training(self._module, chosen):
            try:
                while run.step < run.steps:
                    self._train_epoch(run, penalty, after_step)
                    run.keep()
                    if self._validation is not None:
                        self._accuracy = self.evaluate(self._validation).accuracy
                    self._tell(run)
                    if on_epoch is not None:
                        on_epoch(run.get_state())
            except BaseException:
                run.go_back()
                raise
        if self._validation is not None and self._accuracy is None:
            self._accuracy = self.evaluate(self._validation).accuracy
        return RunSummary(run.loss, self._accuracy)

    def evaluate(self, data: TrainingData) -> Evaluation:
        """How the module does on samples, in evaluation mode and without gradients.

        Args:
            data: the samples; without labels there is nothing to tell.
        """
        if data.labels is None:
            return Evaluation(None, None)
        size = data.fixed_batch or _EVALUATION_BATCH
        inputs = [load_tensor(array, self._device) for array in data.inputs.values()]
        labels = load_tensor(data.labels, self._device)
        loss, num_right = 0.0, 0
        with _evaluating(self._module):
            for start in range(0, data.num_samples, size):
                logits = self._compute([tensor[start : start + size] for tensor in inputs])
                wanted = labels[start : start + size]
                loss += float(functional.cross_entropy(logits, wanted, reduction="sum"))
                num_right += int((logits.argmax(1) == wanted).sum())
        return Evaluation(num_right / data.num_samples, loss / data.num_samples)

    def _train_epoch(
        self,
        run: Run,
        penalty: Callable[[float], Tensor] | None,
        after_step: Callable[[float], None] | None,
    ) -> None:
        """Steps up to the end of an epoch, or of the run."""
        optimizer = run.optimizer
        epoch = run.step // self.steps_per_epoch
        batches = self._batches.deal(run.stage, epoch)
        self._generator = self._batches.make_generator(run.stage, epoch)
        for rows in batches[: run.steps - run.step]:
            run.set_rate()
            loss = self._measure(rows)
            run.add_loss(loss.item())
            if penalty is not None:
                loss = loss + penalty(run.progress)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            run.step += 1
            if after_step is not None:
                with torch.no_grad():
                    after_step(run.progress)
            if run.step % self._report_interval == 0:
                self._tell(run)

    def _measure(self, rows: Tensor) -> Tensor:
        inputs = tuple(tensor.index_select(0, rows) for tensor in self._batches.inputs)
        if self._augment is not None:
            inputs = self._augment(inputs, self._generator)
        labels = None if self._labels is None else self._labels.index_select(0, rows)
        teacher = None if self._teacher is None else self._teacher.index_select(0, rows)
        with self._lower_precision():
            if self._teacher_module is not None:
                with torch.no_grad():
                    teacher = self._score(self._teacher_module, inputs)
            logits = self._compute(inputs)
        return self._loss(logits.float(), labels, None if teacher is None else teacher.float())

    def _lower_precision(self) -> contextlib.AbstractContextManager[Any]:
        if self._precision == "float32":
            return contextlib.nullcontext()
        cast: contextlib.AbstractContextManager[Any] = torch.autocast(
            torch.device(self._device).type, getattr(torch, self._precision)
        )
        return cast

    def _compute(self, inputs: Sequence[Tensor]) -> Tensor:
        return self._score(self._module, inputs)

    def _score(self, module: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
        scores = take_first(module(*inputs))
        return scores if self._to_logits is None else self._to_logits(scores)

    def _probe(self, data: TrainingData) -> int:
        """Looks at what the module gives; the number of classes."""
        size = data.fixed_batch or min(_EVALUATION_BATCH, data.num_samples)
        try:
            with _evaluating(self._module):
                scores = self._compute([tensor[:size] for tensor in self._batches.inputs])
        except (RuntimeError, TypeError, IndexError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelError(
                f"cannot fine-tune: the module must run on the data, got: {reason}"
            ) from error
        if len(scores) != size:
            raise ModelError(
                "cannot fine-tune: the model's first output must have a row a sample, got "
                f"{list(scores.shape)} of {size} samples"
            )
        if are_probabilities(scores):
            self._to_logits = to_logits
        return int(scores.shape[1])

    def _load_teacher(self, scores: npt.NDArray[Any] | None, shape: tuple[int, int]) -> Tensor:
        if scores is None:
            raise InputError(
                "cannot fine-tune: there must be the teacher's scores where distill_weight is "
                "above 0, got none"
            )
        if scores.shape != shape or not np.isfinite(scores).all():
            raise InputError(
                f"cannot fine-tune: the teacher's scores must be finite and {list(shape)}, got "
                f"{list(scores.shape)}"
            )
        teacher = load_tensor(scores, self._device)
        return teacher if self._to_logits is None else self._to_logits(teacher)

    def _choose(self, parameters: Iterable[nn.Parameter] | None) -> tuple[nn.Parameter, ...]:
        if parameters is not None:
            return tuple(parameters)
        if self._parameters is not None:
            return self._parameters
        return tuple(p for p in self._module.parameters() if p.requires_grad)

    def _tell(self, run: Run) -> None:
        if self._report is None:
            return
        epochs = math.ceil(run.steps / self.steps_per_epoch)
        epoch = math.ceil(run.step / self.steps_per_epoch)
        self._report(
            StepReport(
                run.stage, epoch, epochs, run.step, run.steps, run.loss, self._accuracy,
                self.size_bytes,
            )
        )  # fmt: skip


@contextlib.contextmanager
def _training(module: nn.Module, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Training mode, with gradients of these parameters alone."""
    chosen = {id(parameter) for parameter in parameters}
    everything = {id(p): p for p in (*module.parameters(), *parameters)}.values()
    before = [(parameter, parameter.requires_grad) for parameter in everything]
    was_training = module.training
    try:
        for parameter, _ in before:
            parameter.requires_grad_(id(parameter) in chosen)
        module.train()
        yield
    finally:
        module.train(was_training)
        for parameter, required in before:
            parameter.grad = None
            parameter.requires_grad_(required)


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, without gradients."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(was_training)
