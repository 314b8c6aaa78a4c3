"""What a compressed model may lose, and how that is measured."""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import TYPE_CHECKING

import numpy as np

from wl_onnx.errors import InputError
from wl_onnx.evaluation.reference import Outputs, Reference
from wl_onnx.evaluation.validation import (
    ValidationFn,
    call_validation_fn,
    describe_validation_fn,
)
from wl_onnx.runtime.opening import open_model

if TYPE_CHECKING:
    import numpy.typing as npt
    from onnx import ModelProto

    from wl_onnx.evaluation.data import Feeds
    from wl_onnx.graph import CompressibleModel
    from wl_onnx.runtime.session import InferenceSession

__all__ = ["Limits", "Score", "Validator"]

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a compressed model may lose; it must keep within each limit that is given.

    Attributes:
        max_drop: most that top-1 accuracy may fall, in percentage points; with a
            `validation_fn`, most that its value may fall, in its own units. At least 0.
        max_kl: most mean KL divergence of the first output's softmax along its last axis from
            the original's, in nats. Above 0.
        min_snr: least signal-to-noise ratio of any output of floats, in dB.
        validation_fn: what `max_drop` is about in place of accuracy.

    Raises:
        InputError: a limit is out of its range, or there is a `validation_fn` without `max_drop`.
    """

    max_drop: float | None = None
    max_kl: float | None = None
    min_snr: float | None = None
    validation_fn: ValidationFn | None = None

    def __post_init__(self) -> None:
        _check_number("max_drop", self.max_drop, "a finite number of at least 0", least=0)
        _check_number("max_kl", self.max_kl, "a finite number above 0", above=0)
        _check_number("min_snr", self.min_snr, "a finite number of dB")
        if self.validation_fn is None:
            return
        if not callable(self.validation_fn):
            raise InputError(
                "cannot use limits: validation_fn must be a function of a session, got "
                f"{type(self.validation_fn).__name__}"
            )
        if self.max_drop is None:
            raise InputError(
                "cannot use limits: validation_fn must come with max_drop, got none; say by how "
                "much its value may fall"
            )


def _check_number(
    name: str,
    value: float | None,
    wanted: str,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
) -> None:
    if value is None:
        return
    is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not (is_number and math.isfinite(value) and value >= least and value > above):
        raise InputError(f"cannot use limits: {name} must be {wanted}, got {value!r}")


@dataclasses.dataclass(frozen=True)
class Score:
    """How far a model is from its original.

    Where an output holds NaN or infinity, or has another shape, all losses are infinite.

    Attributes:
        drop: by how much top-1 accuracy fell, in percentage points, or the value of the
            validation function, in its units; below 0 where it rose. None without labels and
            function.
        kl: mean KL divergence of the class scores, in nats; None where the first output has no
            axis of classes.
        snr_db: lowest signal-to-noise ratio of all outputs of floats, pooled over the samples;
            inf where they are identical, None where there are none.
        divergence: a smooth guide that falls with quality, 0 for the original: of a classifier
            the KL divergence at a temperature T, times T^2; else the noise-to-signal ratio of
            the worst output.
        meets: whether the model keeps within all limits.
        excess: by how much the worst limit is passed, as a share of the limit; at most 0 within
            the limits, -inf where there are none. Of `max_drop` 0 the drop itself, of `min_snr`
            the missing dB over max(1, |min_snr|).
    """

    drop: float | None
    kl: float | None
    snr_db: float | None
    divergence: float
    meets: bool
    excess: float


class Validator:
    """Measures models against their original, which runs once.

    Args:
        original: the model before compression.
        feeds: what the models are run on; the original's outputs are kept, as float32.
        limits: what a model may lose.
        threads: threads of onnxruntime; 0 leaves its default.

    Attributes:
        num_classes: classes that the first output tells apart; None where it has no such axis.
        baseline: the original's top-1 accuracy in percent, or its value of the validation
            function; None without labels and function.

    Raises:
        InputError: the feeds do not fit the model, or the labels its first output; the original
            gives no finite numbers, or none that a limit can be measured on; or the validation
            function fails on the original or gives no finite number.
        ModelError: onnxruntime does not load the original.
    """

    def __init__(
        self,
        original: CompressibleModel,
        feeds: Feeds,
        limits: Limits,
        *,
        threads: int = 0,
    ) -> None:
        self._limits = limits
        self._threads = threads
        self._name = original.name
        session = open_model(original, threads=threads)
        self._reference = reference = Reference(session, feeds.batches, self._name)
        self._check_limits()
        self._labels = self._find_labels(feeds.labels)
        self._is_classifier = reference.classes is not None and (
            self._labels is not None or limits.max_kl is not None or reference.is_one_of_logits
        )
        self.num_classes = None if reference.classes is None else reference.classes.num_classes
        self.baseline = self._evaluate(session, reference.batches, self._name)
        if limits.validation_fn is not None and not math.isfinite(self.baseline or 0):
            raise InputError(
                f"cannot validate {self._name}: {describe_validation_fn(limits.validation_fn)} "
                f"must give a finite number for the original, got {self.baseline}"
            )

    @property
    def temperature(self) -> float | None:
        """Temperature of the divergence; None where that is a noise-to-signal ratio."""
        classes = self._reference.classes
        return classes.temperature if self._is_classifier and classes is not None else None

    @property
    def loss_scale(self) -> float:
        """About what the loss of `measure_sensitivity` is where little of the outputs is left.

        1 nat for classifiers; else a tenth of the energy of the outputs.
        """
        return 1.0 if self.temperature is not None else 0.1

    def measure(self, model: CompressibleModel | ModelProto) -> Score:
        """Runs a model and says how far it is from the original.

        Args:
            model: a model with the original's inputs and outputs; left as it is.

        Raises:
            InputError: it lacks an output or refuses a feed, or the validation function fails.
            ModelError: onnxruntime does not load it.
            BlobError: a blob is damaged.
        """
        name = "the compressed model"
        reference = self._reference
        session = open_model(model, threads=self._threads)
        outputs = reference.run(session, name)
        if outputs is None:
            return self._fail()
        value = self._evaluate(session, outputs, name)
        drop = None
        if value is not None and self.baseline is not None:
            drop = self.baseline - value if math.isfinite(value) else math.inf
        noise = reference.measure_noise(outputs)
        snr_db = -10 * math.log10(noise) if noise else math.inf
        kl, divergence = None, noise
        if reference.classes is not None:
            rows = reference.to_rows(outputs)
            kl = reference.classes.measure(rows)
            if self._is_classifier:
                t = reference.classes.temperature
                divergence = reference.classes.measure(rows, temperature=t) * t**2
        excess = self._find_excess(drop, kl, snr_db)
        return Score(
            drop=drop,
            kl=kl,
            snr_db=snr_db if reference.has_floats else None,
            divergence=divergence,
            meets=excess <= 0,
            excess=excess,
        )

    def _fail(self) -> Score:
        return Score(
            drop=None if self.baseline is None else math.inf,
            kl=None if self._reference.classes is None else math.inf,
            snr_db=-math.inf if self._reference.has_floats else None,
            divergence=math.inf,
            meets=False,
            excess=math.inf,
        )

    def _find_excess(self, drop: float | None, kl: float | None, snr_db: float) -> float:
        limits = self._limits
        excess = -math.inf
        if limits.max_drop is not None and drop is not None:
            excess = drop / limits.max_drop - 1 if limits.max_drop else drop
            if math.isclose(drop, limits.max_drop, rel_tol=1e-9):
                excess = 0.0  # 98.2 - 97.7 is above 0.5 by rounding alone
        if limits.max_kl is not None and kl is not None:
            excess = max(excess, kl / limits.max_kl - 1)
        if limits.min_snr is not None:
            excess = max(excess, (limits.min_snr - snr_db) / max(1.0, abs(limits.min_snr)))
        return float(excess)

    def _check_limits(self) -> None:
        limits, reference = self._limits, self._reference
        if limits.max_kl is not None and reference.classes is None:
            raise InputError(
                f"cannot limit the KL divergence of {self._name}: its first output must be floats "
                f"with at least 2 classes along the last axis, got {reference.first}; give min_snr"
            )
        if limits.min_snr is None:
            return
        if not reference.has_floats:
            raise InputError(
                f"cannot limit the SNR of {self._name}: it must have an output of floats, got none"
            )
        if reference.silent:
            raise InputError(
                f"cannot limit the SNR of {self._name}: no output of floats may be zero for all "
                f"samples, got {reference.silent[0]}; give max_drop or max_kl"
            )

    def _find_labels(self, labels: npt.NDArray[np.int64] | None) -> npt.NDArray[np.int64] | None:
        """The labels, if they are what the first output is about."""
        limits, classes = self._limits, self._reference.classes
        if labels is None:
            problem = "no labels; give labels, a validation function, max_kl or min_snr"
        elif classes is None:
            problem = f"an output {self._reference.first} without an axis of classes"
        elif classes.num_rows != len(labels):
            problem = f"{len(labels)} labels for {classes.num_rows} rows"
        elif labels.min() < 0 or labels.max() >= classes.num_classes:
            problem = f"labels {labels.min()} to {labels.max()} for {classes.num_classes} classes"
        else:
            return labels
        if limits.max_drop is not None and limits.validation_fn is None:
            raise InputError(
                f"cannot measure the accuracy of {self._name}: there must be a label, from 0 on, "
                f"for each row of the first output, got {problem}"
            )
        if labels is not None:
            _LOG.warning("labels are not used, for they do not fit the model: %s", problem)
        return None

    def _evaluate(
        self, session: InferenceSession, outputs: list[Outputs], name: str
    ) -> float | None:
        """Accuracy in percent, or the value of the validation function."""
        if self._limits.validation_fn is not None:
            return call_validation_fn(self._limits.validation_fn, session, name)
        if self._labels is None:
            return None
        rows = self._reference.to_rows(outputs)
        predicted = np.concatenate([scores.argmax(axis=1) for scores in rows])
        return 100 * float((predicted == self._labels).mean())
