from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from wl_onnx.errors import InputError, ModelError
from wl_onnx.evaluation import compare
from wl_onnx.evaluation.fidelity import ORIGINAL
from wl_onnx.runtime.session import MODES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LABELS = {ORIGINAL, *MODES}


@pytest.fixture
def data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(8)
    return {
        "x": rng.standard_normal((301, 64), dtype=np.float32),
        "labels": rng.integers(0, 10, 301),
    }


@pytest.fixture
def _no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the measuring of memory, where a test is about something else."""
    monkeypatch.setattr("wl_onnx.evaluation.fidelity.measure_peak", lambda *_, **__: None)


def test_a_model_equals_itself(
    make_model: Callable[..., onnx.ModelProto], weight: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(make_model(weight), path)
    report = compare(path, path)
    assert report["outputs"] == [
        {"name": "logits", "cosine": 1.0, "relative_l2": 0.0, "snr_db": None}
    ]
    assert "top1" not in report
    assert report["num_samples"] == 8
    assert report["file_bytes"] == dict.fromkeys(("original", "compressed"), path.stat().st_size)
    assert set(report["modes"]) == LABELS
    for label, costs in report["modes"].items():
        assert costs["create_s"] > 0
        assert costs["latency_s"] > 0
        assert costs["peak_bytes"] is None or costs["peak_bytes"] >= 0
        assert costs.get("max_difference") == (None if label == ORIGINAL else 0.0)
    assert json.loads(json.dumps(report, allow_nan=False)) == report


@pytest.mark.usefixtures("_no_processes")
def test_figures_of_a_perturbed_copy_equal_numpys(
    make_model: Callable[..., onnx.ModelProto], weight: np.ndarray, data: dict[str, np.ndarray]
) -> None:
    noise = np.random.default_rng(9).standard_normal(weight.shape, dtype=np.float32)
    other = weight + np.float32(0.3) * noise
    report = compare(make_model(weight), make_model(other), data, modes=["materialize"])

    x = data["x"].astype(np.float64)
    r, v = x @ weight.astype(np.float64), x @ other.astype(np.float64)
    (output,) = report["outputs"]
    error = np.linalg.norm(v - r) / np.linalg.norm(r)
    assert output["relative_l2"] == pytest.approx(error, rel=1e-5)
    assert output["snr_db"] == pytest.approx(-20 * math.log10(error), rel=1e-5)
    assert output["cosine"] == pytest.approx(
        (r * v).sum() / np.linalg.norm(r) / np.linalg.norm(v), rel=1e-6
    )
    assert report["top1"] == {
        "original": np.mean(r.argmax(axis=1) == data["labels"]),
        "compressed": np.mean(v.argmax(axis=1) == data["labels"]),
    }
    assert set(report["modes"]) == {ORIGINAL, "materialize"}


def test_a_compressed_model_agrees_with_its_decoded_weight_in_every_mode(
    make_model: Callable[..., onnx.ModelProto],
    weight: np.ndarray,
    compressed: tuple[onnx.ModelProto, np.ndarray],
    data: dict[str, np.ndarray],
) -> None:
    model, decoded = compressed
    report = compare(make_model(weight, extra=True), model, data)
    x = data["x"].astype(np.float64)
    r, v = x @ weight.astype(np.float64), x @ decoded.astype(np.float64)
    outputs = {output["name"]: output for output in report["outputs"]}
    assert outputs["logits"]["relative_l2"] == pytest.approx(
        np.linalg.norm(v - r) / np.linalg.norm(r), rel=1e-5
    )
    assert outputs["shifted"]["relative_l2"] == pytest.approx(
        np.linalg.norm(v - r) / np.linalg.norm(r + 1), rel=1e-5
    )
    best_r, best_v = r.argmax(axis=1), v.argmax(axis=1)
    assert outputs["best"]["relative_l2"] == pytest.approx(
        np.linalg.norm(best_v - best_r) / np.linalg.norm(best_r), rel=1e-12
    )
    assert outputs["list"] == {
        "name": "list",
        "cosine": None,
        "relative_l2": None,
        "snr_db": None,
        "note": "not a tensor of numbers, not compared",
    }
    assert report["top1"]["compressed"] == np.mean(best_v == data["labels"])
    for mode in MODES:
        assert report["modes"][mode]["max_difference"] < 1e-4 * np.abs(v).max()


@pytest.mark.usefixtures("_no_processes")
def test_a_fixed_batch_drops_the_rest(
    make_model: Callable[..., onnx.ModelProto], weight: np.ndarray, data: dict[str, np.ndarray]
) -> None:
    model = make_model(weight, batch=50)
    report = compare(model, model, data, modes=["cached"])
    logits = data["x"][:300].astype(np.float64) @ weight.astype(np.float64)
    expected = np.mean(logits.argmax(axis=1) == data["labels"][:300])
    assert report["top1"] == {"original": expected, "compressed": expected}


@pytest.mark.usefixtures("_no_processes")
def test_external_data_counts_as_file_bytes(
    make_model: Callable[..., onnx.ModelProto], weight: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(
        make_model(weight),
        path,
        save_as_external_data=True,
        location="m.data",
        size_threshold=0,
    )
    report = compare(path, make_model(weight), modes=["materialize"])
    size = path.stat().st_size + (tmp_path / "m.data").stat().st_size
    assert (tmp_path / "m.data").stat().st_size >= weight.nbytes
    assert report["file_bytes"]["original"] == size
    assert report["outputs"][0]["relative_l2"] == 0


@pytest.mark.usefixtures("_no_processes")
def test_outputs_that_become_nan_are_noted(
    make_model: Callable[..., onnx.ModelProto], weight: np.ndarray
) -> None:
    broken = weight.copy()
    broken[0, 3] = np.nan
    report = compare(make_model(weight), make_model(broken), modes=["materialize"])
    assert report["outputs"] == [
        {
            "name": "logits",
            "cosine": None,
            "relative_l2": None,
            "snr_db": None,
            "note": "8 elements are finite in one only",
        }
    ]
    report = compare(make_model(0 * weight), make_model(weight), modes=["materialize"])
    assert report["outputs"][0]["note"] == "the original's output is zero, the other's is not"
    assert (report["outputs"][0]["cosine"], report["outputs"][0]["snr_db"]) == (0.0, None)


@pytest.mark.usefixtures("_no_processes")
def test_drawn_inputs_follow_from_the_seed(
    make_model: Callable[..., onnx.ModelProto], weight: np.ndarray
) -> None:
    models = make_model(weight), make_model(np.round(weight))
    first, second, third = (
        compare(*models, modes=["materialize"], seed=seed)["outputs"] for seed in (1, 1, 2)
    )
    assert first == second != third


@pytest.mark.usefixtures("_no_processes")
def test_progress_ends_where_it_says(
    make_model: Callable[..., onnx.ModelProto], weight: np.ndarray
) -> None:
    calls: list[tuple[str, int, int]] = []
    model = make_model(weight)
    compare(model, model, modes=["cached"], progress=lambda *call: calls.append(call))
    stages = [what for what, done, total in calls if done == total]
    assert stages == ["compare outputs", "measure memory"]
    assert all(0 <= done <= total for _, done, total in calls)


@pytest.mark.parametrize("modes", [[], ["fast"], ["cached", "cached"]])
def test_modes_that_do_not_exist_are_refused(modes: list[str]) -> None:
    with pytest.raises(
        InputError, match="modes must be different ones of materialize, cached, str"
    ):
        compare("a.onnx", "b.onnx", modes=modes)


def test_models_with_other_inputs_or_outputs_are_refused(
    make_model: Callable[..., onnx.ModelProto], weight: np.ndarray
) -> None:
    with pytest.raises(
        InputError,
        match=r"inputs must be the same, got x tensor\(float\) and z tensor\(float\)",
    ):
        compare(make_model(weight), make_model(weight, name="z"))
    with pytest.raises(InputError, match="their outputs must be the same, got logits tensor"):
        compare(make_model(weight), make_model(weight, extra=True))


def test_files_that_are_no_models_are_refused(
    make_model: Callable[..., onnx.ModelProto], weight: np.ndarray, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.onnx", tmp_path / "bad.onnx"
    onnx.save(make_model(weight), good)
    bad.write_bytes(good.read_bytes()[:-9])
    for pair in ((bad, good), (good, bad)):
        with pytest.raises(ModelError, match=f"cannot load {bad}"):
            compare(*pair)
    with pytest.raises(InputError, match=r"none\.onnx: it must be a file"):
        compare(tmp_path / "none.onnx", good)


def test_a_model_that_onnxruntime_refuses_is_named(
    make_model: Callable[..., onnx.ModelProto], weight: np.ndarray
) -> None:
    model = make_model(weight)
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ModelError, match="it must be a model that onnxruntime loads, got: ") as e:
        compare(model, model)
    assert "\n" not in str(e.value)


def test_data_that_do_not_fit_are_refused(
    make_model: Callable[..., onnx.ModelProto], weight: np.ndarray, data: dict[str, np.ndarray]
) -> None:
    model = make_model(weight)
    with pytest.raises(InputError, match="array x must be float32, got float64"):
        compare(model, model, {"x": data["x"].astype(np.float64)})


def test_labels_need_an_output_of_classes(weight: np.ndarray, data: dict[str, np.ndarray]) -> None:
    info: Any = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)],
        "sum",
        [info("x", onnx.TensorProto.FLOAT, ["N", 64])],
        [info("y", onnx.TensorProto.FLOAT, [])],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    with pytest.raises(InputError, match=r"cannot count top-1: .*got \[\] and \[0\] \(output y\)"):
        compare(model, model, data, modes=["cached"])
