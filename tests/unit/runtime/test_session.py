from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper

from wl_onnx.errors import BlobError, InputError, ModelError
from wl_onnx.graph import Decoder, load_model, save_model
from wl_onnx.runtime import InferenceSession
from wl_onnx.runtime.options import copy_options
from wl_onnx.runtime.session import MODES
from wl_onnx.runtime.weights import decode_weight

if TYPE_CHECKING:
    from .conftest import Build

TYPES = [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16]
PROVIDERS = ["CPUExecutionProvider"]


def make_options(**settings: object) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for name, value in settings.items():
        setattr(options, name, value)
    return options


def plain_model() -> ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"])],
        "plain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("as_input", [False, True])
@pytest.mark.parametrize("data_type", TYPES)
def test_every_mode_and_type(build: Build, data_type: int, as_input: bool, mode: str) -> None:
    weight = build.weight()
    model = build.lookup(weight, data_type=data_type, as_input=as_input)
    session = InferenceSession(model, make_options(), PROVIDERS, mode=mode)
    assert isinstance(session, onnxruntime.InferenceSession)
    expected = weight.as_type(data_type).astype(np.float64)
    for _ in range(2):
        np.testing.assert_array_equal(build.rows(session, weight), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("as_input", [False, True])
def test_from_path_bytes_and_proto(build: Build, tmp_path: Path, as_input: bool, mode: str) -> None:
    weight = build.weight()
    model = build.lookup(weight, as_input=as_input)
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=as_input, size_threshold=0)
    assert len(list(tmp_path.iterdir())) == 1 + as_input
    proto = onnx.load(path)
    before = proto.SerializeToString()
    for source in (path, str(path), before, proto):
        session = InferenceSession(source, mode=mode)
        np.testing.assert_array_equal(build.rows(session, weight), weight.dense)
    assert proto.SerializeToString() == before


@pytest.mark.parametrize("mode", MODES)
def test_dense_external_data_stays_readable(build: Build, tmp_path: Path, mode: str) -> None:
    weight = build.weight((8, 40))
    model = build.lookup(weight)
    offset = np.arange(8, dtype=np.float64).reshape(8, 1) + 0.25
    model.graph.initializer.append(onnx.numpy_helper.from_array(offset, "offset"))
    model.graph.node.append(helper.make_node("Add", ["y", "offset"], ["z"]))
    model.graph.output[0].name = "z"
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, size_threshold=0)
    session = InferenceSession(path, mode=mode)
    (z,) = session.run(None, {"i": np.arange(8)})
    np.testing.assert_array_equal(z, weight.dense + offset)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("as_input", [False, True])
def test_weights_in_subgraphs(build: Build, as_input: bool, mode: str) -> None:
    weights = {"then": build.weight(seed=1), "else": build.weight(seed=2)}
    branches = {}
    for branch, weight in weights.items():
        blob_input = "w.blob" if as_input else ""
        branches[f"{branch}_branch"] = helper.make_graph(
            [
                build.node(weight, blob_input=blob_input, name=branch),
                helper.make_node("Gather", ["w", "i"], [f"{branch}.y"]),
            ],
            branch,
            [],
            [helper.make_tensor_value_info(f"{branch}.y", TensorProto.FLOAT, None)],
            [build.blob_tensor(weight.blob, blob_input)] if as_input else [],
            value_info=[helper.make_tensor_value_info("w", TensorProto.FLOAT, weight.shape)],
        )
    inputs = [
        helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
        helper.make_tensor_value_info("i", TensorProto.INT64, ["n"]),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    choose = helper.make_node("If", ["condition"], ["y"], name="choose", **branches)
    model = build.model(helper.make_graph([choose], "branches", inputs, outputs))
    session = InferenceSession(model, make_options(), PROVIDERS, mode=mode)
    for branch, weight in weights.items():
        feed = {"condition": np.array(branch == "then"), "i": np.arange(weight.shape[0])}
        np.testing.assert_array_equal(session.run(None, feed)[0], weight.dense)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("threads", [1, 2])
def test_runs_from_several_threads(build: Build, mode: str, threads: int) -> None:
    weight = build.weight((512, 1024))
    options = make_options(intra_op_num_threads=threads)
    session = InferenceSession(build.lookup(weight), options, PROVIDERS, mode=mode)
    results: list[np.ndarray] = []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        results.extend(build.rows(session, weight) for _ in range(3))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 12
    assert all(np.array_equal(result, weight.dense) for result in results)


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
@pytest.mark.parametrize("shape", [(3, 4), (256, 256), (1024, 1024)])
def test_materialized_weights_are_the_sessions_own(
    build: Build, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], level: str
) -> None:
    weight = build.weight(shape)
    decoded: list[np.ndarray] = []

    def remember(decoder: Decoder) -> np.ndarray:
        decoded.append(decode_weight(decoder))
        return decoded[-1]

    monkeypatch.setattr("wl_onnx.runtime.session.WeightDecoder", lambda threads: remember)
    levels = onnxruntime.GraphOptimizationLevel
    options = make_options(graph_optimization_level=getattr(levels, level))
    session = InferenceSession(build.lookup(weight), options, PROVIDERS)
    (array,) = decoded
    array.fill(77)
    np.testing.assert_array_equal(build.rows(session, weight), weight.dense)


