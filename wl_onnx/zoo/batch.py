"""Jobs on an executor: what comes back goes to its place and into the manifest at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    wait,
)
from pathlib import Path
from typing import Any

from wl_onnx.errors import WlOnnxError
from wl_onnx.files import data_path, rename_both
from wl_onnx.zoo.entry import OWN_FIELD, Entry
from wl_onnx.zoo.job import Job, run_job
from wl_onnx.zoo.results import ZooResult, add_record, make_record, read_records

__all__ = ["Batch", "ResultFn"]

ResultFn = Callable[[ZooResult, int, int], None]
"""Called with a model that is done, how many are, and how many there are."""

_Facts = dict[str, Any] | None


class Batch:
    """Models that are compressed into one folder.

    Args:
        models: the models.
        outputs: where each goes.
        folder: of the results, with the manifest of earlier ones if there is one.
        executor: runs the jobs.
        progress: called with each model that is done.

    Attributes:
        results: what came of each model that is done, by its place among the models.
        records: the manifest of the results by path, as it was before, with what was done since.

    Raises:
        InputError: the folder holds another zoo's manifest.
    """

    def __init__(
        self,
        models: Sequence[Entry],
        outputs: Sequence[Path],
        folder: Path,
        executor: Executor,
        progress: ResultFn | None,
    ) -> None:
        self.results: dict[int, ZooResult] = {}
        self.records = read_records(folder)
        self._models = models
        self._outputs = outputs
        self._folder = folder
        self._executor = executor
        self._progress = progress
        self._running: dict[Future[_Facts], tuple[int, Job]] = {}
        self._lost: list[tuple[int, Job]] = []

    def run(self, order: Iterable[int], make_job: Callable[[int], Job]) -> None:
        """Runs all; an exception of one model is its result, any other gives up what runs.

        Args:
            order: places of the models, in which their jobs are made.
            make_job: gives a model's job, once its file is there.
        """
        try:
            for index in order:
                try:
                    job = make_job(index)
                except (WlOnnxError, OSError) as error:
                    self._fail(index, error)
                else:
                    self._submit(index, job)
                self._collect([future for future in self._running if future.done()])
            self._wait()
            # A worker that is killed takes along what the others do: each of those once more, by
            # itself, so that only the model at fault fails.
            lost, self._lost = self._lost, []
            for index, job in lost:
                self._submit(index, job)
                self._wait()
            for index, job in self._lost:
                self._fail(index, BrokenExecutor(), job)
        except BaseException:
            for future in self._running:
                future.cancel()
            raise

    def _submit(self, index: int, job: Job) -> None:
        try:
            self._running[self._executor.submit(run_job, job)] = (index, job)
        except RuntimeError as error:  # it is broken, or was shut down
            self._fail(index, error)

    def _wait(self) -> None:
        while self._running:
            done, _ = wait(self._running, return_when=FIRST_COMPLETED)
            self._collect(done)

    def _collect(self, futures: Iterable[Future[_Facts]]) -> None:
        for future in futures:
            index, job = self._running.pop(future)
            try:
                facts = future.result()
                if facts is not None:
                    _move(job.staged, job.output)
            except BrokenExecutor:
                self._lost.append((index, job))
            except Exception as error:
                self._fail(index, error, job)
            else:
                self._keep(index, facts)

    def _keep(self, index: int, facts: _Facts) -> None:
        entry = self._models[index]
        if facts is not None:
            self._finish(index, "converted", make_record(entry, facts))
            return
        record = self.records[entry.model_path]
        record["metadata"][OWN_FIELD].pop("error", None)
        self._finish(index, "unchanged", record)

    def _fail(self, index: int, error: BaseException, job: Job | None = None) -> None:
        entry = self._models[index]
        message = _describe_error(error)
        if job is not None:
            message = message.replace(str(job.staged), str(job.output))
        # An earlier result that is there stays, and so does what is known of it.
        earlier = self.records.get(entry.model_path, {"metadata": {}})
        own = {**earlier["metadata"].get(OWN_FIELD, {}), "error": message}
        facts = {**earlier, "metadata": {**earlier["metadata"], OWN_FIELD: own}}
        self._finish(index, "failed", make_record(entry, facts))

    def _finish(self, index: int, state: Any, record: dict[str, Any]) -> None:
        entry = self._models[index]
        result = ZooResult(entry, self._outputs[index], state, record)
        self.results[index] = result
        self.records[entry.model_path] = record
        add_record(self._folder, record)
        if self._progress is not None:
            self._progress(result, len(self.results), len(self._models))


def _move(staged: Path, output: Path) -> None:
    """Puts a compressed model in its place, external data first."""
    output.parent.mkdir(parents=True, exist_ok=True)
    if not data_path(staged).exists():
        staged.replace(output)
        data_path(output).unlink(missing_ok=True)
        return
    rename_both(staged, data_path(staged), output)


def _describe_error(error: BaseException) -> str:
    if isinstance(error, WlOnnxError):
        return str(error)
    if isinstance(error, MemoryError):
        return "cannot go on: memory ran out"
    if isinstance(error, BrokenExecutor):
        return "cannot go on: the process must stay alive, got killed; memory may have run out"
    return f"cannot go on: {type(error).__name__}: {error}"
