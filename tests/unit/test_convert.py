"""Operators, portable and dense: the same weights in each, and what is refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import wl_onnx
from tests.compressions import arrays_of
from tests.portable_files import (
    blobs_by_weight,
    draw_feeds,
    fold,
    one_thread,
    open_plain,
    same_bits,
)
from wl_onnx import Recipe, compress, convert, decompress
from wl_onnx.errors import InputError, ModelError
from wl_onnx.evaluation import compare, inspect

FILTER = Recipe(codec="bloomier", layout="xor")
PALETTE = Recipe(codec="palette")
MODELS = ["lenet300", "lenet5", "resnet20", "slim-320"]


def record_of(model: onnx.ModelProto) -> list[dict[str, Any]]:
    metadata = {one.key: one.value for one in model.metadata_props}
    return json.loads(metadata["com.wl_onnx.portable"])["weights"]


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("recipe", [FILTER, PALETTE], ids=["bloomier", "palette"])
@pytest.mark.parametrize("name", MODELS)
def test_trained_models_hold_the_same_bits_and_give_the_same_outputs(
    find_model: Callable[[str], Path], tmp_path: Path, name: str, recipe: Recipe, inline: bool
) -> None:
    operators, dense = tmp_path / "operators.onnx", tmp_path / "dense.onnx"
    compress(find_model(name), operators, recipe=recipe)
    decompress(operators, dense)
    portable = convert(operators, tmp_path / "portable.onnx", inline=inline)
    decoded = arrays_of(onnx.load(dense))
    names = [weight["name"] for weight in record_of(portable)]
    assert names
    for weight, folded in fold(portable, names).items():
        assert same_bits(folded, decoded[weight])
    feeds = draw_feeds(open_plain(dense))
    expected = open_plain(dense).run(None, feeds)
    for session in (
        open_plain(tmp_path / "portable.onnx"),
        wl_onnx.InferenceSession(tmp_path / "portable.onnx", one_thread()),
    ):
        for one, other in zip(session.run(None, feeds), expected, strict=True):
            assert same_bits(one, other)
    back = convert(tmp_path / "portable.onnx", to="operators")
    assert set(blobs_by_weight(back)) == set(names)
    if recipe is FILTER:
        before = blobs_by_weight(onnx.load(operators))
        assert all(before[key] == blob for key, blob in blobs_by_weight(back).items())
    for plain in (
        convert(tmp_path / "portable.onnx", to="dense"),
        decompress(tmp_path / "portable.onnx"),
        decompress(back),
    ):
        arrays = arrays_of(plain)
        assert arrays.keys() == decoded.keys()
        assert all(same_bits(arrays[key], decoded[key]) for key in decoded)


def test_the_reference_evaluator_gives_the_same_weights(small_mlp: onnx.ModelProto) -> None:
    from onnx.reference import ReferenceEvaluator

    for recipe in (FILTER, PALETTE):
        operators = compress(small_mlp, recipe=recipe).model
        decoded = arrays_of(decompress(operators))
        portable = convert(operators)
        names = [weight["name"] for weight in record_of(portable)]
        infos = {info.name: info for info in portable.graph.value_info}
        del portable.graph.output[:]
        portable.graph.output.extend(infos[name] for name in names)
        feeds = {"x": np.zeros((1, 64), np.float32)}
        for name, got in zip(names, ReferenceEvaluator(portable).run(None, feeds), strict=True):
            assert same_bits(got, decoded[name])


def test_a_digest_is_that_of_the_decoded_bytes(small_mlp: onnx.ModelProto) -> None:
    import mmh3

    operators = compress(small_mlp, recipe=PALETTE).model
    decoded = arrays_of(decompress(operators))
    for weight in record_of(convert(operators)):
        array = decoded[weight["name"]]
        assert weight["digest"] == mmh3.hash_bytes(array.tobytes(), 0, True).hex()
        assert weight["shape"] == list(array.shape)


def test_bundles_become_packed_palettes_or_dense(small_mlp: onnx.ModelProto) -> None:
    rng = np.random.default_rng(5)
    feeds = [{"x": rng.normal(size=(8, 64)).astype(np.float32)} for _ in range(8)]
    operators = compress(small_mlp, data=feeds, min_snr=20, max_trials=2).model
    assert "BundleDecode" in {node.op_type for node in operators.graph.node}
    decoded = arrays_of(decompress(operators))
    portable = convert(operators)
    names = {weight["name"] for weight in record_of(portable)}
    assert "w0" in names
    dense = arrays_of(convert(portable, to="dense"))
    assert dense.keys() == decoded.keys()
    assert all(same_bits(dense[key], decoded[key]) for key in decoded)
    # Biases are too small to be worth nodes.
    assert {"b0", "b1"} <= set(arrays_of(portable))
    assert not {"b0", "b1"} & names


def test_growth_and_what_is_left_dense_are_told(
    small_mlp: onnx.ModelProto, caplog: pytest.LogCaptureFixture
) -> None:
    operators = compress(small_mlp, recipe=Recipe(codec="palette", min_elements=1)).model
    with caplog.at_level(logging.WARNING, "wl_onnx"):
        convert(operators)
    assert "opset 17 to 18" in caplog.text
    blobs = blobs_by_weight(operators)
    coded = sum(map(len, blobs.values()))
    assert f"entropy-coded weights of mlp are packed: {coded} bytes become " in caplog.text
    caplog.clear()
    operators = compress(small_mlp, recipe=Recipe(codec="bloomier", min_elements=1)).model
    portable = convert(operators)
    assert [weight["name"] for weight in record_of(portable)] == ["w0"]
    assert "1 weights of mlp are stored dense: w1" in caplog.text


def test_what_onnxruntime_would_not_fold_is_left_dense(
    small_mlp: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wl_onnx.portable import making

    operators = compress(small_mlp, recipe=Recipe(codec="palette", min_elements=1)).model
    monkeypatch.setattr(making, "FOLDED_VALUE_BYTES", 64 * 64 * 4 - 1)
    portable = convert(operators)
    assert [weight["name"] for weight in record_of(portable)] == ["w1"]
    expected = arrays_of(decompress(operators))["w0"]
    assert same_bits(arrays_of(portable)["w0"], expected)


def test_metadata_stays_but_for_the_record(small_mlp: onnx.ModelProto) -> None:
    operators = compress(small_mlp, recipe=PALETTE).model
    portable = convert(operators)
    back = convert(portable, to="operators")
    mine = {one.key: one.value for one in operators.metadata_props}
    assert {one.key: one.value for one in back.metadata_props} == mine
    theirs = {one.key: one.value for one in portable.metadata_props}
    del theirs["com.wl_onnx.portable"]
    assert theirs == mine


def test_the_same_bytes_every_time(small_mlp: onnx.ModelProto) -> None:
    operators = compress(small_mlp, recipe=FILTER).model
    first, second = convert(operators), convert(operators)
    assert first.SerializeToString() == second.SerializeToString()
    again = convert(convert(first, to="operators"))
    assert again == first


def test_inspect_speaks_of_the_portable_file(small_mlp: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "portable.onnx"
    report = compress(small_mlp, path, recipe=PALETTE, portable=True).report
    found = inspect(path)
    assert found["weights"] == report["weights"]
    assert found["file"]["compressed_bytes"] == path.stat().st_size
    assert found["file"]["blob_bytes"] == report["file"]["blob_bytes"]
    sizes = {one["name"]: one["size_bits"] for one in report["tensors"]}
    portable = onnx.load(path)
    stored = {one.name: one.raw_data for one in portable.graph.initializer}
    for one in found["tensors"]:
        assert one["size_bits"] == sizes[one["name"]]
    for weight in record_of(portable):
        held = sum(len(stored[name]) for name in weight["tensors"].values())
        assert sizes[weight["name"]] == 8 * held
    assert found["metadata"]["portable"] == f"{len(record_of(portable))} weights"


def test_compare_takes_a_portable_file(small_mlp: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "portable.onnx"
    compress(small_mlp, path, recipe=PALETTE, portable=True)
    result = compare(small_mlp, path)
    assert set(result["modes"]) == {"original", "materialize", "cached", "streaming"}
    assert result["outputs"][0]["snr_db"] > 10


@pytest.mark.parametrize(
    ("to", "source", "message"),
    [
        (
            "portable",
            "dense",
            "must be a compressed or portable model, got a plain one; compress w",
        ),
        ("operators", "dense", "must be a compressed or portable model, got a plain one; compress"),
        ("dense", "dense", "to dense: it must not be dense yet"),
        ("operators", "operators", "to operators: it must not be operators yet"),
        ("portable", "portable", "to portable: it must not be portable yet"),
        ("onnx", "operators", "to must be portable, operators, dense, got 'onnx'"),
    ],
)
def test_what_cannot_be_converted(
    small_mlp: onnx.ModelProto, tmp_path: Path, to: str, source: str, message: str
) -> None:
    model = small_mlp
    if source != "dense":
        model = compress(small_mlp, recipe=PALETTE, portable=source == "portable").model
    with pytest.raises(InputError, match=message):
        convert(model, tmp_path / "out.onnx", to=to)
    assert not list(tmp_path.iterdir())


def test_options_that_do_not_go_together(small_mlp: onnx.ModelProto) -> None:
    operators = compress(small_mlp, recipe=PALETTE).model
    with pytest.raises(InputError, match="inline and folding_budget must go with portable"):
        convert(operators, to="dense", inline=True)
    with pytest.raises(InputError, match="got folding_budget 5"):
        convert(operators, to="operators", folding_budget=5)
    with pytest.raises(InputError, match="must be at least 1 byte, got 0"):
        convert(operators, folding_budget=0)


def test_a_budget_too_small_says_what_it_would_take(small_mlp: onnx.ModelProto) -> None:
    operators = compress(small_mlp, recipe=Recipe(codec="palette", min_elements=1)).model
    with pytest.raises(InputError, match="at most 1000 bytes, got ") as caught:
        convert(operators, folding_budget=1000)
    message = str(caught.value)
    needed = int(message.split("got ")[1].split(",")[0])
    assert "of them for w0; raise folding_budget, or convert to dense" in message
    assert needed > 4 * (64 * 64 + 64 * 16)  # the weights themselves are among it
    assert record_of(convert(operators, folding_budget=needed))
    with pytest.raises(InputError, match=f"got {needed}, "):
        convert(operators, folding_budget=needed - 1)


@pytest.mark.parametrize(
    ("layout", "advice"),
    [("ribbon", "compress with layout xor, or"), ("xor", "compress with codec palette, or")],
)
def test_a_budget_too_small_says_what_takes_less(
    small_mlp: onnx.ModelProto, layout: str, advice: str
) -> None:
    operators = compress(small_mlp, recipe=Recipe(layout=layout)).model
    with pytest.raises(InputError, match=f"raise folding_budget, {advice} convert to dense"):
        convert(operators, folding_budget=1000)


def test_analog_weights_are_refused(small_mlp: onnx.ModelProto) -> None:
    stored = wl_onnx.store(small_mlp).model
    with pytest.raises(InputError, match="must not be in analog cells, whose noise is drawn anew"):
        convert(stored)


def test_a_layout_without_a_portable_form_says_what_would_do(small_mlp: onnx.ModelProto) -> None:
    recipe = Recipe(codec="bloomier", layout="prefix")
    operators = compress(small_mlp, recipe=recipe).model
    for run in (
        lambda: convert(operators),
        lambda: compress(small_mlp, recipe=recipe, portable=True),
    ):
        with pytest.raises(InputError, match="layout"):
            run()


def test_a_model_of_which_nothing_would_shrink(small_mlp: onnx.ModelProto) -> None:
    recipe = Recipe(codec="bloomier", min_elements=1, include=("w1",))
    operators = compress(small_mlp, recipe=recipe).model
    with pytest.raises(InputError, match="a weight must shrink, got none \\(w1 would take"):
        convert(operators)


def test_a_function_of_an_old_opset_is_refused() -> None:
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.normal(size=(96, 96)).astype(np.float32))
    function = helper.make_function(
        "local",
        "Layer",
        ["a"],
        ["b"],
        [
            helper.make_node("Constant", [], ["w"], value=weight),
            helper.make_node("MatMul", ["a", "w"], ["b"]),
        ],
        [helper.make_opsetid("", 17)],
    )
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Layer", ["x"], ["y"], domain="local")],
        "g",
        [info("x", 1, [1, 96])],
        [info("y", 1, [1, 96])],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    model = helper.make_model(graph, opset_imports=imports, functions=[function], ir_version=8)
    with pytest.raises(ModelError, match="its function must import opset 18 or later, got 17"):
        convert(compress(model, recipe=PALETTE).model)


def test_portable_files_are_not_compressed_again(small_mlp: onnx.ModelProto) -> None:
    portable = compress(small_mlp, recipe=PALETTE, portable=True).model
    with pytest.raises(ModelError, match="got a portable file; decompress it first"):
        compress(portable)
    with pytest.raises(ModelError, match="got a portable file; decompress it first"):
        wl_onnx.store(portable)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_element_types(make_mlp: Callable[..., onnx.ModelProto], dtype: str) -> None:
    import ml_dtypes

    kind = np.dtype(getattr(ml_dtypes, dtype, None) or dtype)
    weight = np.random.default_rng(2).laplace(size=(64, 96)).astype(kind)
    model = make_mlp(weight)
    for recipe in (FILTER, PALETTE):
        recipe = Recipe(**{**vars(recipe), "allow_growth": True})
        operators = compress(model, recipe=recipe).model
        portable = convert(operators)
        expected = arrays_of(decompress(operators))["w0"]
        assert same_bits(arrays_of(decompress(portable))["w0"], expected)
        if dtype == "float64":
            assert same_bits(fold(portable, ["w0"])["w0"], expected)
