"""The file of a sweep's trials: a CSV that grows by a row a trial and can be gone on with."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from pathlib import Path
from typing import NoReturn, TextIO

from wl_onnx.errors import InputError

__all__ = ["Trial", "TrialFile", "TrialKey"]

_COLUMNS = (
    "model", "model_sha256", "seed", "time_s", "write_seed", "read_seed", "value"
)  # fmt: skip
_MARK = "# wl-onnx sweep 1"

TrialKey = tuple[str, int, float]
"""Model, seed and time of a trial."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One write and one read of a model, and how good it was.

    Attributes:
        model: the model's name in the sweep.
        model_sha256: the start of its hash.
        seed: the trial's number, from 0.
        time_s: seconds since programming.
        write_seed: what fixed programming and drift.
        read_seed: what fixed the read noise.
        value: accuracy 0..1 or SNR in dB, which the sweep's metric says.
    """

    model: str
    model_sha256: str
    seed: int
    time_s: float
    write_seed: int
    read_seed: int
    value: float

    @property
    def key(self) -> TrialKey:
        """What tells it from the sweep's other trials."""
        return self.model, self.seed, self.time_s


class TrialFile:
    """Trials on disk: those that are there, and a place for more.

    The first line says of what they are trials; rows of anything else are refused. A last line
    without an end, as an interrupted write leaves it, is dropped.

    Args:
        path: of the CSV; made where it is not there.
        fingerprint: one line that says what all trials share: data, metric and settings.
        force: whether trials that are there are thrown away.

    Raises:
        InputError: the file cannot be read or written, is none of a sweep, or of another one.
    """

    def __init__(self, path: Path, fingerprint: str, *, force: bool = False) -> None:
        self.path = path
        self.trials: dict[TrialKey, Trial] = {}
        header = f"{_MARK} {fingerprint}\n"
        try:
            text = "" if force or not path.exists() else path.read_text(encoding="utf-8")
            whole = text[: text.rfind("\n") + 1]
            if whole.count("\n") >= 2:
                self._read(whole, header)
            elif text and not (header + ",".join(_COLUMNS)).startswith(text.rstrip("\n")):
                self._fail("it must be a file of a sweep", "another")
            else:
                whole = header + ",".join(_COLUMNS) + "\n"
            if whole != text:
                path.write_text(whole, encoding="utf-8", newline="")
            self._file: TextIO = path.open("a", encoding="utf-8", newline="")
        except OSError as error:
            self._fail("it must be writable", error.strerror or str(error))
        except UnicodeDecodeError:
            self._fail("it must be a file of a sweep", "bytes that are no text")

    def add(self, trial: Trial) -> None:
        """Appends a trial; it is on disk when this returns."""
        # First, so that an interrupt leaves out a row rather than writing it a second time.
        self.trials[trial.key] = trial
        row = io.StringIO()
        csv.writer(row, lineterminator="\n").writerow(dataclasses.astuple(trial))
        self._file.write(row.getvalue())
        self._file.flush()

    def close(self) -> None:
        """Closes the file; no more can be added."""
        self._file.close()

    def _read(self, text: str, header: str) -> None:
        lines = text.splitlines(keepends=True)
        if not lines[0].startswith(_MARK):
            self._fail("it must be a file of a sweep", "another")
        if lines[0] != header:
            self._fail(
                "its trials must be of the same data, labels, original and seed",
                "others; give another folder, or --force to begin anew",
            )
        rows = csv.reader(lines[1:])
        if tuple(next(rows)) != _COLUMNS:
            self._fail(f"its columns must be {', '.join(_COLUMNS)}", "others")
        for number, row in enumerate(rows, 3):
            try:
                model, sha256, seed, time_s, write_seed, read_seed, value = row
                trial = Trial(
                    model, sha256, int(seed), float(time_s), int(write_seed), int(read_seed),
                    float(value),
                )  # fmt: skip
            except ValueError:
                self._fail("each line must be a trial", f"{','.join(row)!r} in line {number}")
            if math.isnan(trial.value) or math.isnan(trial.time_s):
                self._fail("each line must be a trial", f"{','.join(row)!r} in line {number}")
            self.trials[trial.key] = trial

    def _fail(self, must: str, got: str) -> NoReturn:
        raise InputError(f"cannot use {self.path}: {must}, got {got}") from None
