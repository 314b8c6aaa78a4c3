"""Portable weights in every place where a weight can stand, and back."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.portable_files import (
    FUNCTIONS,
    OURS,
    all_arrays,
    all_nodes,
    blobs_by_weight,
    draw_feeds,
    fold,
    open_plain,
    optimize,
    same_bits,
)
from wl_onnx import Recipe, compress, decompress
from wl_onnx.graph import load_model, save_model, to_proto
from wl_onnx.portable import find_portable, make_portable, restore_dense, restore_operators

WIDTH = 16
CODECS = ("palette", "bloomier")


def weight(name: str, rows: int = WIDTH, columns: int = WIDTH) -> onnx.TensorProto:
    values = np.random.default_rng(sum(map(ord, name))).laplace(size=(rows, columns))
    return numpy_helper.from_array(values.astype(np.float32), name)


def value(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(shape))


def matmul(left: str, right: str, output: str) -> onnx.NodeProto:
    return helper.make_node("MatMul", [left, right], [output])


def constant(name: str) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], name=f"constant of {name}", value=weight(name))


def make_model(graph: onnx.GraphProto, opset: int, **kwargs: object) -> onnx.ModelProto:
    kwargs.setdefault("opset_imports", [helper.make_opsetid("", opset)])
    return helper.make_model(graph, ir_version=8, **kwargs)


def flat(opset: int) -> onnx.ModelProto:
    """An initializer and a Constant node."""
    graph = helper.make_graph(
        [constant("v"), matmul("x", "w", "h"), matmul("h", "v", "y")],
        "flat",
        [value("x", 2, WIDTH)],
        [value("y", 2, WIDTH)],
        [weight("w")],
    )
    return make_model(graph, opset)


def branches(opset: int) -> onnx.ModelProto:
    """An If: an initializer of a branch, a Constant of the same name, and one outside."""
    then = helper.make_graph(
        [matmul("x", "w", "t"), matmul("t", "outer", "then_out")],
        "then",
        [],
        [value("then_out", 2, WIDTH)],
        [weight("w")],
    )
    other = helper.make_graph(
        [constant("w"), matmul("x", "w", "else_out")], "else", [], [value("else_out", 2, WIDTH)]
    )
    choice = helper.make_node("If", ["c"], ["y"], "choice", then_branch=then, else_branch=other)
    condition = helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, [])
    graph = helper.make_graph(
        [choice],
        "branches",
        [value("x", 2, WIDTH), condition],
        [value("y", 2, WIDTH)],
        [weight("outer")],
    )
    return make_model(graph, opset)


def functions(opset: int) -> onnx.ModelProto:
    """A function with a weight of its own and one that is passed to it, called twice."""
    imports = [helper.make_opsetid("", opset)]
    layer = helper.make_function(
        "local",
        "Layer",
        ["a", "passed"],
        ["b"],
        [constant("own"), matmul("a", "own", "m"), matmul("m", "passed", "b")],
        imports,
    )
    call = {"domain": "local"}
    graph = helper.make_graph(
        [
            helper.make_node("Layer", ["x", "w"], ["h"], **call),
            helper.make_node("Layer", ["h", "w"], ["y"], **call),
        ],
        "functions",
        [value("x", 2, WIDTH)],
        [value("y", 2, WIDTH)],
        [weight("w")],
    )
    imports = [*imports, helper.make_opsetid("local", 1)]
    return make_model(graph, opset, opset_imports=imports, functions=[layer])


PLACES = {"flat": flat, "branches": branches, "functions": functions}


def to_operators(model: onnx.ModelProto, codec: str) -> onnx.ModelProto:
    recipe = Recipe(codec=codec, layout="xor", min_elements=1, allow_growth=True)
    return compress(model, recipe=recipe).model


def to_portable(model: onnx.ModelProto, *, inline: bool = False) -> onnx.ModelProto:
    loaded = load_model(model)
    make_portable(loaded, inline=inline, allow_growth=True)
    return to_proto(loaded)


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("place", PLACES)
def test_stock_sessions_fold_weights_wherever_they_stand(
    place: str, codec: str, inline: bool, tmp_path: Path
) -> None:
    operators = to_operators(PLACES[place](18), codec)
    portable = to_portable(operators, inline=inline)
    onnx.checker.check_model(portable)
    domains = {node.domain for node in all_nodes(portable)} - {"", "local"}
    assert domains == (set() if inline else {FUNCTIONS})
    left = {node.op_type for node in all_nodes(optimize(portable, tmp_path))}
    assert left <= {"If", "MatMul"}  # nothing is decoded when it runs
    dense = open_plain(decompress(operators))
    session = open_plain(portable)
    feeds = draw_feeds(dense)
    for condition in (True, False):
        if "c" in feeds:
            feeds["c"] = np.array(condition)
        for expected, got in zip(dense.run(None, feeds), session.run(None, feeds), strict=True):
            assert same_bits(got, expected)


@pytest.mark.parametrize("opset", [18, 21])
@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("place", PLACES)
def test_the_way_back_gives_the_same_weights_and_nothing_else(
    place: str, codec: str, inline: bool, opset: int
) -> None:
    original = PLACES[place](opset)
    operators = to_operators(original, codec)
    portable = to_portable(operators, inline=inline)
    loaded = load_model(portable)
    assert {one.key for one in find_portable(loaded)} == {
        tensor["name"] for tensor in compress_report(original, codec)
    }
    restore_operators(loaded)
    back = to_proto(loaded)
    onnx.checker.check_model(back)
    if codec == "bloomier":
        assert blobs_by_weight(back) == blobs_by_weight(operators)
    expected = all_arrays(decompress(operators))
    loaded = load_model(portable)
    restore_dense(loaded)
    for dense in (decompress(back), to_proto(loaded)):
        onnx.checker.check_model(dense)
        arrays = all_arrays(dense)
        assert arrays.keys() == expected.keys()
        assert all(same_bits(arrays[key], expected[key]) for key in expected)
        assert len(dense.functions) == len(original.functions)
        assert [one.domain for one in dense.opset_import] == [
            one.domain for one in original.opset_import
        ]
        assert not dense.metadata_props
        assert len(all_nodes(dense)) <= len(all_nodes(original))


def compress_report(model: onnx.ModelProto, codec: str) -> list[dict[str, object]]:
    recipe = Recipe(codec=codec, layout="xor", min_elements=1, allow_growth=True)
    return compress(model, recipe=recipe).report["tensors"]


def test_the_budget_counts_a_function_once_for_each_call() -> None:
    """Of two weights of one kind, one is in a function that is called twice."""
    loaded = load_model(to_operators(functions(18), "palette"))
    folding_bytes = make_portable(loaded, allow_growth=True).folding_bytes
    loaded = load_model(to_operators(flat(18), "palette"))
    once = make_portable(loaded, allow_growth=True).folding_bytes
    assert folding_bytes == pytest.approx(1.5 * once, rel=0.01)


def test_names_that_are_taken_are_not_taken_again() -> None:
    model = flat(18)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2), "w.codebook"))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2), "wl/0"))
    model.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, [2])
        for name in ("w.codebook", "wl/0")
    )
    operators = to_operators(model, "palette")
    dense = all_arrays(decompress(operators))
    for inline in (False, True):
        portable = to_portable(operators, inline=inline)
        onnx.checker.check_model(portable)
        folded = fold(portable, ["w", "v"])
        assert all(same_bits(folded[name], dense[name,]) for name in folded)
        loaded = load_model(portable)
        restore_dense(loaded)
        assert all_arrays(to_proto(loaded)).keys() == dense.keys()


def test_texts_of_a_weight_come_back() -> None:
    model = flat(18)
    model.graph.initializer[0].doc_string = "the first layer"
    operators = to_operators(model, "palette")
    for inline in (False, True):
        portable = to_portable(operators, inline=inline)
        assert [n.doc_string for n in portable.graph.node if n.doc_string] == ["the first layer"]
        loaded = load_model(portable)
        restore_dense(loaded)
        restored = {tensor.name: tensor for tensor in to_proto(loaded).graph.initializer}
        assert restored["w"].doc_string == "the first layer"


def test_a_tensor_that_something_else_uses_stays() -> None:
    portable = to_portable(to_operators(flat(18), "palette"))
    info = next(t for t in portable.graph.initializer if t.name == "w.codebook")
    portable.graph.output.append(
        helper.make_tensor_value_info("w.codebook", info.data_type, list(info.dims))
    )
    loaded = load_model(portable)
    restore_dense(loaded)
    names = {tensor.name for tensor in to_proto(loaded).graph.initializer}
    assert "w.codebook" in names
    assert not any("cells" in name for name in names)


def test_external_data_stays_external(tmp_path: Path) -> None:
    model = flat(18)
    large = np.random.default_rng(0).normal(size=(WIDTH, 2048)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(large, "large"))
    model.graph.node.append(matmul("y", "large", "z"))
    model.graph.output.append(value("z", 2, 2048))
    path = tmp_path / "model.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="model.bin", size_threshold=0)
    compress(path, tmp_path / "small.onnx", recipe=Recipe(codec="palette", blobs="initializer"))
    loaded = load_model(tmp_path / "small.onnx")
    make_portable(loaded)
    target = tmp_path / "portable.onnx"
    save_model(loaded, target)
    assert (tmp_path / "portable.onnx.data").stat().st_size > 10_000
    assert target.stat().st_size < 12_000
    decompress(tmp_path / "small.onnx", tmp_path / "dense.onnx")
    decompress(target, tmp_path / "again.onnx")
    feeds = draw_feeds(open_plain(target))
    expected = open_plain(tmp_path / "dense.onnx").run(None, feeds)
    for file in ("portable.onnx", "again.onnx"):
        got = open_plain(tmp_path / file).run(None, feeds)
        assert all(same_bits(a, b) for a, b in zip(got, expected, strict=True))


def test_operators_of_ours_are_gone() -> None:
    for place, codec in itertools.product(PLACES.values(), CODECS):
        portable = to_portable(to_operators(place(18), codec))
        assert OURS not in {node.domain for node in all_nodes(portable)}
        imports = [portable, *portable.functions]
        assert OURS not in {one.domain for holder in imports for one in holder.opset_import}
