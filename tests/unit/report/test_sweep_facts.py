from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.analog_models import store_in_pairs
from tests.pages import Node, read_page
from wl_onnx import InputError
from wl_onnx.evaluation import run_sweep
from wl_onnx.graph import load_model
from wl_onnx.report import Report
from wl_onnx.report.sweep_chart import draw_sweep
from wl_onnx.report.sweep_facts import Sweep, SweepModel, SweepPoint, read_sweep


@pytest.fixture
def swept(tmp_path: Path, small_mlp: onnx.ModelProto) -> tuple[Path, Path, dict[str, Any]]:
    """A stored model, the folder of its sweep, and the summary."""
    model, folder = tmp_path / "x.onnx", tmp_path / "sweep"
    onnx.save(store_in_pairs(small_mlp), model)
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(8, 64)).astype(np.float32), "labels": np.arange(8)}
    result = run_sweep([model], folder, data, num_seeds=2, times_s=(0.0, 3600.0), jobs=1)
    (folder / "summary.json").write_text(json.dumps(result.summary), encoding="utf-8")
    return model, folder, result.summary


def test_a_sweep_is_read_as_it_was_written(swept: tuple[Path, Path, dict[str, Any]]) -> None:
    model, folder, summary = swept
    found = read_sweep(folder, load_model(model))
    assert (found.metric, found.reference, found.seed) == ("accuracy", "targets", 0)
    (only,) = found.models
    assert (only.name, only.is_reported) == ("x", True)
    for point, entry in zip(only.points, summary["models"][0]["times"], strict=True):
        for name in ("time_s", "trials", "mean", "deviation", "worst", "mean_drop"):
            assert getattr(point, name) == entry[name]


def test_a_sweep_of_another_model(
    swept: tuple[Path, Path, dict[str, Any]], tmp_path: Path, small_mlp: onnx.ModelProto
) -> None:
    other = tmp_path / "y.onnx"
    onnx.save(store_in_pairs(small_mlp, num_cells=2), other)
    with pytest.raises(InputError, match=r"its trials must be of .*y.onnx \([0-9a-f]{16}\), got"):
        read_sweep(swept[1], load_model(other))


def test_folders_that_hold_no_sweep(
    swept: tuple[Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    model, folder, summary = swept
    loaded = load_model(model)
    with pytest.raises(InputError, match=r"summary.json: a sweep must have written it"):
        read_sweep(tmp_path, loaded)
    for text in ("{", "[]", "{}", json.dumps({**summary, "metric": "x"})):
        (folder / "summary.json").write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=r"cannot report on .*summary.json: it must be"):
            read_sweep(folder, loaded)
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    (folder / "trials.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"trials.csv: it must be a table of trials"):
        read_sweep(folder, loaded)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("time_s", -1.0),
        ("time_s", float("nan")),
        ("time_s", float("inf")),
        ("trials", float("inf")),
        ("trials", 0),
        ("mean", float("nan")),
    ],
)
def test_numbers_that_no_sweep_writes(
    name: str, value: float, swept: tuple[Path, Path, dict[str, Any]]
) -> None:
    model, folder, summary = swept
    summary["models"][0]["times"][0][name] = value
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    with pytest.raises(InputError, match=r"summary.json: it must be what wl-onnx sweep writes"):
        read_sweep(folder, load_model(model))


def test_a_summary_without_the_model(swept: tuple[Path, Path, dict[str, Any]]) -> None:
    model, folder, summary = swept
    (folder / "summary.json").write_text(json.dumps({**summary, "models": []}), encoding="utf-8")
    with pytest.raises(InputError, match=r"summary.json: it must be what wl-onnx sweep writes"):
        read_sweep(folder, load_model(model))


def test_the_page_has_the_sweep(
    make_page: Callable[..., tuple[Report, Node, str]],
    swept: tuple[Path, Path, dict[str, Any]],
    small_mlp: onnx.ModelProto,
) -> None:
    model, folder, summary = swept
    _, page, _ = make_page(small_mlp, onnx.load(model), sweep=folder)
    rows = page.by_id("sweep").all("table")[0].rows()
    assert [row[1] for row in rows] == ["0s", "1h"]
    for row, entry in zip(rows, summary["models"][0]["times"], strict=True):
        assert row[3] == f"{100 * entry['mean']:.2f} %"
    assert len(page.by_id("sweep").all("circle")) == 2


def test_a_point_stands_as_high_as_it_lost() -> None:
    points = tuple(
        SweepPoint(time_s, 5, 0.9, 0.0, 0.9, lost)
        for time_s, lost in ((0.0, 0.0), (10.0, 1.0), (1000.0, 4.0))
    )
    sweep = Sweep("accuracy", "original", 0, (SweepModel("m", True, 1.0, 0.95, points),))
    circles = read_page(draw_sweep(sweep)).all("circle")
    y = [float(one.attributes["cy"]) for one in circles]
    assert (y[0] - y[2]) / (y[0] - y[1]) == pytest.approx(4)
    x = [float(one.attributes["cx"].rstrip("%")) for one in circles]
    assert (x[2] - x[1]) / (x[1] - x[0]) == pytest.approx(
        2, rel=1e-4
    )  # time 0 is a decade before 10 s


@pytest.mark.parametrize("mean", [None, 31.0])
def test_one_trial_of_infinite_or_finite_snr(mean: float | None) -> None:
    point = SweepPoint(0.0, 1, mean, None, mean, None)
    sweep = Sweep("snr_db", "targets", 0, (SweepModel("m", True, None, None, (point,)),))
    assert len(read_page(draw_sweep(sweep)).all("circle")) == (mean is not None)
