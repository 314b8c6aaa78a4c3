from __future__ import annotations

import dataclasses
import io
import logging
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from wl_onnx.errors import InputError
from wl_onnx.evaluation import load_feeds, load_npz, random_feeds

if TYPE_CHECKING:
    from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Input:
    name: str = "x"
    type: str = "tensor(float)"
    shape: tuple[int | str | None, ...] = ("N", 3)


DYNAMIC = (Input(),)
FIXED = (Input(shape=(4, 3)),)


def rows(count: int, dtype: Any = np.float32) -> np.ndarray:
    return np.arange(count * 3).reshape(count, 3).astype(dtype)


def joined(feeds: Any, name: str = "x") -> np.ndarray:
    return np.concatenate([feed[name] for feed in feeds.batches])


def write_npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def test_a_dynamic_batch_takes_all_samples(tmp_path: Path) -> None:
    labels = np.arange(600) % 7
    path = write_npz(tmp_path / "d.npz", x=rows(600), labels=labels.astype(np.uint8))
    feeds = load_npz(path, DYNAMIC)
    assert [len(feed["x"]) for feed in feeds.batches] == [256, 256, 88]
    np.testing.assert_array_equal(joined(feeds), rows(600))
    np.testing.assert_array_equal(feeds.labels, labels)
    assert feeds.labels.dtype == np.int64
    assert (feeds.num_samples, feeds.num_dropped) == (600, 0)
    np.testing.assert_array_equal(feeds.sample["x"], rows(1))


def test_a_fixed_batch_drops_the_rest_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_npz(tmp_path / "d.npz", x=rows(11), labels=np.arange(11))
    with caplog.at_level(logging.WARNING, "wl_onnx"):
        feeds = load_npz(path, FIXED)
    assert [feed["x"].shape for feed in feeds.batches] == [(4, 3), (4, 3)]
    np.testing.assert_array_equal(joined(feeds), rows(8))
    np.testing.assert_array_equal(feeds.labels, np.arange(8))
    assert (feeds.num_samples, feeds.num_dropped) == (8, 3)
    assert "the last 3 of 11 samples do not fill a batch of 4, dropped" in caplog.text
    assert feeds.sample["x"].shape == (4, 3)


def test_one_fixed_input_sets_the_batch_of_all() -> None:
    inputs = (Input(shape=(4, 3)), Input("y", "tensor(int64)", ("M",)))
    feeds = load_npz({"x": rows(8), "y": np.arange(8)}, inputs)
    np.testing.assert_array_equal(feeds.batches[1]["y"], [4, 5, 6, 7])


def test_an_input_may_be_called_labels() -> None:
    feeds = load_npz({"labels": rows(2)}, (Input("labels"),))
    assert feeds.labels is None
    np.testing.assert_array_equal(joined(feeds, "labels"), rows(2))


def test_other_arrays_are_ignored_and_said_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "wl_onnx"):
        load_npz({"x": rows(2), "ids": np.arange(5)}, DYNAMIC)
    assert "arrays ids are no inputs of the model, ignored" in caplog.text


