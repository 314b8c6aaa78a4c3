from __future__ import annotations

import dataclasses
import logging
from typing import Any

import numpy as np
import pytest

from wl_onnx.errors import InputError
from wl_onnx.evaluation import Feeds, limit_feeds, load_feeds, split_feeds, warn_one_sided


@dataclasses.dataclass(frozen=True)
class Input:
    name: str = "x"
    type: str = "tensor(float)"
    shape: tuple[int | str | None, ...] = ("N", 2)


def make_rows(count: int) -> np.ndarray:
    return np.arange(2 * count, dtype=np.float32).reshape(count, 2)


def load(count: int, batch: int | str = "N") -> Feeds:
    """Samples whose numbers and labels tell which they are."""
    inputs = (Input(shape=(batch, 2)), Input("i", "tensor(int64)", (batch,)))
    data = {"x": make_rows(count), "i": np.arange(count), "labels": np.arange(count) + 1000}
    return load_feeds(data, inputs)


def samples(feeds: Feeds) -> np.ndarray:
    """Which samples there are, each checked to be whole."""
    indices = np.concatenate([batch["i"] for batch in feeds.batches])
    np.testing.assert_array_equal(
        np.concatenate([batch["x"] for batch in feeds.batches]), make_rows(10_000)[indices]
    )
    assert feeds.labels is not None
    np.testing.assert_array_equal(feeds.labels, indices + 1000)
    assert feeds.num_samples == len(indices)
    assert feeds.label_counts == tuple(len(batch["i"]) for batch in feeds.batches)
    return indices


@pytest.mark.parametrize("count", [2, 3, 255, 700, 1301])
def test_every_sample_is_in_one_half(count: int) -> None:
    halves = split_feeds(load(count))
    first, second = map(samples, halves)
    assert len(first) == count // 2
    assert sorted([*first, *second]) == list(range(count))
    for feeds in halves:
        assert all(len(batch["i"]) == 256 for batch in feeds.batches[:-1])
        assert {name: len(array) for name, array in feeds.sample.items()} == {"x": 1, "i": 1}


def test_the_halves_follow_from_the_seed_and_mix_sorted_data() -> None:
    feeds = load(1000)
    first, again, other = (samples(split_feeds(feeds, seed=seed)[0]) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    # Of 1000 sorted samples, a half drawn at random has 250 +- 8 of the first 500.
    assert 200 < (first < 500).sum() < 300
    np.testing.assert_array_equal(samples(feeds), np.arange(1000))


def test_samples_beyond_the_most_are_left_out_and_that_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "wl_onnx"):
        halves = split_feeds(load(1000), max_samples=300)
    first, second = map(samples, halves)
    assert len(first) == len(second) == 300
    assert not set(first) & set(second)
    assert "300 samples to calibrate on and 300 to validate on, of 1000" in caplog.text


