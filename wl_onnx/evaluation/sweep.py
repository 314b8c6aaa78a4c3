"""Monte-Carlo: how good models in noisy cells are, over writes, reads and times."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from wl_onnx.errors import InputError
from wl_onnx.evaluation.data import Feeds, load_feeds
from wl_onnx.evaluation.noisy_trial import (
    HASH_DIGITS,
    Sessions,
    Subject,
    hash_files,
    prepare_subject,
    run_trial,
    score_accuracy,
)
from wl_onnx.evaluation.sweep_summary import SweepResult, summarize_sweep
from wl_onnx.evaluation.trial_file import Trial, TrialFile, TrialKey
from wl_onnx.graph import (
    ANALOG_INPUTS,
    load_model,
)
from wl_onnx.kernels.native import resolve_threads
from wl_onnx.runtime.measure import Candidate, open_session

__all__ = ["TRIALS_NAME", "run_sweep"]

TRIALS_NAME = "trials.csv"

MAX_SEEDS = 1_000_000
MAX_TIME_S = 1e12

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, steps done, steps in all)."""


def run_sweep(
    models: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    data: Any = None,
    *,
    num_seeds: int = 20,
    times_s: Sequence[float] = (20.0, 3600.0, 86_400.0, 30 * 86_400.0, 365 * 86_400.0),
    original: str | os.PathLike[str] | None = None,
    seed: int = 0,
    jobs: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> SweepResult:
    """Writes and reads stored models many times, and says how good they are.

    A trial writes the cells anew and reads them once, at one time since programming, for all the
    data; what it gives does not depend on `jobs`. All models and times share the writes of a
    seed; each time has a read of its own. Trials go to `trials.csv` in the folder as they end, and
    those that are there already are not run again, so an interrupted sweep can be gone on with,
    and one of more seeds, times or models adds to it.

    Args:
        models: files that `wl-onnx store` wrote.
        output: folder for the trials; made where it is not there.
        data: see `load_feeds`. With labels trials give top-1 of the first output, else the SNR of
            the first output in dB.
        num_seeds: trials of each model and time, at least 1.
        times_s: seconds since programming, 0 to 1e12.
        original: the model before it was stored, the reference of SNR and of accuracy lost; None:
            each model with what was meant to be written.
        seed: from which all seeds are derived, 0 to 2**63 - 1.
        jobs: trials at a time, each with a session of one thread; 0 is one a core.
        force: whether trials that are there are thrown away.
        progress: called with (what is being done, steps done, steps in all).

    Returns:
        The summary that `wl-onnx sweep` writes and prints, and every trial.

    Raises:
        InputError: no model or time, numbers out of range, models that were not stored or take
            other inputs, data that do not fit, or trials of another sweep in the folder.
        ModelError: a model is damaged, or onnxruntime does not load it.
        BlobError: a blob is damaged.
        KeyboardInterrupt: after the trials that were running are kept.
    """
    times = _check(models, num_seeds, times_s, seed, jobs)
    jobs = resolve_threads(jobs)
    report = progress or (lambda _what, _done, _total: None)
    paths = [Path(model) for model in models]
    folder = Path(output)
    feeds = _load(paths, data)
    report("references", 0, len(paths))
    subjects = []
    for index, (name, path) in enumerate(zip(_name(paths), paths, strict=True)):
        subjects.append(prepare_subject(name, path, original, feeds, jobs))
        report("references", index + 1, len(paths))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: it must be a folder, got {error.strerror}"
        ) from error
    file = TrialFile(folder / TRIALS_NAME, _fingerprint(feeds, original, seed), force=force)
    try:
        _check_same_models(file, subjects)
        keys = [(s.name, index, t) for s in subjects for t in times for index in range(num_seeds)]
        _run_trials(file, subjects, keys, feeds, seed, jobs, report)
    finally:
        file.close()
    trials = tuple(file.trials[key] for key in keys)
    summary = summarize_sweep(
        trials,
        {
            subject.name: {
                "path": str(subject.path),
                "cells_per_weight": subject.cells_per_weight,
                "baseline": score_accuracy(subject.references, feeds),
            }
            for subject in subjects
        },
        metric="snr_db" if feeds.labels is None else "accuracy",
        reference="targets" if original is None else "original",
        seed=seed,
    )
    return SweepResult(summary, trials)


