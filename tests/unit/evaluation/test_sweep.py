from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from tests.analog_models import store_in_pairs
from wl_onnx.codecs import cells
from wl_onnx.errors import InputError
from wl_onnx.evaluation import draw_sweep, noisy_trial, run_sweep
from wl_onnx.evaluation.cell_count import cells_per_weight
from wl_onnx.evaluation.noisy_trial import derive_seeds
from wl_onnx.graph import find_stored, load_model
from wl_onnx.graph.metadata import write_metadata

TIMES = (0.0, 3600.0)


@pytest.fixture
def files(tmp_path: Path, make_mlp: Callable[..., onnx.ModelProto]) -> dict[str, Path]:
    rng = np.random.default_rng(3)
    proto = make_mlp(*(rng.laplace(size=s).astype(np.float32) for s in ((64, 64), (64, 16))))
    paths = {"original": tmp_path / "original.onnx"}
    onnx.save(proto, paths["original"])
    for count in (1, 4):
        paths[f"x{count}"] = tmp_path / f"x{count}.onnx"
        onnx.save(store_in_pairs(proto, num_cells=count), paths[f"x{count}"])
    return paths


@pytest.fixture
def data(files: dict[str, Path]) -> dict[str, np.ndarray]:
    x = np.random.default_rng(1).normal(size=(50, 64)).astype(np.float32)
    session = onnxruntime.InferenceSession(files["original"])
    return {"x": x, "labels": session.run(None, {"x": x})[0].argmax(axis=1)}


def test_a_trial_is_one_write_and_read_of_the_cells(
    files: dict[str, Path], data: dict[str, np.ndarray], tmp_path: Path
) -> None:
    result = run_sweep([files["x1"]], tmp_path / "o", data, num_seeds=3, times_s=TIMES, jobs=1)
    assert [(t.seed, t.time_s) for t in result.trials] == [(i, t) for t in TIMES for i in range(3)]
    original = {t.name: t for t in onnx.load(files["original"]).graph.initializer}
    for trial in result.trials:
        # By the codec and NumPy, without the operator.
        h = data["x"]
        for decoder in find_stored(load_model(files["x1"])):
            number = decoder.name[1:]
            weight = cells.read(
                decoder.blob,
                write_seed=trial.write_seed,
                read_seed=trial.read_seed,
                time_s=trial.time_s,
            )
            bias = numpy_helper.to_array(original[f"b{number}"])
            h = h @ weight.reshape(decoder.shape) + bias
        assert trial.value == pytest.approx((h.argmax(axis=1) == data["labels"]).mean())
    assert result.summary["metric"] == "accuracy"
    assert len({trial.value for trial in result.trials}) > 1


def test_without_labels_it_is_the_snr_against_the_targets_or_the_original(
    files: dict[str, Path], data: dict[str, np.ndarray], tmp_path: Path
) -> None:
    feeds = {"x": data["x"]}
    names = [files["x1"], files["x4"]]
    targets = run_sweep(names, tmp_path / "a", feeds, num_seeds=4, times_s=TIMES)
    original = run_sweep(
        names, tmp_path / "b", feeds, num_seeds=4, times_s=TIMES, original=files["original"]
    )
    assert targets.summary["metric"] == original.summary["metric"] == "snr_db"
    assert targets.summary["reference"] == "targets"
    one, four = targets.summary["models"]
    assert one["baseline"] is None
    for entry, finer in zip(one["times"], four["times"], strict=True):
        # Four cells have a quarter of the noise power, less what does not average out.
        assert 2 < finer["mean"] - entry["mean"] < 7
    for a, b in zip(targets.trials, original.trials, strict=True):
        assert a.value != b.value
        assert a.value == pytest.approx(b.value, abs=1.0)


def test_parallel_trials_are_those_of_one_thread(
    files: dict[str, Path], data: dict[str, np.ndarray], tmp_path: Path
) -> None:
    models = [files["x1"], files["x4"]]
    serial, parallel = (
        run_sweep(models, tmp_path / str(jobs), data, num_seeds=5, times_s=TIMES, jobs=jobs)
        for jobs in (1, 4)
    )
    assert serial == parallel
    lines = [sorted((tmp_path / n / "trials.csv").read_text().splitlines()) for n in "14"]
    assert lines[0] == lines[1]


