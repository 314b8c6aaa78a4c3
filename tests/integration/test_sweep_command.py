"""`wl-onnx sweep` end to end, Ctrl-C included."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.analog_models import store_in_pairs

pytest.importorskip("matplotlib")

INTERRUPT = """
import os, signal
from wl_onnx.cli.main import main
from wl_onnx.evaluation.trial_file import TrialFile

signal.signal(signal.SIGINT, signal.default_int_handler)
add = TrialFile.add
def interrupt(self, trial):
    add(self, trial)
    if len(self.trials) == 3:
        os.kill(os.getpid(), signal.SIGINT)
TrialFile.add = interrupt
main()
"""


@pytest.fixture
def folder(tmp_path: Path, small_mlp: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    onnx.save(small_mlp, "m.onnx")
    for count in (1, 2):
        onnx.save(store_in_pairs(small_mlp, num_cells=count), f"x{count}.onnx")
    rng = np.random.default_rng(0)
    np.savez("d.npz", x=rng.normal(size=(20, 64)).astype(np.float32), labels=np.arange(20) % 16)
    return tmp_path


ARGUMENTS = ["sweep", "x1.onnx", "x2.onnx", "--data", "d.npz", "--seeds", "2", "--out", "o"]


def test_a_sweep_is_printed_kept_and_drawn(run_cli: Callable[..., object], folder: Path) -> None:
    outcome = run_cli(*ARGUMENTS, "--times", "0s,1d", "--original", "m.onnx")
    assert (outcome.status, outcome.err) == (0, "")
    for text in ("x1: 2.", "x2: 4.", "top-1 of the original", "1d", "in o: trials.csv"):
        assert text in outcome.out, text
    names = {path.name for path in Path("o").iterdir()}
    assert names == {"trials.csv", "summary.json"} | {
        f"by_{what}.{kind}" for what in ("time", "cells") for kind in ("png", "svg")
    }
    with Path("o/trials.csv").open(encoding="utf-8", newline="") as file:
        assert file.readline().startswith("# wl-onnx sweep")
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    summary = json.loads(Path("o/summary.json").read_text(encoding="utf-8"))
    mean = np.mean([float(r["value"]) for r in rows if (r["model"], r["time_s"]) == ("x2", "0.0")])
    assert summary["models"][1]["times"][0]["mean"] == pytest.approx(mean)
    again = run_cli(*ARGUMENTS, "--times", "0s,1d", "--original", "m.onnx", "--json", "--no-plots")
    assert json.loads(again.out) == summary


def test_a_sweep_that_is_interrupted_goes_on(
    run_cli: Callable[..., object], folder: Path, child_environment: dict[str, str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPT, *ARGUMENTS, "--jobs", "1"],
        env=child_environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr == (
        "trials so far: o/trials.csv; the same command goes on\nwl-onnx: interrupted\n"
    )
    kept = Path("o/trials.csv").read_text(encoding="utf-8")
    assert 3 <= kept.count("\n") - 2 < 20
    assert [path.name for path in Path("o").iterdir()] == ["trials.csv"]
    assert run_cli(*ARGUMENTS, "--quiet").status == 0
    text = Path("o/trials.csv").read_text(encoding="utf-8")
    assert text.startswith(kept)
    assert text.count("\n") == 2 + 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["m.onnx"], "cannot sweep m.onnx: it must have the inputs wl_write_seed"),
        (["nowhere.onnx"], "nowhere.onnx"),
        (["x1.onnx", "--times", "1"], "cannot use time '1'"),
        (["x1.onnx", "--seeds", "0"], "seeds must be in"),
        (["x1.onnx", "--jobs", "-2"], "jobs must not be negative"),
        (["x1.onnx", "--data", "nothing.npz"], "nothing.npz"),
        (["x1.onnx", "--original", "nothing.onnx"], "nothing.onnx"),
    ],
)
def test_bad_input_is_one_line(
    run_cli: Callable[..., object], folder: Path, arguments: list[str], message: str
) -> None:
    outcome = run_cli("sweep", *arguments, "-o", "o")
    assert outcome.status == 1
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""
