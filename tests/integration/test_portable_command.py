"""`compress --portable` and `convert`: files that any onnxruntime runs, and every refusal."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.portable_files import draw_feeds, open_plain, same_bits

STOCK = """
import sys

import numpy
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1])
feeds = dict(numpy.load(sys.argv[2]))
numpy.save(sys.argv[3], session.run(None, feeds)[0])
assert not any(name.startswith("wl_onnx") for name in sys.modules)
"""


@pytest.fixture
def folder(tmp_path: Path, small_mlp: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    onnx.save(small_mlp, "m.onnx")
    return tmp_path


@pytest.mark.parametrize("inline", [[], ["--inline"]])
def test_lenet5_runs_without_this_package(
    run_cli: Callable[..., object],
    find_model: Callable[[str], Path],
    digits: dict[str, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    inline: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    model = find_model("lenet5")
    done = run_cli(
        "compress", model, "-o", "p.onnx", "--portable", *inline, "--codec", "auto",
        "--error-share", "0.005", "--report", "r.json",
    )  # fmt: skip
    assert done.status == 0, done.err
    report = json.loads(Path("r.json").read_text(encoding="utf-8"))
    assert report["file"]["compressed_bytes"] == Path("p.onnx").stat().st_size
    assert report["weights"]["ratio"] > 5
    name = open_plain(Path("p.onnx")).get_inputs()[0].name
    np.savez("feeds.npz", **{name: digits["input"][:200]})
    subprocess.run(
        [sys.executable, "-I", "-c", STOCK, "p.onnx", "feeds.npz", "out.npy"], check=True
    )
    logits = np.load("out.npy")
    assert np.mean(logits.argmax(axis=1) == digits["labels"][:200]) > 0.97
    assert run_cli("decompress", "p.onnx", "-o", "d.onnx").status == 0
    feeds = {name: digits["input"][:8]}
    first, second = (open_plain(Path(one)).run(None, feeds) for one in ("p.onnx", "d.onnx"))
    assert same_bits(first[0], second[0])


def test_there_and_back(run_cli: Callable[..., object], folder: Path) -> None:
    steps = [
        ("compress", "m.onnx", "-o", "o.onnx", "--layout", "xor"),
        ("convert", "o.onnx", "-o", "p.onnx", "--to", "portable"),
        ("convert", "p.onnx", "-o", "o2.onnx", "--to", "operators"),
        ("convert", "o2.onnx", "-o", "p2.onnx", "--to", "portable"),
        ("convert", "p.onnx", "-o", "d.onnx", "--to", "dense"),
        ("decompress", "o2.onnx", "-o", "d2.onnx"),
    ]
    for step in steps:
        done = run_cli(*step)
        assert done.status == 0, done.err
        assert done.err.endswith(f"wrote {step[3]}\n") or step[0] == "compress"
    assert Path("p.onnx").read_bytes() == Path("p2.onnx").read_bytes()
    feeds = draw_feeds(open_plain(Path("m.onnx")))
    outputs = [open_plain(Path(one)).run(None, feeds)[0] for one in ("p.onnx", "d.onnx", "d2.onnx")]
    assert all(same_bits(outputs[0], one) for one in outputs)
    assert "opset 17 to 18" in run_cli("convert", "o.onnx", "-o", "q.onnx", "--to", "portable").err
    done = run_cli("convert", "o.onnx", "-o", "q2.onnx", "--to", "portable", "-q")
    assert (done.status, done.out, done.err) == (0, "", "")


def test_inspect_and_compare_and_plan(run_cli: Callable[..., object], folder: Path) -> None:
    arguments = ("--portable", "--codec", "palette")
    planned = json.loads(run_cli("plan", "m.onnx", *arguments, "--json").out)
    assert run_cli("compress", "m.onnx", "-o", "p.onnx", *arguments).status == 0
    found = json.loads(run_cli("inspect", "p.onnx", "--json").out)
    assert found["weights"] == planned["weights"]
    assert found["file"] == planned["file"]
    assert "portable: 2 weights" in run_cli("inspect", "p.onnx").out
    assert run_cli("compare", "m.onnx", "p.onnx", "--json").status == 0


def test_data_and_a_limit(run_cli: Callable[..., object], folder: Path) -> None:
    x = np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)
    np.savez("data.npz", x=x)
    done = run_cli(
        "compress", "m.onnx", "-o", "p.onnx", "--portable", "--data", "data.npz", "--min-snr", "20",
        "--trials", "3", "--report", "r.json",
    )  # fmt: skip
    assert done.status == 0, done.err
    report = json.loads(Path("r.json").read_text(encoding="utf-8"))
    assert report["file"]["compressed_bytes"] == Path("p.onnx").stat().st_size
    expected = open_plain(Path("m.onnx")).run(None, {"x": x})[0]
    got = open_plain(Path("p.onnx")).run(None, {"x": x})[0]
    assert np.square(got - expected).sum() < 0.02 * np.square(expected).sum()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compress", "m.onnx", "--inline"), "cannot use inline: it must come with portable"),
        (("compress", "m.onnx", "--folding-budget", "1GB"), "cannot use folding_budget: it must"),
        (
            ("compress", "m.onnx", "--portable", "--folding-budget", "many"),
            "cannot use folding budget: it must be a number of bytes such as 150kB, got 'many'",
        ),
        (
            ("compress", "m.onnx", "--portable", "--folding-budget", "9kB"),
            "must take a session at most 9000 bytes, got ",
        ),
        (("convert", "m.onnx", "--to", "portable"), "got a plain one; compress with portable"),
        (("convert", "o.onnx", "--to", "operators"), "it must not be operators yet"),
        (("convert", "o.onnx", "--to", "paper"), "to must be portable, operators, dense"),
        (("convert", "o.onnx", "--to", "dense", "--inline"), "inline and folding_budget must go"),
        (
            ("convert", "o.onnx", "--to", "portable", "--folding-budget", "1KiB"),
            "at most 1024 bytes",
        ),
        (("convert", "cells.onnx", "--to", "portable"), "whose noise is drawn anew at each run"),
        (("convert", "prefix.onnx", "--to", "portable"), "got prefix; compress the original with"),
        (("convert", "damaged.onnx", "--to", "dense"), "its digest must be "),
        (("convert", "damaged.onnx", "--to", "operators"), "its digest must be "),
        (("decompress", "damaged.onnx"), "its digest must be "),
        (("compress", "portable.onnx"), "got a portable file; decompress it first"),
    ],
)
def test_every_refusal_is_one_line_and_leaves_nothing(
    run_cli: Callable[..., object], folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    made = {
        "o.onnx": ("compress",),
        "prefix.onnx": ("compress", "--layout", "prefix"),
        "portable.onnx": ("compress", "--portable"),
        "cells.onnx": ("store",),
    }
    name = arguments[1].replace("damaged", "portable")
    if name in made:
        command, *options = made[name]
        assert run_cli(command, "m.onnx", "-o", name, *options).status == 0
    if arguments[1] == "damaged.onnx":
        model = onnx.load("portable.onnx")
        record = next(p for p in model.metadata_props if p.key == "com.wl_onnx.portable")
        entry = json.loads(record.value)
        entry["weights"][0]["digest"] = "0" * 32
        record.value = json.dumps(entry)
        onnx.save(model, "damaged.onnx")
    before = sorted(folder.iterdir())
    done = run_cli(*arguments, "-o", "out.onnx")
    assert done.status == 1
    errors = [line for line in done.err.splitlines() if "is raised from" not in line]
    assert len(errors) == 1
    assert message in errors[0]
    assert sorted(folder.iterdir()) == before


def test_an_output_is_not_replaced_unless_forced(
    run_cli: Callable[..., object], folder: Path
) -> None:
    assert run_cli("compress", "m.onnx", "-o", "o.onnx").status == 0
    Path("p.onnx").write_text("mine", encoding="utf-8")
    done = run_cli("convert", "o.onnx", "-o", "p.onnx", "--to", "portable")
    assert done.status == 1
    assert Path("p.onnx").read_text(encoding="utf-8") == "mine"
    assert run_cli("convert", "o.onnx", "-o", "p.onnx", "--to", "portable", "--force").status == 0
    assert open_plain(Path("p.onnx")).get_inputs()[0].name == "x"
