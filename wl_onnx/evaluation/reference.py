"""The outputs of an original model, with which those of other models are compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError
from wl_onnx.evaluation.divergence import ClassScores, to_rows
from wl_onnx.evaluation.metrics import Accumulator
from wl_onnx.runtime.measure import run_session

if TYPE_CHECKING:
    from wl_onnx.runtime.session import InferenceSession

__all__ = ["Outputs", "Reference"]

Outputs = dict[str, npt.NDArray[Any]]
"""The outputs of one batch by name."""

_FLOAT_TYPES = frozenset(f"tensor({name})" for name in ("float", "float16", "double"))
_INTEGER_TYPES = frozenset(
    f"tensor({name})"
    for name in ("bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
)


class Reference:
    """The outputs of an original on all batches, as float32: those of floats, if there are any.

    Args:
        session: a session of the original.
        feeds: input name to array, batch after batch.
        name: what an error calls the original.

    Attributes:
        batches: the outputs of each batch.
        first: name of the model's first output.
        classes: the first output as class scores; None where it is none.
        has_floats: whether the outputs are floats; where the model has none, they are integers.
        silent: names of outputs that are zero for all samples, or empty.
        is_one_of_logits: whether the model has one output alone, `[n, classes]`, and it is no
            probabilities.

    Raises:
        InputError: a feed does not fit, no output is numbers, or one is not finite.
    """

    def __init__(
        self, session: InferenceSession, feeds: Sequence[Mapping[str, Any]], name: str
    ) -> None:
        self._feeds = feeds
        info = session.get_outputs()
        floats = [output.name for output in info if output.type in _FLOAT_TYPES]
        self._names = floats or [o.name for o in info if o.type in _INTEGER_TYPES]
        if not self._names:
            raise InputError(
                f"cannot validate {name}: the model must have an output of numbers, got "
                f"{', '.join(output.type for output in info) or 'none'}"
            )
        self.has_floats = bool(floats)
        self.first = info[0].name
        self.batches = self._run(session, name)
        energies = self._measure_energies(name)
        self.silent = [one for one, energy in energies.items() if energy == 0]
        self.classes = self._find_classes()
        self.is_one_of_logits = (
            len(info) == 1
            and self.classes is not None
            and not self.classes.are_probabilities
            and self.batches[0][self.first].ndim == 2
        )

    def run(self, session: InferenceSession, name: str) -> list[Outputs] | None:
        """The outputs of another model on the same feeds.

        Args:
            session: a session of it.
            name: what an error calls it.

        Returns:
            The outputs of each batch, or None where they cannot be compared: one is not finite or
            has another shape.

        Raises:
            InputError: it lacks an output, or refuses a feed.
        """
        missing = set(self._names) - {output.name for output in session.get_outputs()}
        if missing:
            raise InputError(
                f"cannot validate {name}: it must have the original's outputs, got none named "
                f"{', '.join(sorted(missing))}"
            )
        batches = self._run(session, name)
        return batches if all(map(_are_comparable, self.batches, batches)) else None

    def to_rows(self, batches: Sequence[Outputs]) -> list[npt.NDArray[Any]]:
        """The first output of each batch as rows of class scores, `[rows, classes]`."""
        rows = [to_rows(outputs[self.first]) for outputs in batches]
        return [one for one in rows if one is not None]

    def measure_noise(self, batches: Sequence[Outputs]) -> float:
        """Energy of the error over that of the output, of the worst output that is not silent."""
        worst = 0.0
        for name in self._names:
            if name in self.silent:  # against nothing, any noise is infinitely loud
                continue
            sums = Accumulator()
            for mine, theirs in zip(self.batches, batches, strict=True):
                sums.add(mine[name], theirs[name])
            worst = max(worst, sums.relative_l2**2)
        return worst

    def _run(self, session: InferenceSession, name: str) -> list[Outputs]:
        batches = []
        for feed in self._feeds:
            outputs = run_session(session, feed, name)
            batches.append({one: np.asarray(outputs[one], np.float32) for one in self._names})
        return batches

    def _measure_energies(self, model: str) -> dict[str, float]:
        energies = dict.fromkeys(self._names, 0.0)
        for outputs in self.batches:
            for name, values in outputs.items():
                energies[name] += float(np.square(values, dtype=np.float64).sum())
        for name, energy in energies.items():
            if not math.isfinite(energy):
                raise InputError(
                    f"cannot validate {model}: the original's outputs must be finite, got NaN or "
                    f"infinity in {name}"
                )
        return energies

    def _find_classes(self) -> ClassScores | None:
        if not self.has_floats or self.first not in self._names:
            return None
        rows = self.to_rows(self.batches)
        if len(rows) < len(self.batches) or len({one.shape[1] for one in rows}) > 1:
            return None
        return ClassScores(rows) if sum(map(len, rows)) else None


def _are_comparable(reference: Outputs, outputs: Outputs) -> bool:
    return all(
        values.shape == outputs[name].shape and bool(np.isfinite(outputs[name]).all())
        for name, values in reference.items()
    )