@pytest.mark.parametrize(
    ("count", "max_samples", "expected"),
    [(40, 4000, (20, 20)), (59, 4000, (20, 30)), (99, 25, (20, 20)), (99, 3, (10, 10))],
)
def test_fixed_batches_stay_full(
    count: int, max_samples: int, expected: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    halves = split_feeds(load(count, 10), max_samples=max_samples)
    assert tuple(len(samples(feeds)) for feeds in halves) == expected
    for feeds in halves:
        assert {len(batch["x"]) for batch in feeds.batches} == {10}
        assert len(feeds.sample["x"]) == 10


def test_one_batch_is_both_halves_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    for feeds in (load(19, 10), load(1), load_feeds([{"x": make_rows(5)}], [Input()])):
        caplog.clear()
        assert split_feeds(feeds) == (feeds, feeds)
        assert "the data is one batch, on which the model is both" in caplog.text


@pytest.mark.parametrize("with_labels", [False, True])
def test_batches_of_a_caller_go_to_both_in_turn(with_labels: bool) -> None:
    batches: list[dict[str, Any]] = [{"x": make_rows(n)} for n in (1, 2, 3, 4, 5)]
    if with_labels:
        for batch in batches:
            batch["labels"] = np.full(len(batch["x"]), len(batch["x"]))
    halves = split_feeds(load_feeds(batches, [Input()]))
    for feeds, sizes in zip(halves, ([1, 3, 5], [2, 4]), strict=True):
        assert [len(batch["x"]) for batch in feeds.batches] == sizes
        assert feeds.num_samples == len(sizes)
        assert len(feeds.sample["x"]) == sizes[0]
        if with_labels:
            np.testing.assert_array_equal(feeds.labels, np.repeat(sizes, sizes))
            assert feeds.label_counts == tuple(sizes)
        else:
            assert feeds.labels is None
    limited = split_feeds(load_feeds(batches, [Input()]), max_samples=2)
    sizes = [[len(batch["x"]) for batch in feeds.batches] for feeds in limited]
    assert sizes == ([[1], [2]] if with_labels else [[1, 3], [2, 4]])


def test_random_feeds_are_split_by_batches() -> None:
    first, second = split_feeds(load_feeds(None, [Input()]))
    assert len(first.batches) == len(second.batches) == 4


def test_taking_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="must be enough for a batch, got 9 of 20"):
        load(20, 10).take(np.arange(9))
    with pytest.raises(InputError, match="must be enough for a batch, got 0 of 20"):
        load(20).take(np.arange(0))


@pytest.mark.parametrize(
    ("labels", "num_classes", "expected"),
    [
        (np.arange(100) % 10, 10, False),
        (np.zeros(100, int), 10, True),
        (np.zeros(100, int), None, True),
        (np.arange(100) % 3, 100, True),
        (np.arange(100) // 10, None, False),
        (np.where(np.arange(100) < 60, 0, np.arange(100) % 10), 10, True),
        (np.arange(100) % 5 // 4, 2, False),
        (np.arange(100) % 20 // 19, 2, True),
        (np.arange(50), 1000, False),
        (np.zeros(9, int), 10, False),
        (None, 10, False),
    ],
)
def test_one_sided_labels_are_warned_of(
    labels: np.ndarray | None,
    num_classes: int | None,
    expected: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert warn_one_sided(labels, num_classes) == expected
    assert ("the calibration data is one-sided" in caplog.text) == expected


def test_the_warning_says_what_is_wrong_and_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    warn_one_sided(np.array([4] * 60 + [7] * 20), 10)
    (record,) = caplog.records
    assert record.getMessage() == (
        "the calibration data is one-sided: 2 of 10 classes, 75 % of its 80 samples of class 4; "
        "shuffle the data before taking its first samples"
    )


@pytest.mark.parametrize(("batch", "most", "count"), [("N", 300, 300), (64, 300, 256), (64, 5, 64)])
def test_fewer_samples_are_drawn_from_all(batch: int | str, most: int, count: int) -> None:
    feeds = load(1000, batch)
    drawn, again, other = (samples(limit_feeds(feeds, most, seed=seed)) for seed in (4, 4, 5))
    assert len(set(drawn)) == len(drawn) == count
    np.testing.assert_array_equal(drawn, again)
    assert set(drawn) != set(other)
    assert drawn.max() > 700


def test_few_samples_stay_as_they_are() -> None:
    feeds = load(300)
    assert limit_feeds(feeds, 300) is feeds


def test_of_batches_of_a_caller_some_are_drawn() -> None:
    inputs = (Input(), Input("i", "tensor(int64)", ("N",)))
    numbers = np.arange(30).reshape(10, 3)
    batches = [{"x": make_rows(30)[three], "i": three, "labels": three + 1000} for three in numbers]
    drawn = limit_feeds(load_feeds(batches, inputs), 4)
    assert len(drawn.batches) == 4
    assert drawn.labels is not None
    taken = np.concatenate([batch["i"] for batch in drawn.batches])
    np.testing.assert_array_equal(drawn.labels, taken + 1000)
