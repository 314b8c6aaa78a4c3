from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.model_scripts import load_script

EXPERIMENTS = load_script("experiments").EXPERIMENTS
table, picture = load_script("result_table"), load_script("result_picture")


def make_row(**changes: Any) -> Any:
    row = table.Row(
        seed=0,
        codec="bloomier",
        baseline_error=0.6,
        test_error=0.7,
        weights_bytes=1000,
        weights_ratio=600.0,
        lossless_bound_bytes=900.0,
        file_bytes=2000,
        file_ratio=300.0,
        filter_bytes=800,
        information_bound_bytes=750.0,
        same_lossless_bytes=1000.0,
        minutes=3.0,
        is_resumed=False,
    )
    return dataclasses.replace(row, **changes)


def test_one_layer_is_counted_alone() -> None:
    tensor = {
        "codec": "bloomier",
        "original_bits": 8000,
        "size_bits": 80,
        "information_bound_bits": 64,
        "lossless_bound_bits": 72.0,
        "tried": {"palette": {"size_bits": 88}},
    }
    other = tensor | {"name": "b", "codec": "bundle", "size_bits": 160, "tried": None}
    weights = {"original_bytes": 2000, "compressed_bytes": 40}
    report = {"weights": weights, "tensors": [tensor | {"name": "a"}, other]}
    alone, whole = table.count_bytes(report, "a"), table.count_bytes(report, None)
    assert (alone["weights_bytes"], alone["weights_ratio"]) == (10, 100)
    assert (whole["weights_bytes"], whole["weights_ratio"]) == (40, 50)
    assert (alone["lossless_bound_bytes"], whole["lossless_bound_bytes"]) == (9, 18)
    for counted in (alone, whole):
        assert counted["filter_bytes"] == 10
        assert counted["information_bound_bytes"] == 8
        assert counted["same_lossless_bytes"] == 11


def test_mean_and_worst_are_of_each_figure() -> None:
    rows = [make_row(), make_row(seed=1, test_error=0.5, weights_ratio=400.0, weights_bytes=1500)]
    figures = table.summarize(rows)["bloomier"]
    assert figures["mean"]["test_error"] == pytest.approx(0.6)
    assert figures["mean"]["weights_ratio"] == pytest.approx(500)
    assert figures["worst"]["test_error"] == 0.7
    assert figures["worst"]["weights_ratio"] == 400
    assert figures["worst"]["weights_bytes"] == 1500


def test_the_table_tells_what_was_reached_and_where_filters_win() -> None:
    experiment = EXPERIMENTS["lenet5-layer"]
    rows = [
        make_row(),  # just within the limit
        make_row(seed=1, test_error=0.71),
        make_row(seed=2, weights_ratio=400.0),
    ]
    text = table.format_table(experiment, rows)
    assert "2 of 3 seeds within the limit, 1 of them at 496x or more" in text
    assert "filters take 800 bytes, 20.0% less than the 1,000 of the same weights" in text


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_pictures_are_drawn_of_every_experiment(name: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra models")
    experiment = EXPERIMENTS[name]
    path = tmp_path / "p.svg"
    rows = [make_row(), make_row(codec="palette", weights_ratio=2.0, test_error=80.0)]
    picture.draw(experiment, rows, [path])
    first = path.read_bytes()
    picture.draw(experiment, rows, [path])
    assert path.read_bytes() == first
    assert b"</svg>" in first
