from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from wl_onnx.errors import InputError
from wl_onnx.evaluation.sweep_summary import summarize_sweep
from wl_onnx.evaluation.trial_file import Trial, TrialFile

TRIALS = [
    Trial("a, b", "0123", 0, 20.0, 2**63 - 1, 5, 0.1 + 0.2),
    Trial('with "quotes"', "4567", 7, 1e-3, 1, 2, float("inf")),
    Trial("a, b", "0123", 1, 20.0, 3, 4, -1.5),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = TrialFile(tmp_path / "trials.csv", "data=1")
    for trial in TRIALS:
        file.add(trial)
    file.close()
    return file.path


def test_trials_come_back_as_they_were(path: Path) -> None:
    before = path.read_bytes()
    file = TrialFile(path, "data=1")
    file.close()
    assert list(file.trials.values()) == TRIALS
    assert file.trials[("a, b", 1, 20.0)] == TRIALS[2]
    assert path.read_bytes() == before


def test_a_trial_is_on_disk_as_soon_as_it_is_added(path: Path) -> None:
    file = TrialFile(path, "data=1")
    file.add(dataclasses.replace(TRIALS[0], seed=9))
    assert path.read_text(encoding="utf-8").count("\n") == 2 + 4
    file.close()


def test_a_half_written_line_is_dropped_wherever_it_was_cut(path: Path) -> None:
    whole = path.read_bytes()
    last = whole[:-1].rfind(b"\n") + 1
    for cut in range(last, len(whole)):
        path.write_bytes(whole[:cut])
        file = TrialFile(path, "data=1")
        assert list(file.trials.values()) == TRIALS[:2], cut
        file.add(TRIALS[2])
        file.close()
        assert path.read_bytes() == whole


def test_a_half_written_header_is_begun_anew(path: Path) -> None:
    whole = path.read_bytes()
    header = whole[: whole.find(b"\n", whole.find(b"\n") + 1) + 1]
    for cut in range(len(header)):
        path.write_bytes(header[:cut])
        TrialFile(path, "data=1").close()
        assert path.read_bytes() == header, cut


def test_trials_of_other_data_are_refused_unless_forced(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(InputError, match="its trials must be of the same data"):
        TrialFile(path, "data=2")
    assert path.read_bytes() == before
    file = TrialFile(path, "data=2", force=True)
    file.close()
    assert not file.trials
    assert path.read_text(encoding="utf-8").startswith("# wl-onnx sweep 1 data=2\nmodel,")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("# wl-onnx", "# other", "it must be a file of a sweep, got another"),
        ("model,", "name,", "its columns must be model, model_sha256"),
        (",7,", ",x,", 'each line must be a trial, got \'with "quotes",4567,x,'),
        (",inf", ",nan", "in line 4"),
        (",inf", "", "in line 4"),
    ],
)
def test_damaged_files_are_refused(path: Path, old: str, new: str, message: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)):
        TrialFile(path, "data=1")


@pytest.mark.parametrize("content", [b"hello", b"a\nb\n", b"\xff\xfe\n\n"])
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "trials.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match="it must be a file of a sweep"):
        TrialFile(path, "data=1")
    assert path.read_bytes() == content


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it must be writable"):
        TrialFile(tmp_path / "nowhere" / "trials.csv", "data=1")


def make_trials(values: list[float], time_s: float = 1.0) -> list[Trial]:
    return [Trial("m", "0", i, time_s, 0, 0, value) for i, value in enumerate(values)]


def summarize(trials: list[Trial], baseline: float | None = None) -> dict:
    models = {"m": {"path": "m.onnx", "cells_per_weight": 2.0, "baseline": baseline}}
    return summarize_sweep(trials, models, metric="accuracy", reference="original", seed=3)


def test_a_summary() -> None:
    values = [0.9, 0.5, 0.7, 0.8]
    summary = summarize(make_trials([1.0], 2.0) + make_trials(values), baseline=0.95)
    assert (summary["metric"], summary["seed"]) == ("accuracy", 3)
    first, second = summary["models"][0]["times"]
    assert (first["time_s"], second["time_s"]) == (1.0, 2.0)
    assert first["trials"] == 4
    assert first["mean"] == pytest.approx(0.725)
    assert first["deviation"] == pytest.approx((0.0875 / 3) ** 0.5)
    assert (first["worst"], first["best"]) == (0.5, 0.9)
    assert first["mean_drop"] == pytest.approx(22.5)
    assert second["deviation"] is None
    ten = summarize(make_trials([i / 10 for i in range(21)]))["models"][0]["times"][0]
    assert ten["quantiles"] == {"0.1": 0.2, "0.5": 1.0, "0.9": 1.8}
    assert "mean_drop" not in ten


def test_infinite_values_have_no_mean() -> None:
    entry = summarize(make_trials([1.0, float("inf"), 2.0]))["models"][0]["times"][0]
    assert (entry["mean"], entry["deviation"], entry["best"]) == (None, None, None)
    assert (entry["worst"], entry["quantiles"]["0.5"]) == (1.0, 2.0)
