"""`wl-onnx store` end to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import wl_onnx
from tests.classifiers import make_mlp_classifier
from tests.storages import run_stored
from tests.unit.graph import builders

Run = Callable[..., object]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small model with its data, and models of other kinds."""
    monkeypatch.chdir(tmp_path)
    classifier = make_mlp_classifier()
    onnx.save(classifier.model, "m.onnx")
    np.savez("d.npz", **classifier.data)
    return tmp_path


@pytest.fixture
def refuse(run_cli: Run, in_a_folder: Path) -> Callable[..., str]:
    """Runs a command that must fail on one line without a file, and gives the line."""

    def run(*arguments: object) -> str:
        before = {path.name: path.read_bytes() for path in in_a_folder.iterdir()}
        outcome = run_cli("store", *arguments)
        assert outcome.status in (1, 2)
        assert outcome.out == ""
        assert outcome.err.count("\n") == 1, outcome.err
        assert outcome.err.startswith("wl-onnx: ")
        assert {path.name: path.read_bytes() for path in in_a_folder.iterdir()} == before
        return str(outcome.err)

    return run


def test_lenet5_in_cells(
    run_cli: Run, find_model: Callable[[str], Path], digits: dict[str, np.ndarray]
) -> None:
    model = find_model("lenet5")
    outcome = run_cli(
        "store", model, "-o", "s.onnx", "--device", "pcm-nandakumar2019", "--cells", 1,
        "--protect", "sign,adaptive,sparsity", "--sparsity", 0.5, "--time", "1d", "--write-bits", 8,
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    for text in ("analog cells", "cells/weight", "int8, digital", "palette of the same loss"):
        assert text in outcome.out
    stored = onnx.load("s.onnx")
    name = stored.graph.input[0].name
    feeds = {name: digits["input"][:500]}
    output = stored.graph.output[0].name
    right = [
        (
            run_stored(stored, feeds, output=output, read_seed=seed).argmax(1)
            == digits["labels"][:500]
        )
        for seed in range(3)
    ]
    assert np.mean(right) > 0.95
    again = run_cli("store", model, "-o", "t.onnx", "--sparsity", 0.5, "--json", "--seed", 0)
    assert Path("t.onnx").read_bytes() == Path("s.onnx").read_bytes()
    report = json.loads(again.out)
    count = sum(one["num_weights"] for one in report["tensors"])
    assert report["cells"]["analog"] == pytest.approx(0.5 * count, abs=len(report["tensors"]))
    assert report["cells"]["total"] < 0.15 * report["baselines"]["float32"]
    assert set(report["baselines"]) == {"float32", "int8", "palette"}


def test_lenet5_with_data(run_cli: Run, find_model: Callable[[str], Path]) -> None:
    model = find_model("lenet5")
    outcome = run_cli(
        "store", model, "-o", "s.onnx", "--data", model.parent / "digits.npz", "--reads", 3,
        "--protect", "sign,adaptive,sensitivity", "--cells", 1.5, "--json",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    report = json.loads(outcome.out)
    assert report["search"]["drop"] < 3
    assert report["search"]["reads"] == 3
    count = sum(one["num_weights"] for one in report["tensors"])
    assert 1.3 * count < report["cells"]["analog"] <= 1.5 * count


def test_limits_and_budgets(run_cli: Run) -> None:
    common = ["--data", "d.npz", "--trials", 4, "--reads", 3, "--json"]
    for name, flags in {
        "drop": ["--max-drop", 1],
        "analog": ["--max-drop", 1, "--analog-only"],
        "budget": ["--cell-budget", 2],
    }.items():
        outcome = run_cli("store", "m.onnx", "-o", f"{name}.onnx", *flags, *common)
        assert outcome.status == 0, outcome.err
        report = json.loads(outcome.out)
        if name == "budget":
            assert report["cells"]["per_weight"] <= 2
        else:
            assert report["search"]["drop"] <= 1
    shown = run_cli("store", "m.onnx", "-o", "b.onnx", "--max-kl", 0.1, *common[:-1])
    assert shown.status == 0, shown.err
    assert "validation, mean of 3 writes" in shown.out


def test_what_is_stored_is_inspected_decompressed_and_not_stored_again(
    run_cli: Run, refuse: Callable[..., str]
) -> None:
    assert run_cli("store", "m.onnx", "-o", "s.onnx", "--quiet").out == ""
    shown = run_cli("inspect", "s.onnx")
    assert shown.status == 0, shown.err
    assert "analog" in shown.out
    assert run_cli("decompress", "s.onnx", "-o", "plain.onnx").status == 0
    before, after = (builders.arrays_of(onnx.load(name)) for name in ("m.onnx", "plain.onnx"))
    np.testing.assert_allclose(after["w0"], before["w0"], atol=0.02)
    assert "must not be compressed yet" in refuse("s.onnx", "-o", "again.onnx")
    compared = run_cli("compare", "m.onnx", "s.onnx", "--data", "d.npz")
    assert compared.status == 0, compared.err


def test_what_is_left_is_said(run_cli: Run) -> None:
    outcome = run_cli("store", "m.onnx", "-o", "s.onnx", "--exclude", "w1")
    assert outcome.status == 0, outcome.err
    assert "left as it is: w1 (is not selected by include and exclude)" in outcome.out
    onnx.save(builders.functions(), "f.onnx")
    outcome = run_cli("store", "f.onnx", "-o", "g.onnx")
    assert "lies in a function, where the seeds of a read cannot reach it" in outcome.out


def test_a_measured_device(run_cli: Run, refuse: Callable[..., str]) -> None:
    Path("c.csv").write_text("level,mean [uS],deviation [uS]\n0,0,0.2\n1,20,1\n", encoding="utf-8")
    outcome = run_cli("store", "m.onnx", "-o", "s.onnx", "--table", "c.csv")
    assert outcome.status == 0, outcome.err
    assert "c.csv" in outcome.out
    line = refuse("m.onnx", "-o", "t.onnx", "--table", "c.csv", "--device", "gaussian")
    assert "the device must be a known one or a table" in line
    Path("bad.csv").write_text("level,mean [uS],deviation [uS]\n0,0,-1\n1,20,1\n", encoding="utf-8")
    assert "deviation" in refuse("m.onnx", "-o", "t.onnx", "--table", "bad.csv")


MISTAKES = [
    ("--device pcm", "one of pcm-nandakumar2019, pcm-joshi2020, gaussian or gaussian:S, got 'pcm'"),
    ("--table absent.csv", "cannot use table absent.csv"),
    ("--cells 0", "cells must be above 0 and at most 64, got 0"),
    ("--cells -1", "cells must be above 0 and at most 64, got -1"),
    ("--cells nan", "cells must be above 0 and at most 64, got nan"),
    ("--cells 1.5", "cells must be a whole number where sensitivity does not say"),
    ("--time -1d", "cannot use time '-1d'"),
    ("--time 20", "cannot use time '20'"),
    ("--time 1e9y", "the time must be in 0..1e+12 s"),
    ("--protect sing", "protect must be of sign, adaptive, sparsity, sensitivity, got sing"),
    ("--sparsity 1", "sparsity must be in [0, 1), got 1"),
    ("--mapping single", "mapping must be pair or offset, got single"),
    ("--scale row", "scale must be tensor or channel, got row"),
    ("--ranges 0", "ranges must be a whole number from 1 to 127, got 0"),
    ("--write-bits 17", "write_bits must be a whole number from 1 to 16, got 17"),
    ("--seed -1", "seed must be a whole number from 0 to 2**63 - 1, got -1"),
    ("--digital-bits-per-cell 0", "digital_bits_per_cell must be above 0 and finite, got 0"),
    ("--threads -1", "threads must be a whole number from 0"),
    ("--reads 0", "--reads"),
    ("--trials 0", "--trials"),
    ("--include W*", "W* must match a weight's name"),
    ("--max-drop 1", "there must be data to measure the loss on, got none"),
    ("--max-drop -1 --data d.npz", "max_drop must be a finite number of at least 0"),
    ("--cell-budget 0 --data d.npz", "the cell budget must be above 0, got 0"),
    ("--cell-budget -1 --data d.npz", "the cell budget must be above 0, got -1"),
    ("--cell-budget 0.01 --data d.npz --trials 3 --reads 2", "the budget must be at least some "),
    ("--cell-budget 1 --max-kl 1 --data d.npz", "a cell budget or limits on the loss, got both"),
    ("--min-snr 200 --data d.npz --trials 2 --reads 2", "its loss must keep within the limits"),
    ("--analog-only", "there must be a limit or a cell budget with analog_only"),
    ("--protect sensitivity", "there must be data to measure it on, got none"),
    ("--validation-data d.npz", "it must come with data to calibrate on, got none"),
    ("--data absent.npz", "absent.npz"),
]


@pytest.mark.parametrize(("flags", "message"), MISTAKES, ids=[flags for flags, _ in MISTAKES])
def test_a_mistake_is_one_line(refuse: Callable[..., str], flags: str, message: str) -> None:
    assert message in refuse("m.onnx", "-o", "out.onnx", *flags.split())


def test_models_with_nothing_to_store(
    refuse: Callable[..., str], make_mlp: Callable[..., onnx.ModelProto]
) -> None:
    onnx.save(make_mlp(np.full((8, 8), np.nan, np.float32)), "nan.onnx")
    line = refuse("nan.onnx", "-o", "out.onnx")
    assert "w0: weights must be finite float32 numbers, got nan" in line
    onnx.save(make_mlp(np.zeros((8, 0), np.float32)), "none.onnx")
    assert "it must have a weight to store, got none" in refuse("none.onnx", "-o", "out.onnx")
    assert "no such file" in refuse("absent.onnx", "-o", "out.onnx")
    Path("out.onnx").write_bytes(b"old")
    assert "the output must not exist" in refuse("m.onnx", "-o", "out.onnx")
    assert "must not overwrite the input" in refuse("m.onnx", "-o", "m.onnx", "--force")


def test_reads_in_python_are_those_of_a_file(run_cli: Run) -> None:
    assert run_cli("store", "m.onnx", "-o", "s.onnx", "--seed", 7).status == 0
    read = wl_onnx.read_weights("s.onnx", read_seed=2)
    x = np.load("d.npz")["x"]
    for key, weight in read.items():
        now = run_stored(onnx.load("s.onnx"), {"x": x}, output=key, write_seed=7, read_seed=2)
        np.testing.assert_array_equal(weight.astype(np.float64), now)