@pytest.mark.parametrize("mode", MODES)
def test_the_callers_options_stay_as_they_are(build: Build, tmp_path: Path, mode: str) -> None:
    options = make_options(
        intra_op_num_threads=2,
        enable_profiling=True,
        profile_file_prefix=str(tmp_path / "profile"),
        optimized_model_filepath=str(tmp_path / "optimized.onnx"),
    )
    options.add_session_config_entry("session.disable_prepacking", "1")
    for seed in (1, 2, 1):
        weight = build.weight(seed=seed)
        session = InferenceSession(build.lookup(weight), options, PROVIDERS, mode=mode)
        np.testing.assert_array_equal(build.rows(session, weight), weight.dense)
        Path(session.end_profiling()).unlink()
        (tmp_path / "optimized.onnx").unlink()
        assert not list(tmp_path.iterdir())
        used = session.get_session_options()
        assert used.intra_op_num_threads == 2
        assert used.get_session_config_entry("session.disable_prepacking") == "1"
    assert options.enable_cpu_mem_arena
    assert options.enable_profiling
    assert options.optimized_model_filepath == str(tmp_path / "optimized.onnx")
    options.enable_profiling = False
    options.optimized_model_filepath = ""
    stock = onnxruntime.InferenceSession(plain_model().SerializeToString(), options, PROVIDERS)
    assert stock.run(None, {"x": np.ones(2, np.float32)})[0].tolist() == [-1, -1]


def test_options_of_a_session_open_another(build: Build) -> None:
    weight = build.weight()
    first = InferenceSession(build.lookup(weight), make_options(), PROVIDERS)
    second = InferenceSession(build.lookup(weight), first.get_session_options(), PROVIDERS)
    np.testing.assert_array_equal(build.rows(second, weight), weight.dense)


def test_a_copy_of_options_is_independent() -> None:
    options = make_options(inter_op_num_threads=3, logid="mine")
    copy = copy_options(options)
    assert copy is not None
    assert copy is not options
    assert (copy.inter_op_num_threads, copy.logid) == (3, "mine")
    copy.logid = "other"
    assert options.logid == "mine"


def test_options_that_cannot_be_copied() -> None:
    options = make_options()
    options.add_session_config_entry("session.load_model_format", "ORT")
    assert copy_options(options) is None


