"""One write and one read of a stored model, and how good what it then gives is."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError
from wl_onnx.evaluation.cell_count import cells_per_weight
from wl_onnx.evaluation.metrics import Accumulator, top1
from wl_onnx.evaluation.trial_file import Trial, TrialKey
from wl_onnx.graph import (
    ANALOG_INPUTS,
    CompressibleModel,
    hash_source,
    load_model,
    restore_weights,
)
from wl_onnx.runtime.measure import Candidate, open_session, run_session
from wl_onnx.runtime.opening import open_model
from wl_onnx.runtime.weights import WeightDecoder

if TYPE_CHECKING:
    from wl_onnx.evaluation.data import Feeds

__all__ = [
    "HASH_DIGITS",
    "Sessions",
    "Subject",
    "derive_seeds",
    "hash_files",
    "prepare_subject",
    "run_trial",
    "score_accuracy",
]

HASH_DIGITS = 16
"""How much of a hash stands in files."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model of a sweep, and what its trials are compared with.

    Attributes:
        name: unique in the sweep.
        path: of the model.
        sha256: start of the model's hash.
        cells_per_weight: see there; None where nothing is stored.
        references: first output of what it is compared with, for each batch.
    """

    name: str
    path: Path
    sha256: str
    cells_per_weight: float | None
    references: tuple[npt.NDArray[Any], ...]


def derive_seeds(seed: int, index: int, time_s: float) -> tuple[int, int]:
    """The write seed and the read seed of a trial, 0 to 2**63 - 1 each.

    Args:
        seed: of the sweep.
        index: of the trial; alone with `seed` it gives the write seed.
        time_s: seconds since programming.
    """
    time_bits = int(np.float64(time_s).view(np.uint64))
    write = np.random.SeedSequence([seed, index, 0]).generate_state(1, np.uint64)[0]
    read = np.random.SeedSequence([seed, index, 1, time_bits]).generate_state(1, np.uint64)[0]
    return int(write >> np.uint64(1)), int(read >> np.uint64(1))


def prepare_subject(
    name: str,
    path: Path,
    original: str | os.PathLike[str] | None,
    feeds: Feeds,
    threads: int,
) -> Subject:
    """A model of a sweep, its reference run on all the data.

    Args:
        name: what the model is called.
        path: its file.
        original: the reference's file; None: the model with what was meant to be written.
        feeds: the data.
        threads: of the reference's session.

    Raises:
        InputError: outputs that are no tensors of numbers, or that the labels do not fit.
        ModelError: a model is damaged, or onnxruntime does not load it.
        BlobError: a blob is damaged.
    """
    loaded = load_model(path)
    sha256, count = hash_files(loaded)[:HASH_DIGITS], cells_per_weight(loaded)
    if original is None:
        restore_weights(loaded, WeightDecoder(threads=threads))
        session = open_model(loaded, threads=threads)
        label = f"{path} without noise"
    else:
        label = str(original)
        session = open_session(Candidate(Path(original), "materialize"), threads=threads)
    first = session.get_outputs()[0].name
    outputs = []
    for batch in feeds.batches:
        output = run_session(session, batch, label)[first]
        if not (isinstance(output, np.ndarray) and output.dtype.kind in "fiub"):
            raise InputError(f"cannot sweep {path}: output {first} must be a tensor of numbers")
        outputs.append(output)
    subject = Subject(name, path, sha256, count, tuple(outputs))
    score_accuracy(subject.references, feeds)  # labels that do not fit are said before the work
    return subject


def hash_files(model: CompressibleModel) -> str:
    """A hash of a model's file and of its external data."""
    digest = hashlib.sha256(hash_source(model).encode())
    for path in sorted(model.external_paths):
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


class Sessions(threading.local):
    """The session of one thread that each thread has open: of the model it last asked for."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._session: Any = None

    def open(self, path: Path) -> Any:
        """A session of a model, new only where the calling thread had another model open."""
        if path != self._path:
            self._session = None
            self._session = open_session(Candidate(path, "materialize"), threads=1)
            self._path = path
        return self._session


def run_trial(
    subject: Subject, key: TrialKey, feeds: Feeds, seed: int, sessions: Sessions
) -> Trial:
    """Writes a model's cells, reads them once, and runs all the data on what was read.

    Args:
        subject: the model.
        key: the trial.
        feeds: the data.
        seed: of the sweep.
        sessions: where the calling thread's session is.

    Raises:
        InputError: outputs that the labels or the reference do not fit.
        ModelError: onnxruntime does not load the model.
    """
    name, index, time_s = key
    write_seed, read_seed = derive_seeds(seed, index, time_s)
    values = (np.int64(write_seed), np.int64(read_seed), np.float32(time_s))
    fixed = {name: np.asarray(v) for name, v in zip(ANALOG_INPUTS, values, strict=True)}
    session = sessions.open(subject.path)
    first = session.get_outputs()[0].name
    outputs = [run_session(session, {**b, **fixed}, name)[first] for b in feeds.batches]
    accuracy = score_accuracy(outputs, feeds)
    value = _score_snr(subject.references, outputs) if accuracy is None else accuracy
    return Trial(name, subject.sha256, index, time_s, write_seed, read_seed, value)


def score_accuracy(outputs: Sequence[npt.NDArray[Any]], feeds: Feeds) -> float | None:
    """Share of samples whose label has the largest output; None without labels."""
    if feeds.labels is None:
        return None
    right = start = 0
    for output in outputs:
        count = len(output) if output.ndim else 0
        try:
            right += top1(output, feeds.labels[start : start + count])
        except ValueError as error:
            raise InputError(f"{error}") from error
        start += count
    if start != len(feeds.labels):
        raise InputError(
            f"cannot count top-1: the first output must have one row a label "
            f"({len(feeds.labels)}), got {start}"
        )
    return right / start


def _score_snr(
    references: Sequence[npt.NDArray[Any]], outputs: Sequence[npt.NDArray[Any]]
) -> float:
    sums = Accumulator()
    for reference, output in zip(references, outputs, strict=True):
        if reference.shape != output.shape:
            raise InputError(
                "cannot compute an SNR: the first output must have the shape of the reference's "
                f"{list(reference.shape)}, got {list(output.shape)}"
            )
        sums.add(reference, output)
    return sums.snr_db
