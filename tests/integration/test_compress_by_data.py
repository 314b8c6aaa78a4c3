"""Compression by data on the command line: limits, plans, Ctrl-C, and bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import wl_onnx
from tests.classifiers import Classifier, accuracy, make_mlp_classifier, run

FUNCTIONS = """
def good(session):
    return 1.0

def fails(session):
    raise RuntimeError("no\\nGPU")

def nan(session):
    return float("nan")

def text(session):
    return "good"

number = 3
"""


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return make_mlp_classifier()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classifier: Classifier) -> Path:
    """The working folder: a model, data of all kinds, a plan for another model, functions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "quality", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    onnx.save(classifier.model, "m.onnx")
    x, labels = classifier.x, classifier.labels
    np.savez("d.npz", x=x, labels=labels)
    np.savez("plain.npz", x=x)
    np.savez("name.npz", z=x)
    np.savez("shape.npz", x=x[:, 1:])
    np.savez("type.npz", x=x.astype(np.float64))
    np.savez("empty.npz", x=x[:0], labels=labels[:0])
    np.savez("nothing.npz")
    np.savez("short.npz", x=x, labels=labels[:-1])
    np.savez("classes.npz", x=x, labels=labels + 3)
    np.savez("nan.npz", x=np.full_like(x, np.nan), labels=labels)
    Path("cut.npz").write_bytes(Path("d.npz").read_bytes()[:3000])
    Path("text.npz").write_text("x,labels\n", encoding="utf-8")
    Path("quality.py").write_text(FUNCTIONS, encoding="utf-8")
    other = wl_onnx.compress(make_mlp_classifier(has_bias=False).model).plan
    Path("other.json").write_text(json.dumps(other), encoding="utf-8")
    bare = wl_onnx.compress(classifier.model).plan
    Path("bare.json").write_text(json.dumps(bare), encoding="utf-8")
    Path("broken.json").write_text("{", encoding="utf-8")
    return tmp_path


def list_files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_within_a_limit(
    run_cli: Callable[..., object], folder: Path, classifier: Classifier
) -> None:
    command = "compress m.onnx -o small.onnx --data d.npz --max-drop 1 --trials 6 --report r.json"
    outcome = run_cli(*command.split())
    assert outcome.status == 0, outcome.err
    assert outcome.err == ""
    report = json.loads(Path("r.json").read_text(encoding="utf-8"))
    assert report["search"]["drop"] <= 1
    assert report["search"]["trials"] <= 6
    assert "validation: " in outcome.out
    assert f"{report['search']['trials']} trials" in outcome.out
    plain = wl_onnx.decompress("small.onnx")
    logits = (run(model, classifier.x) for model in (classifier.model, plain))
    before, now = (accuracy(one, classifier.labels) for one in logits)
    assert before - now < 3  # over all of the data, of which half was measured
    assert Path("small.onnx").stat().st_size == report["file"]["compressed_bytes"]


def test_a_plan_is_shown_saved_and_carried_out(
    run_cli: Callable[..., object], folder: Path
) -> None:
    options = "--data d.npz --max-kl 0.1 --trials 4"
    outcomes = [
        run_cli(*command.split())
        for command in (
            f"plan m.onnx {options} --save p.json",
            f"compress m.onnx -o direct.onnx {options}",
            "compress m.onnx -o planned.onnx --data d.npz --plan p.json",
        )
    ]
    assert [outcome.status for outcome in outcomes] == [0, 0, 0], outcomes
    assert "w0" in outcomes[0].out
    assert "loss" in outcomes[0].out
    assert "other codec" in outcomes[0].out
    assert Path("planned.onnx").read_bytes() == Path("direct.onnx").read_bytes()


def test_a_plan_without_data_is_carried_out(run_cli: Callable[..., object], folder: Path) -> None:
    for command in ("compress m.onnx -o a.onnx", "compress m.onnx -o b.onnx --plan bare.json"):
        assert run_cli(*command.split()).status == 0
    logits = [run(wl_onnx.decompress(name), np.load("d.npz")["x"]) for name in ("a.onnx", "b.onnx")]
    np.testing.assert_array_equal(*logits)