def _check(
    models: Sequence[Any], num_seeds: int, times_s: Sequence[float], seed: int, jobs: int
) -> tuple[float, ...]:
    if not models:
        raise InputError("cannot sweep: there must be at least one model, got none")
    if not 1 <= num_seeds <= MAX_SEEDS:
        raise InputError(f"cannot sweep: seeds must be in 1..{MAX_SEEDS}, got {num_seeds}")
    if not 0 <= seed < 2**63:
        raise InputError(f"cannot sweep: the seed must be in 0..2**63 - 1, got {seed}")
    if jobs < 0:
        raise InputError(f"cannot sweep: jobs must not be negative, got {jobs}")
    wrong = [time_s for time_s in times_s if not 0 <= time_s <= MAX_TIME_S]
    if wrong or not times_s:
        got = wrong[0] if wrong else "none"
        raise InputError(f"cannot sweep: times must be in 0..{MAX_TIME_S:g} s, got {got}")
    return tuple(sorted({float(time_s) for time_s in times_s}))


def _name(paths: Sequence[Path]) -> list[str]:
    """Short names where they tell the models apart, else whole paths."""
    stems = [path.stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise InputError(f"cannot sweep: models must be different, got {', '.join(names)}")
    return names


def _load(paths: Sequence[Path], data: Any) -> Feeds:
    """The data, after a check that all models are stored ones and take the same inputs."""
    feeds, first = None, None
    for path in paths:
        session = open_session(Candidate(path, "materialize"), threads=1)
        overridable = {info.name for info in session.get_overridable_initializers()}
        missing = [name for name in ANALOG_INPUTS if name not in overridable]
        if missing:
            raise InputError(
                f"cannot sweep {path}: it must have the inputs {', '.join(ANALOG_INPUTS)} with "
                f"defaults, got none named {missing[0]}; store the model with wl-onnx store"
            )
        inputs = [(info.name, info.type, info.shape) for info in session.get_inputs()]
        if feeds is None:
            feeds, first = load_feeds(data, session.get_inputs()), inputs
        elif inputs != first:
            raise InputError(
                f"cannot sweep {path}: its inputs must be those of {paths[0]}, got "
                f"{', '.join(name for name, *_ in inputs)}"
            )
    assert feeds is not None  # noqa: S101  there is a model
    return feeds


def _fingerprint(feeds: Feeds, original: str | os.PathLike[str] | None, seed: int) -> str:
    """One line that says of what the values of all trials are."""
    digest = hashlib.sha256()
    for batch in feeds.batches:
        for name in sorted(batch):
            array = np.ascontiguousarray(batch[name])
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(str(array.tolist()).encode() if array.dtype == object else array.data)
    if feeds.labels is not None:
        digest.update(b"labels" + feeds.labels.tobytes())
    elif original is not None:
        digest.update(hash_files(load_model(Path(original))).encode())
    metric = "snr_db" if feeds.labels is None else "accuracy"
    return f"metric={metric} seed={seed} data={digest.hexdigest()[: 2 * HASH_DIGITS]}"


def _check_same_models(file: TrialFile, subjects: Sequence[Subject]) -> None:
    known = {subject.name: subject.sha256 for subject in subjects}
    for trial in file.trials.values():
        if trial.model_sha256 != known.get(trial.model, trial.model_sha256):
            raise InputError(
                f"cannot use {file.path}: its trials of {trial.model} must be of the same model, "
                "got those of another; give another folder, or --force to begin anew"
            )


def _run_trials(
    file: TrialFile,
    subjects: Sequence[Subject],
    keys: Sequence[TrialKey],
    feeds: Feeds,
    seed: int,
    jobs: int,
    report: Progress,
) -> None:
    by_name = {subject.name: subject for subject in subjects}
    missing = [key for key in keys if key not in file.trials]
    done = len(keys) - len(missing)
    report("trials", done, len(keys))
    sessions = Sessions()

    def run(key: TrialKey) -> Trial:
        return run_trial(by_name[key[0]], key, feeds, seed, sessions)

    executor = ThreadPoolExecutor(jobs, thread_name_prefix="sweep")
    futures: list[Future[Trial]] = [executor.submit(run, key) for key in missing]
    try:
        for future in as_completed(futures):
            file.add(future.result())
            done += 1
            report("trials", done, len(keys))
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
        for trial in _finished(futures):
            if trial.key not in file.trials:
                file.add(trial)


def _finished(futures: Sequence[Future[Trial]]) -> Iterator[Trial]:
    """What ended well, also after the sweep was stopped."""
    for future in futures:
        if not future.cancelled() and future.exception() is None:
            yield future.result()
