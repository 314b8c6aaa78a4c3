"""`wl-onnx device` end to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., object]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_a_name_all_are_listed(run_cli: Run) -> None:
    outcome = run_cli("device")
    assert outcome.status == 0
    for name in ("pcm-nandakumar2019", "pcm-joshi2020", "gaussian"):
        assert name in outcome.out
    assert len(json.loads(run_cli("device", "--json").out)) == 3


def test_constants_moments_and_capacity_are_printed(run_cli: Run) -> None:
    outcome = run_cli("device", "pcm-nandakumar2019", "--time", "1d")
    assert outcome.status == 0, outcome.err
    for text in ("0.26348", "0.049", "Nandakumar et al., ICECS 2019", "3.17", "2.56", "2.74", "1d"):
        assert text in outcome.out, text
    report = json.loads(run_cli("device", "pcm-joshi2020", "--json").out)
    assert report["name"] == "pcm-joshi2020"
    assert report["times"][0]["capacity_bits"] == pytest.approx(3.15, abs=0.02)
    four = json.loads(run_cli("device", "pcm-joshi2020", "--cells", 4, "--json").out)
    assert four["times"][0]["capacity_bits"] > report["times"][0]["capacity_bits"] + 0.6


def test_a_measured_device_is_shown_and_drawn(run_cli: Run) -> None:
    pytest.importorskip("matplotlib")
    Path("cell.csv").write_text("level,mean [uS],deviation [uS]\n0,0,1\n1,20,1\n", encoding="utf-8")
    outcome = run_cli("device", "--table", "cell.csv", "--plot", "cell.png")
    assert outcome.status == 0, outcome.err
    assert "cell.csv" in outcome.out
    assert Path("cell.png").is_file()
    again = run_cli("device", "--table", "cell.csv", "--plot", "cell.png")
    assert (again.status, again.err.count("\n")) == (1, 1)
    assert "use --force" in again.err
    forced = run_cli("device", "--table", "cell.csv", "--plot", "cell.png", "--force", "--quiet")
    assert (forced.status, forced.out) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pcm"], "the name must be one of pcm-nandakumar2019, pcm-joshi2020, gaussian or"),
        (["gaussian:-1"], "its deviation must be a share of the range"),
        (["gaussian", "--time", "1w"], "cannot use time '1w'"),
        (["gaussian", "--time", "1e9y"], "the time must be in"),
        (["gaussian", "--cells", "0"], "cells must be in 1..64, got 0"),
        (["gaussian", "--plot", "a.gif"], "the name must end in .png or .svg, got .gif"),
        (["gaussian", "--table", "a.csv"], "a name or --table must be given, got both"),
        (["--table", "a.csv"], "cannot use table a.csv: the file must be readable"),
        (["--plot", "a.png"], "a name or --table must be given, got neither"),
    ],
)
def test_bad_input_is_one_line(run_cli: Run, arguments: list[str], message: str) -> None:
    outcome = run_cli("device", *arguments)
    assert outcome.status == 1
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""
