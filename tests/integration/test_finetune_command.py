"""`wl-onnx finetune` end to end, around a kind that only trains."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

import wl_onnx
from tests.classifiers import make_mlp_classifier
from tests.unit.finetune import kinds

if TYPE_CHECKING:
    from wl_onnx.finetune.job import Job

pytest.importorskip("torch", reason="torch is not installed")

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small model with its data, and a recipe for it."""
    monkeypatch.chdir(tmp_path)
    kinds.use(monkeypatch, kinds.run)
    classifier = make_mlp_classifier()
    onnx.save(classifier.model, "m.onnx")
    np.savez("d.npz", **classifier.data)
    np.savez("v.npz", **make_mlp_classifier(num_samples=60).data)
    Path("r.toml").write_text(kinds.RECIPE, encoding="utf-8")
    return tmp_path


def command(*others: object) -> tuple[object, ...]:
    return ("finetune", "m.onnx", "-o", "o.onnx", "--data", "d.npz", "--recipe", "r.toml", *others)


def test_a_model_is_trained_and_written(run_cli: Run) -> None:
    outcome = run_cli(*command("--validation", "v.npz", "--report", "r.json"))
    assert outcome.status == 0, outcome.err
    report = json.loads(Path("r.json").read_text())
    accuracy = report["finetune"]["accuracy"]
    assert f"accuracy on 60 samples: {accuracy['original']:.2%} -> " in outcome.out
    assert f"{report['weights']['ratio']:.2f}x" in outcome.out
    with np.load("v.npz") as archive:
        x, labels = archive["x"], archive["labels"]
    (scores,) = wl_onnx.InferenceSession("o.onnx").run(None, {"x": x})
    assert accuracy["result"] == (scores.argmax(1) == labels).mean()
    assert sorted(p.name for p in Path().iterdir()) == [
        "d.npz", "m.onnx", "o.onnx", "r.json", "r.toml", "v.npz",
    ]  # fmt: skip


