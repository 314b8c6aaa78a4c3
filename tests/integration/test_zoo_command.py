"""`wl-onnx zoo` end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from wl_onnx.files import hash_file

Run = Callable[..., Any]
NAME = "ONNX_HUB_MANIFEST.json"

# Interrupts itself when the first model is done, so that no clock decides what is tested.
INTERRUPTED = """
import os, signal
from wl_onnx.cli import zoo_tables
from wl_onnx.cli.main import main

signal.signal(signal.SIGINT, signal.default_int_handler)
report = zoo_tables.ZooBars.report_result
def interrupt(self, result, done, total):
    report(self, result, done, total)
    if done == 1:
        os.kill(os.getpid(), signal.SIGINT)
zoo_tables.ZooBars.report_result = interrupt
main()
"""


@pytest.fixture(autouse=True)
def in_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_mlp: Callable[..., onnx.ModelProto]
) -> Path:
    """A folder of three models, and a manifest of two of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    entries = []
    for index, name in enumerate(("alpha", "beta", "gamma")):
        rng = np.random.default_rng(index)
        path = tmp_path / "zoo" / "v" / f"{name}-12.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(make_mlp(rng.laplace(size=(64, 96)).astype(np.float32)), path)
        entries.append(
            {
                "model": name.capitalize(),
                "model_path": f"v/{name}-12.onnx",
                "onnx_version": "1.7.0",
                "opset_version": 17,
                "metadata": {
                    "model_sha": hash_file(path),
                    "model_bytes": path.stat().st_size,
                    "tags": ["test"],
                    "wl_onnx": {"recipe": {"codec": "palette"}},
                },
            }
        )
    (tmp_path / "zoo" / NAME).write_text(json.dumps(entries[:2]), encoding="utf-8")
    return tmp_path


def test_list(run_cli: Run) -> None:
    outcome = run_cli("zoo", "list")
    assert outcome.status == 0
    for text in ("vgg16-12", "ResNet50-fp32", "553.4 MB", "lenet5"):
        assert text in outcome.out
    outcome = run_cli("zoo", "list", "ALPHA", "--manifest", f"zoo/{NAME}", "--json")
    (one,) = json.loads(outcome.out)
    assert (one["name"], one["model"]) == ("alpha-12", "Alpha")
    assert one["recipe"] == {"codec": "palette"}


def test_convert_by_name(run_cli: Run) -> None:
    arguments = ("zoo", "convert", "alpha", "b*", "--manifest", f"zoo/{NAME}", "--out", "out")
    outcome = run_cli(*arguments)
    assert outcome.status == 0, outcome.err
    assert outcome.out.count("converted") == 2
    assert sorted(path.name for path in Path("out").rglob("*.onnx")) == [
        "alpha-12.onnx", "beta-12.onnx"
    ]  # fmt: skip
    records = json.loads((Path("out") / NAME).read_text(encoding="utf-8"))
    for record in records:
        path = Path("out") / record["model_path"]
        assert record["metadata"]["model_sha"] == hash_file(path)
        assert record["metadata"]["wl_onnx"]["recipe"]["codec"] == "palette"
    again = run_cli(*arguments, "--json")
    assert json.loads(again.out) == records
    assert run_cli(*arguments, "--quiet").out == ""
    other = run_cli(*arguments, "--recipe", "gentle")
    assert other.out.count("converted") == 2


def test_convert_a_folder_in_processes(run_cli: Run) -> None:
    Path("zoo/bad.onnx").write_bytes(b"no model")
    one = run_cli("zoo", "convert", "zoo", "-o", "one")
    two = run_cli("zoo", "convert", "zoo", "-o", "two", "--jobs", 2)
    for outcome in (one, two):
        assert outcome.status == 1
        assert outcome.out.count("converted") == 3
        assert outcome.err.count("\n") == 1
        assert "failed: bad.onnx: cannot load zoo/bad.onnx: it must be an ONNX model" in (
            outcome.err.replace(str(Path.cwd()) + "/", "")
        )
    for path in Path("one").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (Path("two") / path.relative_to("one")).read_bytes()


@pytest.mark.parametrize("form", ["--quiet", "--json"])
def test_a_failure_is_told_whatever_is_printed(form: str, run_cli: Run) -> None:
    Path("zoo/bad.onnx").write_bytes(b"no model")
    outcome = run_cli("zoo", "convert", "zoo/bad.onnx", form)
    assert outcome.status == 1
    assert outcome.err.startswith("wl-onnx: failed: bad.onnx: cannot load ")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("alpa-12", "--manifest", f"zoo/{NAME}"), "near are alpha-12"),
        (("vgg16",), "near are vgg16-12"),
        (("none.onnx",), "it must be a file or a folder"),
        (("zoo", "--manifest", "none.json"), "it must be a file that can be read"),
        (("zoo", "--recipe", "unknown"), "cannot load recipe unknown"),
        (("zoo", "--jobs", "2", "--dask", "tcp://x:1"), "--jobs must not be given with --dask"),
        (("zoo", "--out", f"zoo/{NAME}"), "cannot write results to"),
        (("zoo", "--jobs", "0"), "'--jobs'"),
        ((), "Missing argument"),
    ],
)
def test_bad_arguments(
    arguments: tuple[str, ...], text: str, run_cli: Run, in_a_folder: Path
) -> None:
    before = sorted(in_a_folder.rglob("*"))
    outcome = run_cli("zoo", "convert", *arguments)
    assert outcome.status in (1, 2)
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1, outcome.err
    assert text in outcome.err
    assert sorted(in_a_folder.rglob("*")) == before


def test_a_cluster_without_its_package(run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    outcome = run_cli("zoo", "convert", "zoo", "--dask", "tcp://127.0.0.1:1", "--out", "out")
    assert (outcome.status, outcome.out) == (1, "")
    assert 'pip install "wl-onnx[cluster]"' in outcome.err
    assert not Path("out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupt(jobs: int, child_environment: dict[str, str], in_a_folder: Path) -> None:
    command = ["zoo", "convert", "zoo", "--out", "out", "--jobs", str(jobs)]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *command],
        cwd=in_a_folder, env=child_environment, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stderr, done.stdout) == (130, "wl-onnx: interrupted\n", "")
    out = in_a_folder / "out"
    (record,) = json.loads((out / NAME).read_text(encoding="utf-8"))
    path = out / record["model_path"]
    assert sorted(out.rglob("*")) == sorted([out / NAME, path.parent, path])
    assert hash_file(path) == record["metadata"]["model_sha"]
