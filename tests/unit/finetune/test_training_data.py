"""Samples for training, from files and from memory, and their division."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from wl_onnx.errors import InputError
from wl_onnx.finetune.training_data import TrainingData, hold_out, read_training_data


@dataclasses.dataclass(frozen=True)
class Input:
    name: str
    shape: tuple[int | str, ...] = ("n", 2)
    type: str = "tensor(float)"


def rows(count: int) -> np.ndarray:
    return np.arange(2 * count, dtype=np.float32).reshape(count, 2)


def numbered(count: int, fixed_batch: int | None = None) -> TrainingData:
    return TrainingData({"x": rows(count)}, np.arange(count), fixed_batch)


def test_an_npz_and_its_arrays_give_the_same(tmp_path: Path) -> None:
    arrays = {"b": rows(3), "a": rows(3) + 1, "labels": np.array([0, 2, 1], np.uint8)}
    np.savez(tmp_path / "data.npz", **arrays)
    inputs = (Input("a"), Input("b"))
    for source in (tmp_path / "data.npz", str(tmp_path / "data.npz"), arrays):
        data = read_training_data(source, inputs, need_labels=True)
        assert list(data.inputs) == ["a", "b"]  # as the graph has them
        np.testing.assert_array_equal(data.inputs["a"], arrays["a"])
        assert data.labels is not None
        assert data.labels.dtype == np.int64
        np.testing.assert_array_equal(data.labels, [0, 2, 1])
        assert data.num_samples == 3
        again = read_training_data(data, inputs, need_labels=True)
        np.testing.assert_array_equal(again.inputs["b"], arrays["b"])


def test_labels_may_be_absent_where_nothing_needs_them() -> None:
    data = read_training_data({"x": rows(3)}, (Input("x"),), need_labels=False)
    assert data.labels is None
    with pytest.raises(InputError, match=r"^cannot fine-tune on data: it must hold an array named"):
        read_training_data({"x": rows(3)}, (Input("x"),), need_labels=True)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"array x must have the shape \[samples, 2\], got"):
        read_training_data({"x": rows(3)[:, :1]}, (Input("x"),), need_labels=False)
    with pytest.raises(InputError, match=r"mapping of arrays, got list$"):
        read_training_data([rows(3)], (Input("x"),), need_labels=False)  # type: ignore[arg-type]


def test_a_fixed_batch_is_kept_full(caplog: pytest.LogCaptureFixture) -> None:
    inputs = (Input("x", (4, 2)),)
    data = read_training_data({"x": rows(11)}, inputs, need_labels=False)
    assert (data.num_samples, data.fixed_batch) == (8, 4)
    assert "the last 3 of 11 samples do not fill a batch of 4" in caplog.text


def test_taking_follows_the_order_of_the_indices() -> None:
    taken = numbered(5).take(np.array([3, 0]))
    np.testing.assert_array_equal(taken.inputs["x"], rows(5)[[3, 0]])
    np.testing.assert_array_equal(taken.labels, [3, 0])


@pytest.mark.parametrize(("share", "held"), [(0.1, 2), (0.5, 10), (0.001, 1), (0.999, 19)])
def test_no_sample_is_in_both_parts_and_none_is_lost(share: float, held: int) -> None:
    train, validation = hold_out(numbered(20), share, seed=3)
    assert train.labels is not None
    assert validation.labels is not None
    assert len(validation.labels) == held
    np.testing.assert_array_equal(
        np.sort(np.concatenate([train.labels, validation.labels])), np.arange(20)
    )
    np.testing.assert_array_equal(validation.inputs["x"], rows(20)[validation.labels])


def test_the_seed_decides_what_is_held_out() -> None:
    first, again, other = (hold_out(numbered(50), 0.2, seed=s)[1].labels for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_both_parts_of_a_fixed_batch_are_whole_batches() -> None:
    train, validation = hold_out(numbered(12, fixed_batch=4), 0.1, seed=0)
    assert (train.num_samples, validation.num_samples) == (8, 4)
    with pytest.raises(InputError, match=r"there must be at least 8, got 4; give validation data"):
        hold_out(numbered(4, fixed_batch=4), 0.5, seed=0)
    with pytest.raises(InputError, match=r"the share must be above 0 and below 1, got 1$"):
        hold_out(numbered(4), 1, seed=0)