def test_a_model_is_hardened_for_its_cells(run_cli: Run) -> None:
    outcome = run_cli(
        "finetune", "m.onnx", "-o", "o.onnx", "--data", "d.npz", "--recipe", "noisy",
        "--epochs", 1, "--cells", 2, "--time", "1h", "--report", "r.json",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    report = json.loads(Path("r.json").read_text())
    figures = report["finetune"]
    assert figures["accuracy"]["result"] == pytest.approx(
        figures["accuracy"]["original"] - figures["drop"] / 100
    )
    assert report["cells"]["analog"] == 2 * (24 * 48 + 48 * 5)
    for text in ("pcm-nandakumar2019 after 3600 s", "accuracy on 40 samples: "):
        assert text in outcome.out
    assert "validation: " not in outcome.out  # of the trained model alone
    assert wl_onnx.read_weights("o.onnx").keys() == {"w0", "w1"}


def test_cells_are_laid_out_as_the_flags_say(run_cli: Run) -> None:
    outcome = run_cli(
        "finetune", "m.onnx", "-o", "o.onnx", "--data", "d.npz", "--recipe", "noisy",
        "--epochs", 1, "--sparsity", 0.5, "--protect", "sign,sparsity", "--scale", "channel",
        "--no-drift-compensation", "--report", "r.json",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    report = json.loads(Path("r.json").read_text())
    assert report["cells"]["analog"] == (24 * 48 + 48 * 5) // 2
    for tensor in report["tensors"]:
        assert tensor["sparsity"] == pytest.approx(0.5, abs=0.01)
    plain = wl_onnx.decompress("o.onnx").graph.initializer
    zeros = {one.name: np.mean(onnx.numpy_helper.to_array(one) == 0) for one in plain}
    assert zeros["w0"] == pytest.approx(0.5, abs=0.01)
    assert zeros["b0"] < 0.5


def test_json_is_all_that_is_printed(run_cli: Run) -> None:
    outcome = run_cli(*command("--json", "--epochs", 1, "--seed", 3))
    assert outcome.err == ""
    assert json.loads(outcome.out)["finetune"]["recipe"]["seed"] == 3
    assert run_cli(*command("--quiet", "--force")).out == ""


def test_ctrl_c_keeps_a_checkpoint_and_says_how_to_go_on(
    run_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_cli(*command())
    whole = Path("o.onnx").read_bytes()
    Path("o.onnx").unlink()

    def interrupt(job: Job) -> wl_onnx.Result:
        def stop(report: Any) -> None:
            if report.step > 10:
                raise KeyboardInterrupt

        return kinds.run(dataclasses.replace(job, report=stop))

    kinds.use(monkeypatch, interrupt)
    outcome = run_cli(*command())
    assert (outcome.status, outcome.out) == (130, "")
    assert outcome.err == "wl-onnx: interrupted; the same command goes on from o.onnx.ckpt\n"
    assert not Path("o.onnx").exists()
    kinds.use(monkeypatch, kinds.run)
    assert run_cli(*command()).status == 0
    assert Path("o.onnx").read_bytes() == whole
    assert not Path("o.onnx.ckpt").exists()


def test_ctrl_c_before_there_is_a_checkpoint(run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(job: Job) -> wl_onnx.Result:
        raise KeyboardInterrupt

    kinds.use(monkeypatch, interrupt)
    outcome = run_cli(*command())
    assert (outcome.status, outcome.err) == (130, "wl-onnx: interrupted\n")


def test_nan_keeps_the_last_checkpoint(run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(job: Job) -> wl_onnx.Result:
        def write_nan(report: Any) -> None:
            if report.step > 10:
                next(job.module.parameters()).data.fill_(math.nan)

        return kinds.run(dataclasses.replace(job, report=write_nan))

    kinds.use(monkeypatch, spoil)
    outcome = run_cli(*command("--checkpoint", "c"))
    assert outcome.status == 1
    assert outcome.err.startswith("wl-onnx: cannot fine-tune: the loss must stay finite, got nan")
    assert outcome.err.endswith("; the last checkpoint is c\n")
    assert Path("c").is_file()
    kinds.use(monkeypatch, kinds.run)
    assert run_cli(*command("--checkpoint", "c")).status == 0


def test_the_flags_of_cells_make_a_storage(run_cli: Run) -> None:
    outcome = run_cli(*command("--cells", 2, "--time", "1y"))
    assert outcome.err == (
        "wl-onnx: cannot fine-tune: a storage must go with the recipe noisy, got one with "
        "weightless\n"
    )
    for flag, value in (("--sparsity", 0), ("--protect", "none"), ("--mapping", "offset")):
        assert "a storage must go with the recipe noisy" in run_cli(*command(flag, value)).err
    assert "must be above 0" in run_cli(*command("--cells", 0)).err
    assert "sparsity must be in [0, 1)" in run_cli(*command("--sparsity", 1)).err
    assert run_cli(*command("--time", "soon")).err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target-ratio", 9, "--max-drop", 1), "there must be one target, the ratio or the drop"),
        (("--report", "o.onnx.ckpt"), "the report must have a path of its own, got o.onnx.ckpt"),
        (("--report", "v.npz"), "the report must not exist, got a file there"),
        (("--checkpoint", "m.onnx"), "the file must be of its own, got m.onnx"),
        (("--data", "none.npz"), "cannot read data none.npz: it must be a file, got none"),
    ],
)
def test_mistakes_are_one_line(
    run_cli: Run, arguments: tuple[object, ...], message: str, in_a_folder: Path
) -> None:
    before = {path.name: path.read_bytes() for path in in_a_folder.iterdir()}
    outcome = run_cli(*command(*arguments))
    assert (outcome.status, outcome.out) == (1, "")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in in_a_folder.iterdir()} == before


def test_without_torch_the_extra_is_named(run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    outcome = run_cli(*command())
    assert outcome.status == 1
    assert 'torch is not installed; pip install "wl-onnx[finetune]"' in outcome.err
