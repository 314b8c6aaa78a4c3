"""Ctrl-C in a process of its own: exit status 130, one line, nothing half-written."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

# Interrupts itself where the test says, so that no clock decides what is tested.
SCRIPT = """
import importlib, os, pathlib, signal
from wl_onnx.cli.main import main

# Ignored in what a shell runs in the background, which children inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

def interrupt(owner, name, *, after):
    original = getattr(owner, name)
    def call(*arguments, **options):
        if not after:
            os.kill(os.getpid(), signal.SIGINT)
        result = original(*arguments, **options)
        if after:
            os.kill(os.getpid(), signal.SIGINT)
        return result
    setattr(owner, name, call)

compress = importlib.import_module("wl_onnx.compress")
by_recipe = importlib.import_module("wl_onnx.planning.by_recipe")
save = importlib.import_module("wl_onnx.graph.save")
{interrupt}
main()
"""
ANNOUNCE = """
encode = by_recipe.encode_smallest
def announce(*arguments, **options):
    result = encode(*arguments, **options)
    os.write(1, b"go")
    return result
by_recipe.encode_smallest = announce
"""
PLACES = {
    "after the first weight": 'interrupt(by_recipe, "encode_smallest", after=True)',
    "before the model is written": 'interrupt(compress, "save_model", after=False)',
    "while the data file is written": 'interrupt(save, "_write_tensors", after=True)',
    "before the first rename": 'interrupt(pathlib.Path, "replace", after=False)',
    "between the two renames": 'interrupt(pathlib.Path, "replace", after=True)',
}


@pytest.fixture
def model(make_mlp: Callable[..., onnx.ModelProto], tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "m.onnx"
    onnx.save(make_mlp(*(rng.normal(size=(400, 400)).astype(np.float32) for _ in range(2))), path)
    return path


def check(process: subprocess.CompletedProcess[str], folder: Path) -> None:
    assert process.returncode == 130, process.stderr
    assert process.stderr == "wl-onnx: interrupted\n"
    assert process.stdout == ""
    assert [path.name for path in folder.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_left_behind(place: str, model: Path, child_environment: dict[str, str]) -> None:
    command = ["compress", "m.onnx", "-o", "out.onnx", "--blobs", "initializer", "--report", "r"]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(interrupt=PLACES[place]), *command],
        cwd=model.parent,
        env=child_environment,
        capture_output=True,
        text=True,
        check=False,
    )
    check(done, model.parent)


def test_a_signal_from_outside_while_weights_are_encoded(
    make_mlp: Callable[..., onnx.ModelProto], tmp_path: Path, child_environment: dict[str, str]
) -> None:
    weights = np.random.default_rng(0).normal(size=(2048, 2048)).astype(np.float32)
    onnx.save(make_mlp(*[weights] * 6), tmp_path / "m.onnx")
    # The child says when its first weight is done; five are left, seconds of work.
    script = SCRIPT.format(interrupt=ANNOUNCE)
    command = ["compress", "m.onnx", "-o", "out.onnx", "--threads", "1"]
    with subprocess.Popen(
        [sys.executable, "-c", script, *command],
        cwd=tmp_path,
        env=child_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(2) == b"go"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert out in (b"", b"go")
    done = subprocess.CompletedProcess(command, process.returncode, "", err.decode())
    check(done, tmp_path)