@pytest.mark.parametrize("mode", MODES)
def test_options_that_cannot_be_copied_are_used(
    build: Build, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr("wl_onnx.runtime.session.copy_options", lambda options: None)
    options = make_options()
    for data_type in TYPES:
        weight = build.weight()
        model = build.lookup(weight, data_type=data_type, as_input=True)
        session = InferenceSession(model, options, PROVIDERS, mode=mode)
        expected = weight.as_type(data_type).astype(np.float64)
        np.testing.assert_array_equal(build.rows(session, weight), expected)
    assert options.enable_cpu_mem_arena


def test_options_with_a_third_library_are_used(build: Build) -> None:
    # Whether a model needs such a library shows in the domains that it imports.
    weight = build.weight()
    model = build.lookup(weight)
    model.opset_import.add(domain="com.example", version=1)
    options = make_options()
    for mode in (*MODES, *MODES):
        session = InferenceSession(model, options, PROVIDERS, mode=mode)
        np.testing.assert_array_equal(build.rows(session, weight), weight.dense)
        assert session.get_session_options().enable_cpu_mem_arena is (mode != "streaming")
    # Our library is registered in them, once.
    stock = onnxruntime.InferenceSession(model.SerializeToString(), options, PROVIDERS)
    np.testing.assert_array_equal(build.rows(stock, weight), weight.dense)


def test_streaming_turns_the_arena_off(build: Build) -> None:
    session = InferenceSession(build.lookup(build.weight()), mode="streaming")
    assert not session.get_session_options().enable_cpu_mem_arena
    assert InferenceSession(plain_model(), mode="streaming")


@pytest.mark.parametrize("mode", MODES)
def test_a_model_without_our_operators_just_opens(tmp_path: Path, mode: str) -> None:
    model = plain_model()
    path = tmp_path / "plain.onnx"
    onnx.save(model, path)
    model.metadata_props.add(key="com.wl_onnx.version", value="mentioned only")
    for source in (path, model.SerializeToString(), model):
        session = InferenceSession(source, mode=mode)
        assert session.run(None, {"x": np.ones(2, np.float32)})[0].tolist() == [-1, -1]


def test_materialized_providers_cannot_change(build: Build) -> None:
    weight = build.weight()
    session = InferenceSession(build.lookup(weight), make_options(), PROVIDERS)
    with pytest.raises(InputError, match=r"cannot change providers: .*; open a new session"):
        session.set_providers(PROVIDERS)
    np.testing.assert_array_equal(build.rows(session, weight), weight.dense)
    plain = InferenceSession(plain_model())
    plain.set_providers(PROVIDERS)
    assert plain.run(None, {"x": np.ones(2, np.float32)})[0].tolist() == [-1, -1]


def test_unknown_mode() -> None:
    with pytest.raises(InputError, match="mode must be materialize, cached or streaming, got 'x'"):
        InferenceSession(plain_model(), mode="x")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got no such file"):
        InferenceSession(tmp_path / "absent.onnx")
    with pytest.raises(ModelError, match="got a directory"):
        InferenceSession(tmp_path)
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(ModelError, match="empty"):
        InferenceSession(tmp_path / "empty.onnx")


@pytest.mark.parametrize("mode", MODES)
def test_a_damaged_model(build: Build, tmp_path: Path, mode: str) -> None:
    data = build.lookup(build.weight()).SerializeToString()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: len(data) // 2] + b"com.wl_onnx")
    with pytest.raises(ModelError, match="do not parse"):
        InferenceSession(path, mode=mode)
    with pytest.raises(ModelError, match="do not parse"):
        InferenceSession(path.read_bytes(), mode=mode)


def test_a_damaged_blob_is_named(build: Build) -> None:
    weight = build.weight()
    blob = bytearray(weight.blob)
    blob[-1] ^= 1
    model = build.lookup(type(weight)(weight.shape, bytes(blob), weight.dense))
    with pytest.raises(BlobError, match=r"cannot decode w of lookup: .*checksum"):
        InferenceSession(model)
    for mode in ("cached", "streaming"):
        with pytest.raises(Exception, match=r"BloomierDecode node decode_w: .*checksum"):
            InferenceSession(model, make_options(), PROVIDERS, mode=mode)


def test_another_number_of_weights_is_named(build: Build) -> None:
    model = build.lookup(build.weight(), shape=[96, 33, 99])
    with pytest.raises(ModelError, match=r"cannot decode w of lookup: .*316800"):
        InferenceSession(model)


def test_a_saved_model_with_external_blobs(build: Build, tmp_path: Path) -> None:
    weight = build.weight()
    loaded = load_model(build.lookup(weight, as_input=True))
    save_model(loaded, tmp_path / "model.onnx")
    for mode in MODES:
        session = InferenceSession(tmp_path / "model.onnx", mode=mode)
        np.testing.assert_array_equal(build.rows(session, weight), weight.dense)
