"""The reproduction in analog cells, on a network and images that take seconds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import wl_onnx
from tests.image_network import make_image_network
from tests.marked_images import make_marked_images
from tests.model_scripts import load_script

pytest.importorskip("torch", reason="needs the extra models")
pytest.importorskip("matplotlib", reason="needs the extra models")

from wl_onnx.finetune import noisy
from wl_onnx.planning import store_baselines

reproduce, reproduction = load_script("reproduce"), load_script("cell_reproduction")
experiments, table = load_script("cell_experiments"), load_script("cell_table")
to_input = load_script("cifar10").to_input

NAME = "resnet20-cells"
KINDS = ("untrained", "trained")
NUM_WEIGHTS = 8 * 27 + 10 * 512


def call(folder: Path, *others: object) -> int:
    options = [NAME, "--data", folder / "cifar10.npz", "--model", folder / "given.onnx"]
    options += ["--out", folder / "out", "--quick", "--threads", 1, "--seeds", 3, *others]
    return int(reproduce.main([str(option) for option in options]))


@pytest.fixture(scope="module")
def images() -> dict[str, np.ndarray]:
    return make_marked_images(400, 60, (32, 32, 3))


@pytest.fixture(scope="module")
def made(images: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with one seed."""
    folder = tmp_path_factory.mktemp("cells")
    np.savez(folder / "cifar10.npz", **images)
    onnx.save(make_image_network(), folder / "given.onnx")
    with pytest.MonkeyPatch.context() as patch:
        # What cells are compared with is nothing that these tests are on.
        patch.setattr(noisy, "_MAX_TRIALS", 1)
        patch.setattr(store_baselines, "_MAX_TRIALS", 1)
        assert call(folder) == 0
    return folder


def results_of(folder: Path) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = json.loads((folder / "out" / f"{NAME}.json").read_text())[
        "results"
    ]
    return results


def measure_error(model: onnx.ModelProto, images: dict[str, np.ndarray]) -> float:
    """Test error in percent, in onnxruntime alone."""
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (logits,) = session.run(None, {"input": to_input(images["x_test"])})
    return 100 * float(np.mean(logits.argmax(axis=1) != images["y_test"]))


def test_the_figures_are_those_of_the_files(made: Path, images: dict[str, np.ndarray]) -> None:
    baseline_error = measure_error(onnx.load(made / "given.onnx"), images)
    results = results_of(made)
    assert [one["figures"]["model"] for one in results] == ["untrained", "trained"]
    for result in results:
        figures = result["figures"]
        path = made / "out" / result["files"]["model"]
        assert figures["baseline_error"] == pytest.approx(baseline_error)
        drops = []
        for seed in range(1000, 1003):
            plain = wl_onnx.decompress(path)
            weights = wl_onnx.read_weights(path, write_seed=seed, read_seed=seed)
            for one in plain.graph.initializer:
                if one.name in weights:
                    one.CopyFrom(numpy_helper.from_array(weights[one.name], one.name))
            drops.append(measure_error(plain, images) - baseline_error)
        assert figures["drop"] == pytest.approx(np.mean(drops))
        assert figures["spread"] == pytest.approx(np.std(drops, ddof=1))
        cells = result["report"]["cells"]
        assert figures["analog_per_weight"] == pytest.approx(cells["analog"] / NUM_WEIGHTS)
        sum_of_both = figures["analog_per_weight"] + figures["digital_bits_per_weight"] / 1.8
        assert figures["cells_per_weight"] == pytest.approx(sum_of_both)
        assert figures["file_bytes"] == path.stat().st_size


def test_more_is_pruned_where_the_model_is_trained(made: Path) -> None:
    untrained, trained = results_of(made)
    for result, sparsity in ((untrained, 0.3), (trained, 0.5)):
        assert result["settings"]["storage"]["sparsity"] == sparsity
        assert result["settings"]["storage"]["seed"] == 3
        zeros = {
            one.name: np.count_nonzero(numpy_helper.to_array(one) == 0)
            for one in wl_onnx.decompress(made / "out" / result["files"]["model"]).graph.initializer
        }
        pruned = zeros["conv.weight"] + zeros["fc.weight"]
        assert pruned == pytest.approx(sparsity * NUM_WEIGHTS, rel=0.02)
    assert untrained["settings"]["recipe"] is None
    assert trained["settings"]["recipe"]["seed"] == 3


def test_one_is_trained_and_one_is_not(made: Path) -> None:
    given, untrained, trained = (
        {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}
        for path in (
            made / "given.onnx",
            *(made / "out" / f"{NAME}-seed3-{one}.onnx" for one in KINDS),
        )
    )
    for name in ("conv.bias", "fc.bias"):
        np.testing.assert_array_equal(untrained[name], given[name])
        assert (trained[name] != given[name]).any()


def test_the_table_and_the_pictures_are_there(made: Path) -> None:
    text = (made / "out" / f"{NAME}.md").read_text()
    rows = re.findall(r"^\| (\S+) \| (stored as it is|trained for) ", text, re.MULTILINE)
    kinds = ("stored as it is", "trained for")
    assert sorted(rows) == sorted((one, kind) for one in ("3", "mean", "worst") for kind in kinds)
    assert (made / "out" / f"{NAME}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "</svg>" in (made / "out" / f"{NAME}.svg").read_text()
    assert not list(made.glob("out/*.checkpoint"))


def test_a_second_call_makes_nothing_anew(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("made anew")

    monkeypatch.setattr(reproduction, "finetune", refuse)
    monkeypatch.setattr(reproduction.wl_onnx, "store", refuse)
    monkeypatch.setattr(reproduction, "MonteCarloValidator", refuse)
    before = {path.name: path.read_bytes() for path in (made / "out").iterdir()}
    assert call(made) == 0
    assert {path.name: path.read_bytes() for path in (made / "out").iterdir()} == before
    other = make_image_network()
    other.doc_string = "another"
    onnx.save(other, made / "given.onnx")
    try:
        assert call(made) == 1
    finally:
        onnx.save(make_image_network(), made / "given.onnx")
    assert "got one with another baseline; remove it" in capsys.readouterr().err


@pytest.mark.parametrize(("after", "word"), [(0.45, "within"), (0.9, "within"), (1.1, "beyond")])
def test_the_table_says_whether_it_is_what_was_wanted(after: float, word: str) -> None:
    row = table.CellRow(
        seed=0, model="untrained", baseline_error=13.0, drop=2.0, spread=0.3, analog_per_weight=1.0,
        digital_bits_per_weight=2.0, cells_per_weight=2.1, file_bytes=1000, minutes=1.0,
        is_resumed=False,
    )  # fmt: skip
    trained = table.dataclasses.replace(row, model="trained", drop=after)
    text = table.format_cell_table(experiments.CELL_EXPERIMENTS[NAME], [row, trained])
    assert f"{after:.2f} points in the mean, which is {word} what was wanted" in text


def test_codecs_do_not_go_with_cells(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        call(tmp_path, "--codecs", "palette")
