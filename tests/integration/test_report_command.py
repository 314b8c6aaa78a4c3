"""`wl-onnx report` end to end: what it measures, what it refuses, Ctrl-C."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.pages import Node, fixed_comparison, read_page

pytest.importorskip("jinja2")

INTERRUPT = """
import os, signal
from wl_onnx import evaluation
from wl_onnx.cli.main import main

signal.signal(signal.SIGINT, signal.default_int_handler)
evaluation.compare = lambda *a, **k: os.kill(os.getpid(), signal.SIGINT)
main()
"""


@pytest.fixture
def folder(
    tmp_path: Path,
    small_mlp: onnx.ModelProto,
    monkeypatch: pytest.MonkeyPatch,
    run_cli: Callable[..., object],
) -> Path:
    monkeypatch.chdir(tmp_path)
    onnx.save(small_mlp, "m.onnx")
    rng = np.random.default_rng(0)
    np.savez("d.npz", x=rng.normal(size=(20, 64)).astype(np.float32), labels=np.arange(20) % 16)
    assert run_cli("compress", "m.onnx", "-o", "c.onnx", "--codec", "bloomier").status == 0
    return tmp_path


def by_first(rows: list[list[str]]) -> dict[str, list[str]]:
    return {row[0]: row for row in rows}


def test_a_report_says_what_compare_says(run_cli: Callable[..., object], folder: Path) -> None:
    outcome = run_cli("report", "m.onnx", "c.onnx", "--data", "d.npz", "-o", "r.html")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith("written: r.html (")
    assert {path.name for path in folder.iterdir()} == {"m.onnx", "c.onnx", "d.npz", "r.html"}
    page = read_page(Path("r.html").read_text(encoding="utf-8"))
    told = json.loads(run_cli("compare", "m.onnx", "c.onnx", "--data", "d.npz", "--json").out)
    (row,) = page.by_id("outputs").all("table")[0].rows()
    (output,) = told["outputs"]
    assert row[:4] == [
        output["name"], f"{output['snr_db']:.1f} dB", f"{output['relative_l2']:.3g}",
        f"{output['cosine']:.6f}",
    ]  # fmt: skip
    shares = re.findall(r"[\d.]+ %", page.by_id("outputs").all("p")[1].text)
    assert shares == [f"{100 * told['top1'][key]:.2f} %" for key in ("original", "compressed")]
    assert "20 samples of d.npz" in page.by_id("outputs").text
    costs = by_first(page.by_id("costs").all("table")[0].rows())
    assert list(costs) == list(told["modes"])
    assert costs["original"][2] == "1.00\N{MULTIPLICATION SIGN}"
    origin = page.by_id("origin").text
    for name in ("m.onnx", "c.onnx"):
        assert hashlib.sha256(Path(name).read_bytes()).hexdigest() in origin
        assert f"{Path(name).stat().st_size:,} bytes" in origin


def images(page: Node) -> list[str]:
    return [one.attributes["alt"] for one in page.all("img")]


def test_quiet_and_force(
    run_cli: Callable[..., object], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wl_onnx.evaluation.compare", fixed_comparison)
    outcome = run_cli("report", "m.onnx", "c.onnx", "-o", "r.html", "-q")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    first = Path("r.html").read_bytes()
    again = run_cli("report", "m.onnx", "c.onnx", "-o", "r.html")
    assert again.status == 1
    assert "the report must not exist, got a file there; force" in again.err
    assert run_cli("report", "m.onnx", "c.onnx", "-o", "r.html", "--force").status == 0
    assert Path("r.html").read_bytes() == first
    assert len(images(read_page(first.decode()))) == 1


def test_models_that_do_not_belong_together(run_cli: Callable[..., object], folder: Path) -> None:
    other = onnx.load("m.onnx")
    other.producer_name = "another"
    onnx.save(other, "other.onnx")
    hashes = [
        hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in ("m.onnx", "other.onnx")
    ]
    outcome = run_cli("report", "other.onnx", "c.onnx", "-o", "r.html")
    assert outcome.status == 1
    assert outcome.err == (
        f"wl-onnx: cannot report on c.onnx: its original must have the sha256 {hashes[0]}, "
        f"got other.onnx with {hashes[1]}\n"
    )
    assert not Path("r.html").exists()


def test_models_that_share_no_weight(
    run_cli: Callable[..., object], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wl_onnx.evaluation.compare", fixed_comparison)
    dense = onnx.load("m.onnx")
    (first, *_) = dense.graph.initializer
    first.raw_data = bytes(len(first.raw_data))
    onnx.save(dense, "dense.onnx")  # as of decompress, which leaves no word on the origin
    assert run_cli("report", "m.onnx", "dense.onnx", "-o", "dense.html").status == 0
    stranger = onnx.load("m.onnx")
    renamed = {one.name: f"other {one.name}" for one in stranger.graph.initializer}
    for one in stranger.graph.initializer:
        one.name = renamed[one.name]
    for node in stranger.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    onnx.save(stranger, "stranger.onnx")
    outcome = run_cli("report", "m.onnx", "stranger.onnx", "-o", "r.html")
    assert outcome.status == 1
    assert outcome.err == (
        "wl-onnx: cannot report on stranger.onnx: it must share a weight with m.onnx, by name and "
        "shape, as it does not say what it was made from, got none; give its original\n"
    )
    assert not Path("r.html").exists()


def rename_output() -> None:
    other = onnx.load("m.onnx")
    other.graph.output[0].name = other.graph.node[-1].output[0] = "other"
    onnx.save(other, "n.onnx")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["c.onnx", "m.onnx"], "its original must not be compressed, got c.onnx"),
        (["m.onnx", "n.onnx"], "their outputs must be the same, got y1 tensor(float) and other"),
        (["m.onnx", "nowhere.onnx"], "nowhere.onnx: it must be a file"),
        (["m.onnx", "c.onnx", "--data", "nowhere.npz"], "nowhere.npz"),
        (["m.onnx", "c.onnx", "--data", "wrong.npz"], "wrong.npz"),
        (["m.onnx", "c.onnx", "--sweep", "."], "summary.json: a sweep must have written it"),
        (["m.onnx", "c.onnx", "--seed", "-1"], "the seed must be in"),
        (["m.onnx", "c.onnx", "--threads", "-1"], "threads must be at least 0, got -1"),
        (["m.onnx", "broken.onnx"], "broken.onnx"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    run_cli: Callable[..., object], folder: Path, arguments: list[str], message: str
) -> None:
    rename_output()
    np.savez("wrong.npz", x=np.zeros((4, 3), np.float32))
    Path("broken.onnx").write_bytes(Path("c.onnx").read_bytes()[:-100])
    before = sorted(path.name for path in folder.iterdir())
    outcome = run_cli("report", *arguments, "-o", "r.html")
    assert outcome.status == 1
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""
    assert sorted(path.name for path in folder.iterdir()) == before


def test_an_interrupt_leaves_nothing(folder: Path, child_environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPT, "report", "m.onnx", "c.onnx", "-o", "r.html"],
        env=child_environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "wl-onnx: interrupted\n")
    assert {path.name for path in folder.iterdir()} == {"m.onnx", "c.onnx", "d.npz"}
