from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.unit.graph.builders import (
    branches,
    everything_rare,
    functions,
    mlp,
    model,
    nested,
    value,
    weight,
)
from wl_onnx.graph import load_model, save_model, strip_model, to_proto


def strip(proto: onnx.ModelProto) -> onnx.ModelProto:
    loaded = load_model(proto)
    strip_model(loaded)
    return to_proto(loaded)


def run(proto: onnx.ModelProto) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, ["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(1)
    feed = {}
    for one in session.get_inputs():
        shape = [size if isinstance(size, int) else 3 for size in one.shape]
        drawn = rng.standard_normal(shape)
        feed[one.name] = drawn.astype(np.float32) if "float" in one.type else np.asarray(drawn > 0)
    outputs: list[np.ndarray] = session.run(None, feed)
    return outputs


def document(proto: onnx.ModelProto, text: str) -> onnx.ModelProto:
    """A copy with a text in every place that there is one for, whatever holds it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)

    def visit(message: object) -> None:
        for field in message.DESCRIPTOR.fields:  # type: ignore[attr-defined]
            if field.name == "doc_string":
                message.doc_string = text  # type: ignore[attr-defined]
            elif field.name == "metadata_props":
                message.metadata_props.add(key="exporter", value=text)  # type: ignore[attr-defined]
        for field, found in list(message.ListFields()):  # type: ignore[attr-defined]
            if field.message_type is not None and field.name != "metadata_props":
                for one in [found] if hasattr(found, "DESCRIPTOR") else found:
                    visit(one)

    visit(copy)
    return copy


ALL = [mlp, branches, nested, functions]


@pytest.mark.parametrize("build", [*ALL, everything_rare])
def test_texts_go_everywhere_and_nothing_else(build: Callable[[], onnx.ModelProto]) -> None:
    plain = build()
    bare = strip(plain)
    documented = document(plain, "a text found nowhere else")
    assert documented.SerializeToString().count(b"nowhere else") >= 10
    stripped = strip(documented)
    assert b"nowhere else" not in stripped.SerializeToString()
    assert stripped == bare


@pytest.mark.parametrize("build", ALL)
def test_a_model_without_texts_stays_as_it_is(build: Callable[[], onnx.ModelProto]) -> None:
    once = strip(build())
    assert strip(once) == once
    if build is not mlp:  # the one that has texts
        assert once == build()


@pytest.mark.parametrize("build", ALL)
def test_the_outputs_are_the_same(build: Callable[[], onnx.ModelProto]) -> None:
    proto = build()
    for before, after in zip(run(proto), run(strip(proto)), strict=True):
        np.testing.assert_array_equal(before, after)


def test_our_own_metadata_stays() -> None:
    proto = mlp()
    helper.set_model_props(
        proto, {"author": "a", "com.wl_onnx.version": "1", "com.wl_onnx2.x": "2", "z": "3"}
    )
    stripped = strip(proto)
    assert [(e.key, e.value) for e in stripped.metadata_props] == [("com.wl_onnx.version", "1")]
    assert stripped.producer_name == "test"
    assert [node.name for node in stripped.graph.node] == [node.name for node in mlp().graph.node]


def shadowing() -> onnx.ModelProto:
    """An If where some initializers are used inside alone, some by name alone, some not at all."""
    then = helper.make_graph(
        [
            helper.make_node("Add", ["x", "inner"], ["s"]),
            helper.make_node("Add", ["s", "outer"], ["then_out"]),
        ],
        "then",
        [],
        [value("then_out", 2, 8)],
        [weight("inner", 2, 8), weight("shadowed", 2, 8), weight("idle_inside", 2, 8)],
    )
    other = helper.make_graph(
        [helper.make_node("Add", ["x", "shadowed"], ["else_out"])],
        "else",
        [],
        [value("else_out", 2, 8)],
    )
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.ones(2, np.float32), "idle_sparse"),
        numpy_helper.from_array(np.array([1, 3])),
        [5],
    )
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)],
        "shadowing",
        [
            value("x", 2, 8),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            value("default", 2, 8),
        ],
        [value("y", 2, 8), value("given", 2, 8)],
        [
            weight("idle", 2, 8),
            weight("outer", 2, 8),
            weight("shadowed", 2, 8),
            weight("default", 2, 8),
            weight("given", 2, 8),
            weight("inner", 2, 8),
        ],
        sparse_initializer=[sparse],
        value_info=[value("idle", 2, 8), value("outer", 2, 8)],
    )
    return model(graph)


def test_unused_initializers_go() -> None:
    proto = shadowing()
    stripped = strip(proto)
    graph = stripped.graph
    # "inner" of the main graph is hidden by the branch's own, "shadowed" of the branch by nothing.
    assert [t.name for t in graph.initializer] == ["outer", "shadowed", "default", "given"]
    assert not graph.sparse_initializer
    assert [info.name for info in graph.value_info] == ["outer"]
    then = next(a.g for a in graph.node[0].attribute if a.name == "then_branch")
    assert [t.name for t in then.initializer] == ["inner"]
    for before, after in zip(run(proto), run(stripped), strict=True):
        np.testing.assert_array_equal(before, after)


def test_what_other_parts_of_the_file_refer_to_stays() -> None:
    proto = mlp()
    proto.graph.initializer.append(weight("scale", 1))
    proto.graph.quantization_annotation[0].quant_parameter_tensor_names[0].value = "scale"
    assert "scale" in {t.name for t in strip(proto).graph.initializer}
    rare = everything_rare()
    rare.graph.initializer.append(weight("b1_new", 16))
    assert "b1_new" in {t.name for t in strip(rare).graph.initializer}


def test_external_data_of_what_goes_is_not_written(tmp_path: Path) -> None:
    proto = mlp()
    proto.graph.initializer.append(weight("idle", 100, 100))
    onnx.save_model(
        proto, tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0
    )
    loaded = load_model(tmp_path / "m.onnx")
    strip_model(loaded)
    save_model(loaded, tmp_path / "s.onnx")
    assert (tmp_path / "s.onnx.data").stat().st_size < 4000
    np.testing.assert_array_equal(run(onnx.load(tmp_path / "s.onnx"))[0], run(mlp())[0])
