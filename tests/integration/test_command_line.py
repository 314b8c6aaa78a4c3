"""What the commands print and write, but for errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import wl_onnx
from wl_onnx.cli import options
from wl_onnx.recipe import Recipe
from wl_onnx.runtime.measure import Candidate, measure_peak


@pytest.fixture
def model(tmp_path: Path, small_mlp: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    onnx.save(small_mlp, "m.onnx")
    return Path("m.onnx")


def test_version_and_help(run_cli: Callable[..., object]) -> None:
    outcome = run_cli("--version")
    assert (outcome.status, outcome.out) == (0, f"wl-onnx {wl_onnx.__version__}\n")
    for flag in ("--help", "-h"):
        outcome = run_cli(flag)
        assert outcome.status == 0
        for command in ("demo", "compress", "plan", "decompress", "inspect", "compare"):
            assert command in outcome.out
    assert run_cli().status == 2


def test_help_names_every_flag(run_cli: Callable[..., object]) -> None:
    for command in ("compress", "plan"):
        text = run_cli(command, "--help").out
        for flag in [
            "--sparsity",
            "--clusters",
            "--bits",
            "--error-share",
            "--layout",
            "--hash",
            "--min-elements",
            "--include",
            "--exclude",
            "--recipe",
            "--blobs",
            "--seed",
            "--threads",
            "--allow-growth",
        ]:
            assert flag in text, (command, flag)
    assert "--report" in run_cli("compress", "--help").out


def test_plan_writes_nothing_and_says_what_compress_does(
    run_cli: Callable[..., object], model: Path, tmp_path: Path
) -> None:
    planned = run_cli("plan", model, "--json")
    assert planned.status == 0
    assert planned.err == ""
    assert list(tmp_path.iterdir()) == [tmp_path / "m.onnx"]
    done = run_cli("compress", model, "-o", "small.onnx", "--report", "r.json")
    assert done.status == 0
    assert "m.onnx -> small.onnx" in done.out
    report = json.loads(Path("r.json").read_text(encoding="utf-8"))
    assert json.loads(planned.out) == report
    found = json.loads(run_cli("inspect", "small.onnx", "--json").out)
    assert found["weights"] == report["weights"]
    assert report["file"]["compressed_bytes"] == Path("small.onnx").stat().st_size


def test_a_report_may_be_read_like_any_new_file(
    run_cli: Callable[..., object], model: Path
) -> None:
    Path("other").write_text("", encoding="utf-8")
    run_cli("compress", model, "-o", "small.onnx", "--report", "r.json")
    assert Path("r.json").stat().st_mode == Path("other").stat().st_mode
    assert Path("small.onnx").stat().st_mode == Path("other").stat().st_mode


def test_quiet_prints_nothing(run_cli: Callable[..., object], model: Path) -> None:
    for command in (
        ["compress", model, "-o", "small.onnx"],
        ["plan", model],
        ["decompress", "small.onnx", "-o", "dense.onnx"],
    ):
        outcome = run_cli(*command, "--quiet")
        assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


def test_where_nothing_shrinks_it_is_said(run_cli: Callable[..., object], model: Path) -> None:
    outcome = run_cli("compress", model, "-o", "same.onnx", "--min-elements", 10**6)
    assert outcome.status == 0
    assert "no weight of m.onnx shrinks: the model is kept as it is" in " ".join(
        outcome.err.split()
    )
    assert "left as it is: w0, w1 (has fewer than 1000000 elements)" in outcome.out
    assert onnx.load("same.onnx") == onnx.load(model)


def test_compare_prints_json(run_cli: Callable[..., object], model: Path) -> None:
    run_cli("compress", model, "-o", "small.onnx")
    outcome = run_cli("compare", model, "small.onnx", "--json")
    assert outcome.status == 0, outcome.err
    result = json.loads(outcome.out)
    (output,) = result["outputs"]
    assert output["name"] == "y1"
    assert 0.95 < output["cosine"] < 1
    assert output["snr_db"] > 10
    assert result["file_bytes"] == {
        "original": model.stat().st_size,
        "compressed": Path("small.onnx").stat().st_size,
    }
    assert list(result["modes"]) == ["original", "materialize", "cached", "streaming"]
    for cost in result["modes"].values():
        assert {"create_s", "latency_s", "peak_bytes"} <= cost.keys()
    assert "top1" not in result


def test_memory_is_measured_where_another_package_of_our_name_lies(
    model: Path, tmp_path: Path
) -> None:
    (tmp_path / "wl_onnx").mkdir()
    (tmp_path / "wl_onnx" / "__init__.py").write_text("raise ImportError", encoding="utf-8")
    feed = {"x": np.zeros((1, 64), np.float32)}
    assert measure_peak(Candidate(model, "cached"), feed) is not None


@pytest.mark.parametrize(
    ("flags", "recipe"),
    [
        ("", Recipe()),
        ("--sparsity 0 --seed 0 --threads 0", Recipe(sparsity=0.0)),
        ("--sparsity auto --bits auto", Recipe()),
        ("--bits 9 --clusters 32 --error-share 0.1", Recipe(bits=9, clusters=32, error_share=0.1)),
        ("--layout xor --hash murmur3 --blobs initializer", None),
        ("--include w0 --include w1 --exclude b*", Recipe(include=("w0", "w1"), exclude=("b*",))),
        ("--min-elements 5 --allow-growth", Recipe(min_elements=5, allow_growth=True)),
        ("--sparsity 0.5 --prune-scope global", Recipe(sparsity=0.5, prune_scope="global")),
        ("--recipe r.toml", Recipe(sparsity=0.7, seed=5, layout="xor", threads=1)),
        ("--recipe r.toml --seed 0 --threads 0", Recipe(sparsity=0.7, layout="xor")),
        (
            "--recipe r.toml --sparsity auto --layout ribbon",
            Recipe(seed=5, layout="ribbon", threads=1),
        ),
    ],
)
def test_flags_make_the_recipe(
    run_cli: Callable[..., object],
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: str,
    recipe: Recipe | None,
) -> None:
    Path("r.toml").write_text(
        'sparsity = 0.7\nseed = 5\nlayout = "xor"\nthreads = 1\n', encoding="utf-8"
    )
    made: list[Recipe] = []
    make = options._make_recipe
    monkeypatch.setattr(
        options, "_make_recipe", lambda **given: made.append(make(**given)) or made[0]
    )
    run_cli("plan", model, *flags.split())
    if recipe is None:
        recipe = Recipe(layout="xor", hash="murmur3", blobs="initializer")
    assert made == [recipe]
