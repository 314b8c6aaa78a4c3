"""The operator, as a stock onnxruntime session with the registered library runs it."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tests.stock_sessions import TYPES, open_stock
from wl_onnx.runtime import get_library_path

if TYPE_CHECKING:
    from .conftest import Build


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("cache", [0, 1])
@pytest.mark.parametrize("as_input", [False, True])
@pytest.mark.parametrize("data_type", TYPES)
def test_decodes_what_the_binding_decodes(
    build: Build, data_type: int, as_input: bool, cache: int, threads: int
) -> None:
    weight = build.weight()
    model = build.lookup(weight, data_type=data_type, as_input=as_input, cache=cache)
    session = open_stock(model, threads=threads)
    expected = weight.as_type(data_type).astype(np.float64)
    for _ in range(3):
        np.testing.assert_array_equal(build.rows(session, weight), expected)


@pytest.mark.parametrize("layout", ["ribbon", "xor"])
@pytest.mark.parametrize("hash_name", ["tabulation", "murmur3"])
@pytest.mark.parametrize("shape", [(1,), (1023,), (1025, 1), (3, 1, 5, 7), (260, 1024)])
def test_shapes_layouts_hashes(
    build: Build, shape: tuple[int, ...], layout: str, hash_name: str
) -> None:
    weight = build.weight(shape, layout=layout, hash=hash_name)
    session = open_stock(build.lookup(weight), threads=2)
    np.testing.assert_array_equal(build.rows(session, weight), weight.dense)


def test_cache_is_on_and_summary_unread_where_not_given(build: Build) -> None:
    weight = build.weight()
    for options in ({}, {"summary": "9 bits"}, {"summary": 3}):
        session = open_stock(build.lookup(weight, **options))
        np.testing.assert_array_equal(build.rows(session, weight), weight.dense)


@pytest.mark.parametrize("data_type", TYPES)
def test_type_and_shape_are_inferred(build: Build, data_type: int) -> None:
    weight = build.weight((6, 5, 4))
    graph = helper.make_graph(
        [build.node(weight, data_type=data_type), helper.make_node("Shape", ["w"], ["y"])],
        "inferred",
        [],
        [
            helper.make_tensor_value_info("w", data_type, None),
            helper.make_tensor_value_info("y", TensorProto.INT64, [3]),
        ],
    )
    session = open_stock(build.model(graph))
    assert session.get_outputs()[0].shape == [6, 5, 4]


def test_in_subgraphs(build: Build) -> None:
    weights = {"then": build.weight(seed=1), "else": build.weight(seed=2)}
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    branches = {}
    for branch, weight in weights.items():
        nodes = [
            build.node(weight, blob_input=f"{branch}.blob", name=branch, output=f"{branch}.w"),
            helper.make_node("Identity", [f"{branch}.w"], [f"{branch}.y"]),
        ]
        branches[f"{branch}_branch"] = helper.make_graph(
            nodes,
            branch,
            [],
            [helper.make_tensor_value_info(f"{branch}.y", TensorProto.FLOAT, weight.shape)],
            [build.blob_tensor(weight.blob, f"{branch}.blob")],
            value_info=[
                helper.make_tensor_value_info(f"{branch}.w", TensorProto.FLOAT, weight.shape)
            ],
        )
    condition = helper.make_tensor_value_info("condition", TensorProto.BOOL, [])
    choose = helper.make_node("If", ["condition"], ["y"], **branches)
    model = build.model(helper.make_graph([choose], "branches", [condition], [output]))
    session = open_stock(model)
    for branch, weight in weights.items():
        (y,) = session.run(None, {"condition": np.array(branch == "then")})
        np.testing.assert_array_equal(y, weight.dense)


@pytest.mark.parametrize("cache", [0, 1])
def test_runs_from_several_threads(build: Build, cache: int) -> None:
    weight = build.weight((512, 1024))
    session = open_stock(build.lookup(weight, cache=cache), threads=2)
    wrong: list[Any] = []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(5):
            try:
                if not np.array_equal(build.rows(session, weight), weight.dense):
                    wrong.append("other weights")
            except Exception as error:  # any failure in a thread is the test's
                wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [96, 33, 99]}, "shape must have as many elements as its blob, 316800, got"),
        ({"shape": [-96, -33, 100]}, "dimensions of at least 1 and fewer than 2.32 elements, got"),
        ({"shape": [1 << 62, 4, 316800]}, "dimensions of at least 1 and fewer than 2.32 elements"),
        ({"shape": [1] * 65}, "shape must have at most 64 dimensions, got 65"),
        ({"shape": None}, "attribute shape must be a list of integers, got none"),
        ({"data_type": 7}, "data_type must be 1 .* or 16 .bfloat16., got 7"),
        ({"data_type": None}, "attribute data_type must be an integer, got none"),
        ({"cache": 2}, "attribute cache must be 0 or 1, got 2"),
        ({"blob": None}, "its blob must be either .* or an input, got neither"),
        ({"blob": "text"}, "its blob must be either .* or an input, got neither"),
        (
            {"blob": helper.make_tensor("", TensorProto.INT8, [1], [1])},
            "its blob must be of element type 2 .uint8., got 3",
        ),
        ({"blob": helper.make_tensor("", TensorProto.UINT8, [0], [])}, "blob"),
    ],
)
def test_a_bad_node_is_refused_by_name(build: Build, changes: dict[str, Any], message: str) -> None:
    model = build.lookup(build.weight(), **changes)
    with pytest.raises(Exception, match=f"cannot load BloomierDecode node decode_w: .*{message}"):
        open_stock(model)


@pytest.mark.parametrize("as_input", [False, True])
def test_a_damaged_blob_is_refused(build: Build, as_input: bool) -> None:
    weight = build.weight((40, 30))
    for place in (0, 5, 9, len(weight.blob) // 2, len(weight.blob) - 1):
        blob = bytearray(weight.blob)
        blob[place] ^= 1
        damaged = type(weight)(weight.shape, bytes(blob), weight.dense)
        with pytest.raises(Exception, match="cannot load BloomierDecode node decode_w: "):
            open_stock(build.lookup(damaged, as_input=as_input))
    cut = type(weight)(weight.shape, weight.blob[:-1], weight.dense)
    with pytest.raises(Exception, match="cannot load BloomierDecode node decode_w: "):
        open_stock(build.lookup(cut, as_input=as_input))


def test_a_blob_that_is_given_twice_is_refused(build: Build) -> None:
    weight = build.weight()
    model = build.lookup(weight, as_input=True, blob=build.blob_tensor(weight.blob))
    with pytest.raises(Exception, match=r"node decode_w: its blob must be .*, got both"):
        open_stock(model)


def test_a_blob_that_is_no_constant_is_refused(build: Build) -> None:
    weight = build.weight()
    model = build.lookup(weight, as_input=True)
    del model.graph.initializer[:]
    model.graph.input.append(
        helper.make_tensor_value_info("w.blob", TensorProto.UINT8, [len(weight.blob)])
    )
    with pytest.raises(Exception, match="node decode_w: its input must be an initializer, got"):
        open_stock(model)


@pytest.mark.parametrize("config", ["0", "1"])
@pytest.mark.parametrize("cache", [0, 1])
def test_session_config_overrides_cache(build: Build, config: str, cache: int) -> None:
    weight = build.weight()
    session = open_stock(build.lookup(weight, cache=cache), config=config)
    for _ in range(2):
        np.testing.assert_array_equal(build.rows(session, weight), weight.dense)


def test_another_session_config_is_refused(build: Build) -> None:
    with pytest.raises(Exception, match=r"config entry com.wl_onnx.cache must be 0 or 1, got yes"):
        open_stock(build.lookup(build.weight()), config="yes")


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_streaming_gives_memory_back(build: Build) -> None:
    weight = build.weight((1024, 2048))
    nodes, value = [], "x"
    for index in range(8):
        name = f"w{index}"
        nodes.append(build.node(weight, name=f"decode {name}", output=name, cache=0))
        nodes.append(helper.make_node("Gemm", [value, name], [f"y{index}"], transB=index % 2))
        value = f"y{index}"
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("x", value)]
    types = [
        helper.make_tensor_value_info(f"w{index}", TensorProto.FLOAT, weight.shape)
        for index in range(8)
    ]
    graph = helper.make_graph(nodes, "layers", infos[:1], infos[1:], value_info=types)
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = False
    options.register_custom_ops_library(get_library_path())
    session = onnxruntime.InferenceSession(build.model(graph).SerializeToString(), options)
    feed = {"x": np.ones((1, 1024), np.float32)}
    before = resident_bytes()
    for _ in range(40):
        session.run(None, feed)
    # All eight weights take 67 MB.
    assert resident_bytes() - before < 20_000_000


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow(build: Build) -> None:
    weight = build.weight((128, 1024))
    models = [build.lookup(weight, cache=cache) for cache in (0, 1)]

    def use(times: int) -> None:
        for _ in range(times):
            for model in models:
                session = open_stock(model)
                for _ in range(4):
                    build.rows(session, weight)
        del session
        gc.collect()

    use(10)
    before = resident_bytes()
    use(50)
    # One leaked tensor a session would be 50 MB, one leaked blob 0.7 MB.
    assert resident_bytes() - before < 8_000_000