def test_seeds_are_shared_by_models_and_writes_by_times(
    files: dict[str, Path], data: dict[str, np.ndarray], tmp_path: Path
) -> None:
    models = [files["x1"], files["x4"]]
    trials = run_sweep(models, tmp_path / "o", data, num_seeds=4, times_s=TIMES).trials
    by_key = {(t.model, t.seed, t.time_s): t for t in trials}
    for index in range(4):
        early, late = (by_key[("x1", index, t)] for t in TIMES)
        assert early.write_seed == late.write_seed
        assert early.read_seed != late.read_seed
        other = by_key[("x4", index, TIMES[0])]
        assert (other.write_seed, other.read_seed) == (early.write_seed, early.read_seed)
    assert len({t.write_seed for t in trials}) == 4
    assert len({t.read_seed for t in trials}) == 8
    drawn = [seed for index in range(200) for seed in derive_seeds(1, index, 20.0)]
    assert len(set(drawn)) == 400
    assert all(0 <= seed < 2**63 for seed in drawn)


class Runs:
    """Counts trials, and stops where it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stop: int | None, error: type) -> None:
        from wl_onnx.evaluation import sweep

        self.count = 0
        original = noisy_trial.run_trial

        def run(*arguments: object) -> object:
            if self.count == stop:
                raise error
            self.count += 1
            return original(*arguments)

        monkeypatch.setattr(sweep, "run_trial", run)


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError])
def test_an_interrupted_sweep_is_gone_on_with(
    files: dict[str, Path],
    data: dict[str, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type,
) -> None:
    models, folder = [files["x1"], files["x4"]], tmp_path / "o"
    whole = run_sweep(models, tmp_path / "whole", data, num_seeds=3, times_s=TIMES, jobs=1)
    with monkeypatch.context() as patch:
        Runs(patch, 5, error)
        with pytest.raises(error):
            run_sweep(models, folder, data, num_seeds=3, times_s=TIMES, jobs=1)
    kept = (folder / "trials.csv").read_text(encoding="utf-8")
    assert kept.count("\n") == 2 + 5
    (folder / "trials.csv").write_text(kept[:-7], encoding="utf-8")
    steps: list[tuple[str, int, int]] = []
    runs = Runs(monkeypatch, None, error)
    resumed = run_sweep(
        models, folder, data, num_seeds=3, times_s=TIMES, jobs=2,
        progress=lambda *step: steps.append(step),
    )  # fmt: skip
    assert resumed == whole
    assert runs.count == 12 - 4
    assert [s for s in steps if s[0] == "trials"] == [("trials", i, 12) for i in range(4, 13)]


def test_more_seeds_times_and_models_add_to_a_sweep(
    files: dict[str, Path],
    data: dict[str, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "o"
    first = run_sweep([files["x1"]], folder, data, num_seeds=2, times_s=TIMES[:1])
    runs = Runs(monkeypatch, None, InputError)
    run_sweep([files["x1"], files["x4"]], folder, data, num_seeds=3, times_s=TIMES)
    assert runs.count == 12 - 2
    again = run_sweep([files["x1"]], folder, data, num_seeds=2, times_s=TIMES[:1])
    assert runs.count == 12 - 2
    assert again == first


def test_trials_of_something_else_are_refused(
    files: dict[str, Path], data: dict[str, np.ndarray], tmp_path: Path
) -> None:
    def run(model: Path, feeds: dict[str, np.ndarray], **options: object) -> object:
        return run_sweep([model], tmp_path / "o", feeds, num_seeds=1, times_s=[1.0], **options)

    run(files["x1"], data)
    for changed in ({**data, "x": data["x"] + 1}, {**data, "labels": data["labels"][::-1]}):
        with pytest.raises(InputError, match="its trials must be of the same data"):
            run(files["x1"], changed)
    with pytest.raises(InputError, match="its trials must be of the same data, labels, original"):
        run(files["x1"], data, seed=1)
    other = tmp_path / "other" / "x1.onnx"
    other.parent.mkdir()
    other.write_bytes(files["x4"].read_bytes())
    with pytest.raises(InputError, match="its trials of x1 must be of the same model"):
        run(other, data)
    assert run(other, data, force=True).summary["models"][0]["cells_per_weight"] > 7


def test_a_change_of_external_data_is_another_model(
    files: dict[str, Path], data: dict[str, np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "external.onnx"
    proto = onnx.load(files["x1"])
    onnx.save(proto, path, save_as_external_data=True, location="d", size_threshold=0)
    run_sweep([path], tmp_path / "o", data, num_seeds=1, times_s=[1.0])
    content = bytearray((tmp_path / "d").read_bytes())
    content[:4] = np.float32(7).tobytes()
    (tmp_path / "d").write_bytes(content)
    with pytest.raises(InputError, match="its trials of external must be of the same model"):
        run_sweep([path], tmp_path / "o", data, num_seeds=1, times_s=[1.0])


def test_cells_are_counted(files: dict[str, Path], small_mlp: onnx.ModelProto) -> None:
    one, four = (load_model(files[name]) for name in ("x1", "x4"))
    # Biases are digital: 80 of 32 bits beside 5,120 weights.
    assert 2 + 80 * 32 / 1.8 / 5120 < cells_per_weight(one) < 2.4
    assert cells_per_weight(four) == pytest.approx(cells_per_weight(one) + 6)
    assert cells_per_weight(load_model(small_mlp)) is None
    write_metadata(one, {"cells_per_weight": "0.75"})
    assert cells_per_weight(one) == 0.75


BAD_OPTIONS = [
    ({"num_seeds": 0}, r"seeds must be in 1\.\.1000000, got 0"),
    ({"times_s": []}, "times must be in 0..1e.12 s, got none"),
    ({"times_s": [1.0, -1.0]}, "times must be in 0..1e.12 s, got -1.0"),
    ({"times_s": [float("nan")]}, "got nan"),
    ({"jobs": -1}, "jobs must not be negative, got -1"),
    ({"seed": -1}, "the seed must be in"),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS)
def test_bad_options(
    files: dict[str, Path], tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run_sweep([files["x1"]], tmp_path / "o", **options)
    assert not (tmp_path / "o").exists()


def test_models_that_cannot_be_swept(
    files: dict[str, Path],
    data: dict[str, np.ndarray],
    tmp_path: Path,
    make_mlp: Callable[..., onnx.ModelProto],
) -> None:
    folder = tmp_path / "o"
    with pytest.raises(InputError, match="there must be at least one model, got none"):
        run_sweep([], folder)
    with pytest.raises(InputError, match="got none named wl_write_seed; store the model"):
        run_sweep([files["original"]], folder, data)
    with pytest.raises(InputError, match="models must be different"):
        run_sweep([files["x1"], files["x1"]], folder, data)
    other = tmp_path / "wide.onnx"
    onnx.save(store_in_pairs(make_mlp(np.eye(48, dtype=np.float32))), other)
    with pytest.raises(InputError, match=r"wide.onnx: its inputs must be those of .*x1.onnx"):
        run_sweep([files["x1"], other], folder, data)
    with pytest.raises(InputError, match="labels"):
        run_sweep([files["x1"]], folder, {**data, "labels": data["labels"][:-1]})
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="it must be a folder"):
        run_sweep([files["x1"]], file, data, num_seeds=1, times_s=[1.0])


def test_pictures(files: dict[str, Path], data: dict[str, np.ndarray], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    models = [files["x1"], files["x4"]]
    result = run_sweep(models, tmp_path / "o", data, num_seeds=2, times_s=TIMES)
    drawn = draw_sweep(result, tmp_path)
    assert [path.name for path in drawn] == [
        "by_time.png", "by_time.svg", "by_cells.png", "by_cells.svg"
    ]  # fmt: skip
    text = (tmp_path / "by_time.svg").read_text(encoding="utf-8")
    assert text.startswith("<?xml")
    again = [path.read_bytes() for path in drawn]
    draw_sweep(result, tmp_path)
    assert [path.read_bytes() for path in drawn] == again
    one = run_sweep(models[:1], tmp_path / "o", {"x": data["x"]}, num_seeds=1, times_s=[0.0],
                    force=True)  # fmt: skip
    (tmp_path / "one").mkdir()
    assert len(draw_sweep(one, tmp_path / "one")) == 2
