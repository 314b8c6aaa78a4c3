"""Checkpoints: what comes back, what is refused, and what an interruption leaves."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.finetune.modules import classified, linear_module, values_of
from wl_onnx.errors import InputError
from wl_onnx.finetune.training_data import TrainingData

torch = pytest.importorskip("torch", reason="torch is not installed")

from wl_onnx.finetune.checkpoint import Checkpoint, Fingerprint, hash_data  # noqa: E402
from wl_onnx.finetune.loop import Trainer, TrainerState  # noqa: E402

RUN = Fingerprint(model="a1", recipe="weightless", data="b2", seed=0)


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "run.ckpt", RUN)
    assert checkpoint.load() is None
    state = {
        "tensor": torch.arange(6.0).reshape(2, 3),
        "blob": bytes(range(256)),
        "nested": {"epoch": 3, "loss": 0.25, "names": ["fc1", "fc2"], "done": True, "none": None},
        "pair": (1, "two"),
        7: "by number",
    }
    checkpoint.save(state)
    loaded = Checkpoint(tmp_path / "run.ckpt", RUN).load()
    assert loaded is not None
    assert loaded.keys() == state.keys()
    np.testing.assert_array_equal(loaded.pop("tensor"), [[0, 1, 2], [3, 4, 5]])
    del state["tensor"]
    assert loaded == state
    checkpoint.save({"second": 2})
    assert checkpoint.load() == {"second": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["run.ckpt"]
    checkpoint.remove()
    checkpoint.remove()
    assert checkpoint.load() is None


@pytest.mark.parametrize("name", ["model", "recipe", "data", "seed"])
def test_checkpoints_of_another_run_are_refused(tmp_path: Path, name: str) -> None:
    Checkpoint(tmp_path / "c", RUN).save({"a": 1})
    other = dataclasses.replace(RUN, **{name: 9})
    with pytest.raises(InputError, match=rf"the same run, got one with another {name}; remove it"):
        Checkpoint(tmp_path / "c", other).load()


def test_a_failed_save_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint(tmp_path / "c", RUN)
    checkpoint.save({"a": 1})

    def stop_halfway(content: Any, file: Any) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", stop_halfway)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save({"a": 2})
    assert checkpoint.load() == {"a": 1}
    assert len(list(tmp_path.iterdir())) == 1

    def fill_disk(content: Any, file: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fill_disk)
    with pytest.raises(
        InputError, match=r"^cannot write checkpoint .*got No space left on device$"
    ):
        checkpoint.save({"a": 2})
    assert checkpoint.load() == {"a": 1}


def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "c", RUN)
    checkpoint.save({"a": torch.ones(3)})
    whole = checkpoint.path.read_bytes()
    for length in range(0, len(whole), 41):
        checkpoint.path.write_bytes(whole[:length])
        with pytest.raises(
            InputError, match=r"^cannot read checkpoint .*; remove it to begin anew"
        ):
            checkpoint.load()


@pytest.mark.parametrize("content", [[1, 2], {"format": "x"}, {"state": {}}, torch.ones(2)])
def test_files_of_others_are_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "c")
    with pytest.raises(InputError, match=r"got a damaged or another kind of file"):
        Checkpoint(tmp_path / "c", RUN).load()


def test_code_in_a_file_does_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"format": Trap()}, tmp_path / "c")
    with pytest.raises(InputError, match="another kind of file"):
        Checkpoint(tmp_path / "c", RUN).load()
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("value", [np.ones(2), np.float64(1), {1, 2}, {"deep": [np.int64(3)]}])
def test_what_could_not_be_read_back_is_not_saved(tmp_path: Path, value: Any) -> None:
    with pytest.raises(TypeError, match=r"^cannot keep state\['x'\].*plain value, got"):
        Checkpoint(tmp_path / "c", RUN).save({"x": value})
    assert not list(tmp_path.iterdir())


def test_paths_where_no_file_can_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"it must be a file, got a directory$"):
        Checkpoint(tmp_path, RUN)
    with pytest.raises(InputError, match=r"its folder must exist, got "):
        Checkpoint(tmp_path / "none" / "c", RUN)


def test_data_are_told_apart() -> None:
    data = TrainingData({"x": np.arange(4, dtype=np.float32).reshape(2, 2)}, np.array([0, 1]))
    others = [
        data.take(np.array([1, 0])),
        dataclasses.replace(data, labels=None),
        dataclasses.replace(data, labels=np.array([1, 1])),
        dataclasses.replace(data, inputs={"y": data.inputs["x"]}),
        dataclasses.replace(data, inputs={"x": data.inputs["x"].reshape(2, 2, 1)}),
        dataclasses.replace(data, inputs={"x": data.inputs["x"].view(np.int32)}),
    ]
    assert len({hash_data(one) for one in (data, *others)}) == 7
    assert hash_data(data) == hash_data(data.take(np.array([0, 1])))


def test_training_goes_on_from_a_file(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "c", RUN)

    def keep(state: TrainerState) -> None:
        if state.step == 10:
            checkpoint.save({"trainer": vars(state)})

    whole, resumed = linear_module(), linear_module(seed=3)
    how = {"learning_rate": 0.1, "on_epoch": keep}
    Trainer(whole, classified(), batch_size=8).run("s", 3, **how)  # type: ignore[arg-type]
    loaded = checkpoint.load()
    assert loaded is not None
    state = TrainerState(**loaded["trainer"])
    Trainer(resumed, classified(), batch_size=8).run("s", 3, learning_rate=0.1, resume=state)
    for name, values in values_of(whole).items():
        np.testing.assert_array_equal(values, values_of(resumed)[name])
