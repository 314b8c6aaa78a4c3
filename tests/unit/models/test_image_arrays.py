from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.marked_images import make_marked_images
from tests.model_scripts import load_script

ScriptError = load_script("script_command").ScriptError
FORMS = {
    "mnist": (load_script("mnist").read_mnist, (28, 28), "an .npz file or a folder"),
    "cifar10": (load_script("cifar10").read_cifar10, (32, 32, 3), "an .npz file, got"),
}


def write_text(path: Path, _: dict[str, np.ndarray]) -> None:
    path.write_text("no archive")


def write_array(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        np.save(file, arrays["x_test"])


def write_part(path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(path, **arrays)
    path.write_bytes(path.read_bytes()[:-100])


def write_others(path: Path, _: dict[str, np.ndarray]) -> None:
    np.savez(path, x=np.zeros(3))


def write_with(**changes: Callable[[np.ndarray], np.ndarray]) -> Callable[..., None]:
    def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
        changed = {name: change(arrays[name]) for name, change in changes.items()}
        np.savez(path, **(arrays | changed))

    return write


@pytest.mark.parametrize("dataset", FORMS)
@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda *_: None, "it must be {expected}.*No such file"),
        (write_text, "it must be {expected}"),
        (write_array, "it must be {expected}.*it holds a single array"),
        (write_part, "it must be {expected}"),
        (write_others, "it must hold x_train, y_train, x_test, y_test, got no such array"),
        (write_with(x_train=lambda x: x[:, 0]), r"x_train must be uint8 \[n, {shape}\], got uint8"),
        (write_with(x_test=lambda x: x / 255), r"x_test must be uint8 \[n, {shape}\], got float"),
        (write_with(x_test=lambda x: x[:0]), r"x_test must be uint8 .*, got uint8 \[0, {shape}\]"),
        (write_with(y_test=lambda y: y + 10), r"y_test must be 12 whole numbers in 0\.\.9"),
        (write_with(y_test=lambda y: y / 2), r"y_test must be 12 .*, got float64 \[12\]"),
        (write_with(y_train=lambda y: y[1:]), r"y_train must be 20 .*, got uint8 \[19\]"),
    ],
)
def test_missing_and_foreign_arrays_are_refused(
    tmp_path: Path, dataset: str, write: Callable[..., None], message: str
) -> None:
    read, shape, expected = FORMS[dataset]
    path = tmp_path / "images.npz"
    write(path, make_marked_images(20, 12, shape))
    pattern = message.format(expected=expected, shape=", ".join(map(str, shape)))
    with pytest.raises(ScriptError, match=f"^cannot read .*{pattern}") as refused:
        read(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("dataset", FORMS)
def test_labels_of_any_whole_type_become_bytes(tmp_path: Path, dataset: str) -> None:
    read, shape, _ = FORMS[dataset]
    arrays = make_marked_images(20, 12, shape)
    path = tmp_path / "images.npz"
    np.savez(path, **(arrays | {"y_test": arrays["y_test"].astype(np.int64)}))
    labels = read(path)["y_test"]
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, arrays["y_test"])