@pytest.mark.parametrize(
    ("arrays", "inputs", "message"),
    [
        ({"y": rows(2)}, DYNAMIC, r"array named x \(the model's inputs are x\), got y"),
        ({}, DYNAMIC, "must hold an array named x .* got nothing"),
        ({"x": rows(2, np.float64)}, DYNAMIC, "array x must be float32, got float64"),
        ({"x": rows(2)[:, :2]}, DYNAMIC, r"x must have the shape \[samples, 3\], got \[2, 2\]"),
        ({"x": rows(2)[0]}, DYNAMIC, r"must have the shape \[samples, 3\], got \[3\]"),
        ({"x": np.float32(1)}, (Input(shape=()),), "must have samples along axis 0, got a scalar"),
        (
            {"x": rows(2), "y": rows(3)},
            (*DYNAMIC, Input("y")),
            "same number of samples along axis 0, got x 2, y 3",
        ),
        ({"x": rows(3)}, FIXED, "must hold at least 4 samples, got 3"),
        ({"x": rows(0)}, DYNAMIC, "must hold at least 1 samples, got 0"),
        (
            {"x": rows(4), "y": rows(4)},
            (*FIXED, Input("y", shape=(2, 3))),
            "must share one batch size along axis 0, got 2, 4; give an iterable",
        ),
        (
            {"x": rows(2), "labels": np.arange(3)},
            DYNAMIC,
            r"labels must be 2 integers, one a sample, got int64 \[3\]",
        ),
        ({"x": rows(2), "labels": np.ones(2)}, DYNAMIC, "labels must be 2 integers.*float64"),
        (
            {"x": rows(2)},
            (Input(type="seq(tensor(float))"),),
            r"cannot feed input x: it must be a tensor .* got seq\(tensor\(float\)\)",
        ),
        ({"x": rows(2)}, (), "the model must have inputs, got none"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(
    arrays: dict[str, np.ndarray], inputs: tuple[Input, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_npz(arrays, inputs)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_npz_are_refused(tmp_path: Path) -> None:
    text, array = tmp_path / "a.txt", tmp_path / "b.npy"
    text.write_text("x")
    np.save(array, rows(2))
    for path in (text, array):
        with pytest.raises(InputError, match=r"must be an \.npz file, got another kind of file"):
            load_npz(path, DYNAMIC)
    with pytest.raises(InputError, match=r"must be an \.npz file, got Is a directory"):
        load_npz(tmp_path, DYNAMIC)
    with pytest.raises(InputError, match="it must be a file, got none"):
        load_npz(tmp_path / "none.npz", DYNAMIC)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, x=np.array([{}, []], dtype=object))
    with pytest.raises(
        InputError, match=r"array x of .* must be a whole and plain array, got Object"
    ):
        load_npz(path, DYNAMIC)


def test_every_prefix_of_an_npz_is_refused(tmp_path: Path) -> None:
    data = write_npz(tmp_path / "d.npz", x=rows(5)).read_bytes()
    for size in range(len(data)):
        path = tmp_path / "cut.npz"
        path.write_bytes(data[:size])
        with pytest.raises(InputError, match="cannot read"):
            load_npz(path, DYNAMIC)


def test_damaged_members_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, rows(50))
    data = buffer.getvalue()
    for name, member in (("cut", data[:-7]), ("lies", data.replace(b"(50, 3)", b"(90, 3)"))):
        path = tmp_path / f"{name}.npz"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", member)
        with pytest.raises(InputError, match="cannot read array x of"):
            load_npz(path, DYNAMIC)


@pytest.mark.parametrize("mask", [0xFF, 0x01, 0x80])
def test_every_changed_byte_is_refused_or_harmless(tmp_path: Path, mask: int) -> None:
    path = write_npz(tmp_path / "d.npz", x=rows(20))
    data = path.read_bytes()
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :])
        try:
            feeds = load_npz(path, DYNAMIC)
        except InputError as error:
            assert "cannot" in str(error)  # noqa: PT017  one of many messages
        else:
            np.testing.assert_array_equal(joined(feeds), rows(20))


def test_feed_dictionaries_with_labels() -> None:
    given = ({"x": rows(n), "labels": np.full(n, n)} for n in (2, 1))
    feeds = load_feeds(given, DYNAMIC)
    assert [set(feed) for feed in feeds.batches] == [{"x"}, {"x"}]
    np.testing.assert_array_equal(feeds.labels, [2, 2, 1])
    assert feeds.sample["x"].shape == (2, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "must give at least one feed, got none"),
        ([rows(2)], "cannot use feed 0: it must map input names to arrays, got ndarray"),
        ([{"x": rows(1)}, {"y": rows(1)}], "cannot use feed 1: it must hold the inputs x, got y"),
        ([{"x": rows(1), "y": rows(1)}], "cannot use feed 0: it must hold the inputs x, got x, y"),
        ([{"x": rows(1, np.int32)}], "cannot use feed 0: array x must be float32, got int32"),
        ([{"x": rows(1)[:, 1:]}], r"feed 0: array x must have the shape \[N, 3\], got \[1, 2\]"),
        (
            [{"x": rows(1), "labels": np.zeros(1, int)}, {"x": rows(1)}],
            "labels must come with every feed or with none, got 1 of 2",
        ),
        ([{"x": rows(1), "labels": np.zeros((1, 2), int)}], "labels must be 2 integers"),
        (7, "must be an .npz path, a mapping of arrays, an iterable .* got int"),
    ],
)
def test_feeds_that_do_not_fit_are_refused(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_feeds(given, DYNAMIC)


def test_a_fixed_batch_is_checked_in_feeds() -> None:
    with pytest.raises(InputError, match=r"feed 0: array x must have the shape \[4, 3\], got \[3,"):
        load_feeds([{"x": rows(3)}], FIXED)


class Reader:
    """A reader as onnxruntime's calibration takes it."""

    def __init__(self, *, can_rewind: bool) -> None:
        self.can_rewind = can_rewind
        self.position = 0

    def get_next(self) -> dict[str, np.ndarray] | None:
        self.position += 1
        return {"x": rows(self.position)} if self.position <= 3 else None

    def rewind(self) -> None:
        if not self.can_rewind:
            raise NotImplementedError
        self.position = 0


@pytest.mark.parametrize("can_rewind", [True, False])
def test_a_calibration_reader_is_read_to_its_end(can_rewind: bool) -> None:
    reader = Reader(can_rewind=can_rewind)
    reader.get_next()
    feeds = load_feeds(reader, DYNAMIC)
    assert [len(feed["x"]) for feed in feeds.batches] == ([1, 2, 3] if can_rewind else [2, 3])


def test_random_feeds_are_normal_and_follow_from_the_seed() -> None:
    inputs = (Input(shape=("N", 5000, None)),)
    feeds = random_feeds(inputs, seed=3)
    assert len(feeds.batches) == feeds.num_samples == 8
    values = joined(feeds)
    assert values.shape == (8, 5000, 1)
    assert values.dtype == np.float32
    # Within four standard errors of 0 and 1.
    assert abs(values.mean()) < 4 / np.sqrt(values.size)
    assert abs(values.std() - 1) < 4 / np.sqrt(2 * values.size)
    np.testing.assert_array_equal(values, joined(load_feeds(None, inputs, seed=3)))
    assert not np.array_equal(values, joined(random_feeds(inputs, seed=4)))


@pytest.mark.parametrize(
    ("kind", "dtype", "values"),
    [
        ("int64", np.int64, {0, 1}),
        ("uint32", np.uint32, {0, 1}),
        ("bool", np.bool_, {False, True}),
        ("uint8", np.uint8, set(range(256))),
        ("int8", np.int8, set(range(-128, 128))),
    ],
)
def test_random_integers_stay_in_their_range(kind: str, dtype: type, values: set[int]) -> None:
    (feed, *_) = random_feeds((Input(type=f"tensor({kind})", shape=(9000,)),)).batches
    assert feed["x"].dtype == dtype
    assert set(feed["x"].tolist()) == values


def test_random_scalars_and_texts() -> None:
    inputs = (Input(shape=()), Input("t", "tensor(string)", (2,)), Input("h", "tensor(float16)"))
    feed = random_feeds(inputs).sample
    assert feed["x"].shape == ()
    assert feed["t"].tolist() == ["", ""]
    assert feed["h"].dtype == np.float16


def test_a_type_that_numpy_lacks_is_refused() -> None:
    with pytest.raises(InputError, match=r"cannot feed input x: .* got tensor\(bfloat16\)"):
        random_feeds((Input(type="tensor(bfloat16)"),))
