from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from wl_onnx.analog import TableDevice, find_device, gaussian
from wl_onnx.errors import InputError, LibraryError
from wl_onnx.evaluation import check_picture, describe_device, draw_device, list_devices
from wl_onnx.evaluation.device_report import is_static

DAY_S = 86400.0


def test_every_device_is_listed() -> None:
    names = [one["name"] for one in list_devices()]
    assert names == ["pcm-nandakumar2019", "pcm-joshi2020", "gaussian"]


def test_a_device_that_changes_with_time() -> None:
    device = find_device("pcm-nandakumar2019")
    report = describe_device(device, [0.0, DAY_S], levels=[0.0, 1.0])
    assert not report["is_static"]
    assert [entry["time_s"] for entry in report["times"]] == [0.0, DAY_S]
    mean, deviation = device.moments([0.0, 1.0], DAY_S)
    assert report["times"][1]["mean_usiemens"] == mean.tolist()
    assert report["times"][1]["deviation_usiemens"] == deviation.tolist()
    start, later = report["times"]
    assert start["capacity_bits"] > later["capacity_bits_drift_undone"] > later["capacity_bits"]
    assert report["capacity_bits_programming"] > start["capacity_bits"]
    assert all(one["source"] and one["name"] for one in report["constants"])
    assert json.loads(json.dumps(report)) == report


def test_a_device_that_does_not_has_one_time() -> None:
    steps = []
    report = describe_device(
        gaussian(), [DAY_S, 2 * DAY_S], progress=lambda *step: steps.append(step)
    )
    assert report["is_static"]
    assert len(report["times"]) == 1
    assert report["times"][0]["capacity_bits"] == report["capacity_bits_programming"]
    assert steps == [("capacity", 0, 2), ("capacity", 1, 2)]
    assert is_static(TableDevice("t", [0, 1], [0, 9], [1, 1], [1, 1]))


@pytest.mark.parametrize("suffix", [".png", ".svg"])
@pytest.mark.parametrize("name", ["pcm-nandakumar2019", "gaussian"])
def test_a_picture_is_drawn_and_is_the_same_each_time(
    name: str, suffix: str, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    paths = [tmp_path / f"{index}{suffix}" for index in range(2 if name == "gaussian" else 1)]
    for path in paths:
        draw_device(find_device(name), path)
    magic = b"\x89PNG" if suffix == ".png" else b"<?xml"
    assert paths[0].read_bytes().startswith(magic)
    assert paths[0].stat().st_size > 10_000
    assert len({path.read_bytes() for path in paths}) == 1
    assert sorted(tmp_path.iterdir()) == paths


def test_pictures_that_cannot_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"the name must end in \.png or \.svg, got \.jpg"):
        check_picture(tmp_path / "a.jpg")
    pytest.importorskip("matplotlib")
    with pytest.raises(InputError, match="its folder must be writable"):
        draw_device(gaussian(), tmp_path / "nowhere" / "a.png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(LibraryError, match=r"pip install \"wl-onnx\[plot\]\""):
        draw_device(gaussian(), tmp_path / "a.png")


def test_levels_may_be_an_array() -> None:
    report = describe_device(gaussian(), [0.0], levels=np.linspace(0, 1, 3).tolist())
    assert len(report["times"][0]["mean_usiemens"]) == 3
