"""BundleDecode, as stock onnxruntime and as our own sessions run it."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

import wl_onnx
from tests.bundles import expected_weights, stored_tensors
from tests.stock_sessions import TYPES, open_stock
from tests.unit.runtime.conftest import DTYPES
from wl_onnx.codecs import bundle
from wl_onnx.graph import find_decoders, load_model
from wl_onnx.runtime.weights import WeightDecoder, decode_weight

TENSORS = stored_tensors()
SHAPES = [(5, 2, 9), (40,), (3, 4), (2, 1), (1,)]
BLOB = bundle.encode(TENSORS)


def make_model(
    *,
    data_type: int = TensorProto.FLOAT,
    as_input: bool = False,
    blob: bytes | None = BLOB,
    operator: str = "",
    num_outputs: int = len(SHAPES),
    used: tuple[int, ...] = tuple(range(len(SHAPES))),
    **attributes: Any,
) -> ModelProto:
    """A model that gives `x` plus each tensor as float64, flat, which holds any type exactly."""
    flat = [number for shape in SHAPES for number in (len(shape), *shape)]
    attributes = {"shapes": flat, "data_type": data_type, **attributes}
    tensor = None
    if blob is not None:
        tensor = helper.make_tensor("blob", TensorProto.UINT8, [len(blob)], blob, raw=True)
        if not as_input:
            attributes["blob"] = tensor
    is_float32 = data_type == TensorProto.FLOAT
    names = [f"w{index}" for index in range(num_outputs)]
    nodes = [
        helper.make_node(
            operator or ("BundleDecode" if is_float32 else "TypedBundleDecode"),
            ["blob"] if as_input else [],
            names,
            name="decode_all",
            domain="com.wl_onnx",
            **{key: value for key, value in attributes.items() if value is not None},
        )
    ]
    outputs = []
    for index in used:
        nodes += [
            helper.make_node("Reshape", [names[index], "flat"], [f"f{index}"]),
            helper.make_node("Cast", [f"f{index}"], [f"c{index}"], to=TensorProto.DOUBLE),
            helper.make_node("Add", [f"c{index}", "x"], [f"y{index}"]),
        ]
        outputs.append(helper.make_tensor_value_info(f"y{index}", TensorProto.DOUBLE, None))
    graph = helper.make_graph(
        nodes,
        "bundle",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, [1])],
        outputs,
        [helper.make_tensor("flat", TensorProto.INT64, [1], [-1]), *([tensor] if as_input else [])],
        value_info=[]
        if is_float32
        else [
            helper.make_tensor_value_info(name, data_type, shape)
            for name, shape in zip(names, SHAPES, strict=False)
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.wl_onnx", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def assert_decodes(
    session: Any, data_type: int = 1, used: tuple[int, ...] = tuple(range(len(SHAPES)))
) -> None:
    for shift in (0.0, 1.0):
        results = session.run(None, {"x": np.array([shift])})
        for index, result in zip(used, results, strict=True):
            expected = expected_weights(TENSORS[index]).astype(DTYPES[data_type])
            np.testing.assert_array_equal(result, expected.astype(np.float64) + shift)


@pytest.mark.parametrize("cache", [0, 1, None])
@pytest.mark.parametrize("as_input", [False, True])
@pytest.mark.parametrize("data_type", TYPES)
def test_decodes_what_was_encoded(data_type: int, as_input: bool, cache: int | None) -> None:
    model = make_model(data_type=data_type, as_input=as_input, cache=cache)
    assert_decodes(open_stock(model, threads=2), data_type)


@pytest.mark.parametrize("cache", [0, 1])
@pytest.mark.parametrize("used", [(0,), (4,), (1, 3)])
def test_outputs_that_nobody_reads_are_left_out(used: tuple[int, ...], cache: int) -> None:
    assert_decodes(open_stock(make_model(used=used, cache=cache)), used=used)


@pytest.mark.parametrize("mode", ["materialize", "cached", "streaming"])
@pytest.mark.parametrize("as_input", [False, True])
@pytest.mark.parametrize("data_type", TYPES)
def test_every_mode_of_our_sessions(mode: Any, as_input: bool, data_type: int) -> None:
    model = make_model(as_input=as_input, data_type=data_type)
    assert_decodes(wl_onnx.InferenceSession(model, mode=mode), data_type)


@pytest.mark.parametrize("config", ["0", "1"])
def test_session_config_overrides_cache(config: str) -> None:
    assert_decodes(open_stock(make_model(), config=config))


def test_several_threads_may_run_a_session() -> None:
    session = open_stock(make_model())
    failures: list[BaseException] = []

    def run() -> None:
        try:
            for _ in range(5):
                assert_decodes(session)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shapes": None}, "attribute shapes must be a list of integers, got none"),
        ({"shapes": [1, 2, 9]}, "must have the rank of each shape before it, got 9 at place 2"),
        ({"shapes": [-1]}, "must have the rank of each shape before it, got -1 at place 0"),
        ({"shapes": [1, 90]}, "as many shapes and outputs as its blob has tensors, 5, got 1 and 5"),
        ({"num_outputs": 4, "used": (0,)}, "its blob has tensors, 5, got 5 and 4"),
        (
            {"shapes": [2, 9, 10, 1, 40, 1, 11, 1, 2, 1, 1]},
            r"shape 2 must have as many elements as its blob, 12, got \[11\]",
        ),
        ({"shapes": [1, 90, 1, 40, 2, 0, 3, 1, 2, 1, 1]}, "dimensions of at least 1"),
        ({"data_type": 7, "operator": "TypedBundleDecode"}, "data_type must be 1 .* got 7"),
        ({"data_type": 10, "operator": "BundleDecode"}, "data_type must be 1 .float32., got 10"),
        ({"cache": 2}, "attribute cache must be 0 or 1, got 2"),
        ({"blob": None}, "its blob must be either .* or an input, got neither"),
    ],
)
def test_a_bad_node_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match="decode_all") as caught:
        open_stock(make_model(**changes))
    is_typed = "type" in str(caught.value) and changes.get("data_type") == 10
    if not is_typed:  # else the model's own types already contradict the operator
        assert caught.match(f"cannot load (Typed)?BundleDecode node decode_all: .*{message}")


def test_a_damaged_blob_is_refused() -> None:
    for place in (0, 5, 9, len(BLOB) // 2, len(BLOB) - 1):
        blob = bytearray(BLOB)
        blob[place] ^= 1
        with pytest.raises(Exception, match="cannot load BundleDecode node decode_all: "):
            open_stock(make_model(blob=bytes(blob)))


@pytest.mark.parametrize("cache", [0, 1])
def test_a_payload_that_goes_on_is_refused_at_the_first_run(cache: int) -> None:
    from tests.blobs import reseal

    session = open_stock(make_model(blob=reseal(BLOB[:-16] + b"\1" * 24), cache=cache))
    for _ in range(2):
        with pytest.raises(Exception, match="cannot run BundleDecode node decode_all: the payload"):
            session.run(None, {"x": np.zeros(1)})


def test_decoders_are_decoded_in_any_order() -> None:
    decoders = find_decoders(load_model(make_model()))
    decode = WeightDecoder()
    for one in (*decoders[::-1], *decoders):
        expected = expected_weights(TENSORS[one.index]).reshape(SHAPES[one.index])
        np.testing.assert_array_equal(decode(one), expected)
        np.testing.assert_array_equal(decode_weight(one), expected)
