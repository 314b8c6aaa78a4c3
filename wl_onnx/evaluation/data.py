"""What is fed to a model: an npz, feed dictionaries, a calibration reader, or random numbers."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError
from wl_onnx.evaluation.inputs import (
    LABELS,
    InputInfo,
    check_array,
    check_labels,
    draw_array,
)
from wl_onnx.evaluation.samples import read_samples

__all__ = ["Feeds", "Rows", "load_feeds", "load_npz", "random_feeds"]

MAX_BATCH = 256
NUM_RANDOM_FEEDS = 8

_LOG = logging.getLogger(__name__)

Array = npt.NDArray[Any]
Feed = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Rows:
    """How samples that lie along axis 0 go into batches.

    Attributes:
        size: samples of a full batch; each batch but the last is full.
        is_fixed: whether the last one must be full too.
    """

    size: int
    is_fixed: bool


@dataclasses.dataclass(frozen=True)
class Feeds:
    """Batches that a session takes one after another, all in memory.

    Attributes:
        batches: feed dictionaries, input name to array.
        labels: class of each sample, int64 `[num_samples]`, in the order of the batches, or None.
        sample: the feed on which latency and memory are measured: one sample where the batch is
            dynamic and the samples are known, else the first batch.
        num_samples: samples in all batches; batches, where samples are not known.
        num_dropped: samples left out because they did not fill a batch.
        rows: how samples go into batches; None where they are not known, as in feeds that a
            caller made.
        label_counts: labels of each batch; empty where there are no labels.
    """

    batches: tuple[Feed, ...]
    labels: npt.NDArray[np.int64] | None
    sample: Feed
    num_samples: int
    num_dropped: int = 0
    rows: Rows | None = None
    label_counts: tuple[int, ...] = ()

    def take(self, indices: npt.NDArray[np.integer]) -> Feeds:
        """The feeds of some samples, or of some batches where samples are not known.

        Args:
            indices: integers [n], in the order that they are to have; each in
                0..num_samples - 1. With a fixed batch, a rest that does not fill one is left out.

        Returns:
            Feeds of their own arrays where samples are known, else of the same.

        Raises:
            InputError: nothing is left.
        """
        num_used = len(indices)
        if self.rows is not None and self.rows.is_fixed:
            num_used -= num_used % self.rows.size
        if num_used == 0:
            raise InputError(
                "cannot take samples: there must be enough for a batch, got "
                f"{len(indices)} of {self.num_samples}"
            )
        if self.rows is None:
            return self._take_batches(indices)
        chosen = np.asarray(indices[:num_used])
        starts = range(0, num_used, self.rows.size)
        batches = tuple(self._gather(chosen[s : s + self.rows.size]) for s in starts)
        labels = None if self.labels is None else self.labels[chosen]
        return dataclasses.replace(
            self,
            batches=batches,
            labels=labels,
            sample=batches[0] if self.rows.is_fixed else _rows(batches[0], 0, 1),
            num_samples=num_used,
            num_dropped=0,
            label_counts=_count_rows(batches) if labels is not None else (),
        )

    def _take_batches(self, indices: npt.NDArray[np.integer]) -> Feeds:
        batches = tuple(self.batches[index] for index in indices)
        labels, counts = None, tuple(self.label_counts[i] for i in indices if self.label_counts)
        if self.labels is not None:
            ends = np.cumsum(self.label_counts)
            pieces = np.split(self.labels, ends[:-1])
            labels = np.concatenate([pieces[index] for index in indices])
        return dataclasses.replace(
            self,
            batches=batches,
            labels=labels,
            sample=batches[0],
            num_samples=len(batches),
            label_counts=counts,
        )

    def _gather(self, indices: npt.NDArray[np.integer]) -> Feed:
        """A batch of samples, wherever they are."""
        assert self.rows is not None  # noqa: S101  the only caller has seen to it
        owners, places = np.divmod(indices, self.rows.size)
        feed: Feed = {}
        for name, first in self.batches[0].items():
            values = np.empty((len(indices), *first.shape[1:]), first.dtype)
            for owner in np.unique(owners):
                mine = owners == owner
                values[mine] = self.batches[owner][name][places[mine]]
            feed[name] = values
        return feed


def load_feeds(data: Any, inputs: Sequence[InputInfo], *, seed: int = 0) -> Feeds:
    """Feeds from whatever a caller may give as `data`.

    Args:
        data: path of an npz; a mapping of arrays like an npz; an object with `get_next()`
            (onnxruntime's `CalibrationDataReader`); an iterable of feed dictionaries, each with
            `labels` beside the inputs where accuracy is wanted; or None for random numbers.
        inputs: the inputs of the session.
        seed: seed of the random numbers.

    Raises:
        InputError: the data do not fit the inputs.
    """
    if data is None:
        return random_feeds(inputs, seed=seed)
    if isinstance(data, (str, os.PathLike, Mapping)):
        return load_npz(data, inputs)
    if hasattr(data, "get_next"):
        return _collect(_read_all(data), inputs)
    if isinstance(data, Iterable):
        return _collect(data, inputs)
    raise InputError(
        "cannot use data: it must be an .npz path, a mapping of arrays, an iterable of feed "
        f"dictionaries or a reader with get_next(), got {type(data).__name__}"
    )


def load_npz(
    source: str | os.PathLike[str] | Mapping[str, Array], inputs: Sequence[InputInfo]
) -> Feeds:
    """Feeds from arrays named after the inputs, samples along axis 0.

    A model with a fixed batch is fed that many rows at a time, and a rest that does not fill a
    batch is dropped with a warning; any other is fed up to 256 rows at a time. An array named
    `labels`, unless an input has that name, holds the class of each sample. Other arrays are
    ignored with a warning.

    Args:
        source: path of an npz, or the arrays by name.
        inputs: the inputs of the session.

    Raises:
        InputError: not an npz, pickled objects, an input without an array, a wrong dtype or
            shape, lengths that differ, or fewer samples than one batch.
    """
    samples = read_samples(source, inputs)
    arrays, step = samples.inputs, samples.fixed_batch or MAX_BATCH
    batches = tuple(
        _rows(arrays, start, start + step) for start in range(0, samples.num_samples, step)
    )
    return Feeds(
        batches=batches,
        labels=samples.labels,
        sample=_rows(arrays, 0, samples.fixed_batch or 1),
        num_samples=samples.num_samples,
        num_dropped=samples.num_dropped,
        rows=Rows(step, is_fixed=samples.fixed_batch is not None),
        label_counts=() if samples.labels is None else _count_rows(batches),
    )


def random_feeds(
    inputs: Sequence[InputInfo], *, seed: int = 0, count: int = NUM_RANDOM_FEEDS
) -> Feeds:
    """Random feeds: floats standard normal, 8-bit integers over their range, the rest 0 or 1.

    Symbolic dimensions, the batch among them, are 1. Texts are empty.

    Args:
        inputs: the inputs of the session.
        seed: seed of the draws.
        count: number of feeds.

    Raises:
        InputError: an input is no tensor, or of a type that NumPy lacks.
    """
    rng = np.random.default_rng(seed)
    batches = tuple({info.name: draw_array(info, rng) for info in inputs} for _ in range(count))
    return Feeds(batches=batches, labels=None, sample=batches[0], num_samples=count)


def _rows(arrays: Feed, start: int, stop: int) -> Feed:
    return {name: array[start:stop] for name, array in arrays.items()}


def _count_rows(batches: Iterable[Feed]) -> tuple[int, ...]:
    return tuple(len(next(iter(batch.values()))) for batch in batches)


def _read_all(reader: Any) -> Iterator[Any]:
    """The feeds of a `CalibrationDataReader`, from the first where it can be rewound."""
    if hasattr(reader, "rewind"):
        try:
            reader.rewind()
        except NotImplementedError:
            _LOG.debug("%s cannot be rewound, read from where it stands", type(reader).__name__)
    while (feed := reader.get_next()) is not None:
        yield feed


def _collect(feeds: Iterable[Any], inputs: Sequence[InputInfo]) -> Feeds:
    names = {info.name for info in inputs}
    batches: list[Feed] = []
    labels: list[npt.NDArray[np.int64]] = []
    for index, feed in enumerate(feeds):
        origin = f"feed {index}"
        if not isinstance(feed, Mapping):
            raise InputError(
                f"cannot use {origin}: it must map input names to arrays, got {type(feed).__name__}"
            )
        arrays = {str(name): np.asarray(value) for name, value in feed.items()}
        if LABELS in arrays and LABELS not in names:
            array = arrays.pop(LABELS)
            labels.append(check_labels(array, array.size, origin))
        if set(arrays) != names:
            raise InputError(
                f"cannot use {origin}: it must hold the inputs {', '.join(sorted(names))}, got "
                f"{', '.join(sorted(arrays)) or 'nothing'}"
            )
        for info in inputs:
            check_array(arrays[info.name], info, origin, any_batch=False)
        batches.append(arrays)
    if not batches:
        raise InputError("cannot use data: it must give at least one feed, got none")
    if labels and len(labels) != len(batches):
        raise InputError(
            f"cannot use data: labels must come with every feed or with none, got {len(labels)} "
            f"of {len(batches)}"
        )
    return Feeds(
        batches=tuple(batches),
        labels=np.concatenate(labels) if labels else None,
        sample=batches[0],
        num_samples=len(batches),
        label_counts=tuple(map(len, labels)),
    )