def test_a_size_with_a_unit(run_cli: Callable[..., object], folder: Path) -> None:
    command = "compress m.onnx -o s.onnx --data d.npz --trials 5 --report r.json --target-size"
    outcome = run_cli(*command.split(), "1.2 kB")
    assert outcome.status == 0, outcome.err
    report = json.loads(Path("r.json").read_text(encoding="utf-8"))
    assert report["weights"]["compressed_bytes"] <= 1200


def test_a_validation_function(run_cli: Callable[..., object], folder: Path) -> None:
    command = "compress m.onnx -o s.onnx --data plain.npz --max-drop 0.1 --trials 2"
    outcome = run_cli(*command.split(), "--validation-fn", "quality:good")
    assert outcome.status == 0, outcome.err


COMPRESS = "compress m.onnx -o out.onnx --report out.json "
BAD = [
    ("--data name.npz --max-drop 1", "must hold an array named x"),
    ("--data shape.npz --max-kl 1", "array x must have the shape [samples, 24], got [400, 23]"),
    ("--data type.npz --max-kl 1", "array x must be float32, got float64"),
    ("--data empty.npz --max-drop 1", "it must hold at least 1 samples, got 0"),
    ("--data nothing.npz --max-kl 1", "must hold an array named x"),
    ("--data short.npz --max-drop 1", "labels"),
    ("--data plain.npz --max-drop 1", "there must be a label"),
    ("--data classes.npz --max-drop 1", "labels 3 to 7 for 5 classes"),
    ("--data nan.npz --max-drop 1", "must be finite, got NaN or infinity in y"),
    ("--data cut.npz --max-drop 1", "must be an .npz file"),
    ("--data text.npz --max-drop 1", "must be an .npz file"),
    ("--data absent.npz --max-drop 1", "it must be a file, got none"),
    ("--data d.npz --validation-data shape.npz --max-drop 1", "must have the shape"),
    ("--data d.npz --validation-data plain.npz --max-drop 1", "there must be a label"),
    ("--data d.npz", "there must be a limit (max_drop, max_kl, min_snr or target_size)"),
    ("--max-drop 1", "cannot keep within max_drop: there must be data"),
    ("--validation-data d.npz", "cannot use validation_data: it must come with data"),
    ("--calibration-cache c.npz", "cannot use calibration_cache: it must come with data"),
    ("--data d.npz --max-drop -1", "max_drop must be a finite number of at least 0, got -1"),
    ("--data d.npz --max-drop nan", "max_drop must be a finite number of at least 0, got nan"),
    ("--data d.npz --max-kl 0", "max_kl must be a finite number above 0, got 0"),
    ("--data d.npz --min-snr inf", "min_snr must be a finite number of dB, got inf"),
    ("--data d.npz --min-snr 300 --trials 3", "its loss must keep within the limits"),
    ("--data d.npz --target-size 10 --trials 3", "its size, at most 10 bytes, must keep within"),
    ("--data d.npz --target-size 0", "target_size must be at least 1 byte"),
    ("--data d.npz --target-size 9 --max-kl 1", "go without limits on the loss"),
    ("--data d.npz --target-size many", "it must be a number of bytes such as 150kB, got 'many'"),
    ("--data d.npz --target-size 1.5TB", "it must be a number of bytes"),
    ("--data d.npz --max-drop 1 --trials 0", "--trials"),
    ("--data d.npz --max-drop 1 --sparsity 0.5", "sparsity must be left to the search"),
    ("--data d.npz --max-drop 1 --validation-fn quality:fails", "got RuntimeError: no GPU"),
    ("--data d.npz --max-drop 1 --validation-fn quality:nan", "must give a finite number"),
    ("--data d.npz --max-drop 1 --validation-fn quality:text", "must give a number, got str"),
    ("--data d.npz --max-drop 1 --validation-fn quality:absent", "got none named absent"),
    ("--data d.npz --max-drop 1 --validation-fn quality:number", "must be a function, got int"),
    ("--data d.npz --max-drop 1 --validation-fn nomodule:f", "got none named nomodule"),
    ("--data d.npz --max-drop 1 --validation-fn quality", "must be given as module:function"),
    ("--data d.npz --validation-fn quality:good", "must come with max_drop"),
    ("--plan other.json", "it must be made for this model"),
    ("--plan broken.json", "it must be JSON"),
    ("--plan absent.json", "it must be a file, got no such file"),
    ("--plan m.onnx", "it must be JSON"),
    ("--plan bare.json --data d.npz", "it must come with no data, got some"),
    ("--plan bare.json --data d.npz --max-drop 1", "it must go without limits, got max_drop"),
    ("--data d.npz --max-drop 1 --calibration-cache d.npz", "a whole file of a saved calibration"),
    ("--data d.npz --max-drop 1 --calibration-cache no/c.npz", "no/c.npz"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[options for options, _ in BAD])
def test_bad_input(
    run_cli: Callable[..., object], folder: Path, options: str, message: str
) -> None:
    before = list_files(folder)
    outcome = run_cli(*(COMPRESS + options).split())
    assert outcome.status in (1, 2), outcome
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.startswith("wl-onnx: ")
    assert outcome.err.strip().isprintable()
    assert message in outcome.err
    assert list_files(folder) == before


@pytest.mark.parametrize("path", ["m.onnx", "absent/p.json", "other.json"])
def test_a_plan_that_cannot_be_saved(
    run_cli: Callable[..., object], folder: Path, path: str
) -> None:
    before = list_files(folder)
    outcome = run_cli("plan", "m.onnx", "--save", path)
    assert outcome.status == 1
    assert outcome.err.startswith(f"wl-onnx: cannot write {path}: ")
    assert list_files(folder) == before


# Interrupts itself at the end, or in the midst, of the trial of a number.
SCRIPT = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from wl_onnx.cli.main import main
from wl_onnx.planning import optimize

calls = 0
def interrupt(function):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == {number}:
            os.kill(os.getpid(), signal.SIGINT)
        return function(*arguments, **options)
    return call

optimize.{name} = interrupt(optimize.{name})
main()
"""


def start(
    folder: Path, environment: dict[str, str], name: str, number: int, limit: str
) -> subprocess.CompletedProcess[str]:
    command = ["compress", "m.onnx", "-o", "out.onnx", "--data", "d.npz", *limit.split()]
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(name=name, number=number), *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("name", ["code_layers", "assemble"])
def test_ctrl_c_writes_the_best_so_far(
    folder: Path, child_environment: dict[str, str], classifier: Classifier, name: str
) -> None:
    before = list_files(folder)
    done = start(folder, child_environment, name, 4, "--min-snr 10")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert "interrupted after 3 trials: the best so far is kept" in done.stderr
    assert "3 trials, interrupted" in done.stdout
    after = list_files(folder)
    assert set(after) - set(before) == {str(folder / "out.onnx")}
    # Whole, and as good as it has to be.
    plain = wl_onnx.decompress("out.onnx")
    expected = wl_onnx.compress("m.onnx", data="d.npz", min_snr=10.0, max_trials=3)
    np.testing.assert_array_equal(
        run(plain, classifier.x), run(wl_onnx.decompress(expected.model), classifier.x)
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(("number", "limit"), [(1, "--min-snr 10"), (3, "--min-snr 300")])
def test_ctrl_c_before_the_first_good_trial(
    folder: Path, child_environment: dict[str, str], number: int, limit: str
) -> None:
    before = list_files(folder)
    done = start(folder, child_environment, "code_layers", number, limit)
    assert done.returncode == 130, done.stderr
    assert done.stderr == "wl-onnx: interrupted\n"
    assert done.stdout == ""
    assert list_files(folder) == before
