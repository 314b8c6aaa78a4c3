from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from wl_onnx.errors import InputError, ModelError, WlOnnxError
from wl_onnx.runtime.measure import (
    Candidate,
    measure_peak,
    open_session,
    run_session,
    time_creation,
    time_runs,
)

if TYPE_CHECKING:
    from pathlib import Path


def write_product(path: Path, size: int, *, name: str = "x") -> Candidate:
    """A model y = x w with w of `size` rows and columns."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", [name, "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", size])],
        [numpy_helper.from_array(np.eye(size, dtype=np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return Candidate(path)


@pytest.fixture
def small(tmp_path: Path) -> Candidate:
    return write_product(tmp_path / "small.onnx", 8)


def test_outputs_come_by_name(small: Candidate) -> None:
    x = np.arange(16, dtype=np.float32).reshape(2, 8)
    np.testing.assert_array_equal(run_session(open_session(small), {"x": x})["y"], x)


def test_a_mode_opens_our_session(small: Candidate) -> None:
    session = open_session(Candidate(small.model, "cached"), threads=1)
    assert type(session).__module__.startswith("wl_onnx")
    assert session.get_session_options().intra_op_num_threads == 1


def test_a_run_that_fails_says_why(small: Candidate) -> None:
    with pytest.raises(InputError, match=r"cannot run m: the inputs must fit .* got: .*") as caught:
        run_session(open_session(small), {"x": np.zeros((1, 9), np.float32)}, "m")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"\x08\x08junk")
    with pytest.raises(ModelError, match="a model that onnxruntime loads, got: "):
        open_session(Candidate(path))


def test_each_round_opens_and_runs_every_candidate(small: Candidate) -> None:
    candidates = {"a": small, "b": Candidate(small.model, "streaming")}
    created_s = time_creation(candidates, repeats=2)
    sessions = {label: open_session(candidate) for label, candidate in candidates.items()}
    run_s = time_runs(sessions, {"x": np.ones((1, 8), np.float32)}, rounds=3, budget_s=0)
    for times_s in (created_s, run_s):
        assert set(times_s) == {"a", "b"}
        assert all(value > 0 for value in times_s.values())


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is exact on Linux alone")
def test_the_peak_counts_the_model_and_nothing_before_it(tmp_path: Path, small: Candidate) -> None:
    size = 2048
    large = write_product(tmp_path / "large.onnx", size)
    ballast = np.ones(50_000_000)  # the parent's memory must not count
    peak_small = measure_peak(small, {"x": np.ones((1, 8), np.float32)})
    peak_large = measure_peak(large, {"x": np.ones((1, size), np.float32)}, threads=1)
    weight_bytes = 4 * size * size
    assert peak_small is not None
    assert peak_large is not None
    assert peak_small < 8e6
    assert weight_bytes <= peak_large <= 4 * weight_bytes
    del ballast


@pytest.mark.parametrize("name", ["file", "a/b", "arr_0"])
def test_inputs_of_any_name_reach_the_measuring_process(tmp_path: Path, name: str) -> None:
    candidate = write_product(tmp_path / "m.onnx", 4, name=name)
    peak_bytes = measure_peak(candidate, {name: np.ones((1, 4), np.float32)})
    assert peak_bytes is None or peak_bytes >= 0


def test_a_measuring_process_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(WlOnnxError, match=r"cannot measure the memory of .*none\.onnx") as caught:
        measure_peak(Candidate(tmp_path / "none.onnx", "cached"), {})
    assert "it must be a file" in str(caught.value)
    assert "\n" not in str(caught.value)
