"""Weights that are read from analog cells, and the inputs that come with them."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import onnx.checker
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.unit.graph import builders
from wl_onnx import graph
from wl_onnx.errors import InputError, ModelError

NAMES = ["wl_write_seed", "wl_read_seed", "wl_time_s"]


def store(
    proto: onnx.ModelProto, keys: list[str] | None = None, **options: object
) -> graph.CompressibleModel:
    """The model with weights, all unless told, in dummy blobs of analog reads."""
    model = graph.load_model(proto)
    sites = [one for one in graph.find_weights(model) if graph.why_not_analog(one) is None]
    chosen = [one.key for one in sites if keys is None or one.key in keys]
    replacements = {
        key: graph.Replacement(key.encode() * 5, f"cells of {key}", codec="analog")
        for key in chosen
    }
    graph.replace_weights(model, replacements, **options)  # type: ignore[arg-type]
    return model


def input_names(model: graph.CompressibleModel) -> list[str]:
    return [info.name for info in model.proto.graph.input]


def defaults(model: graph.CompressibleModel) -> dict[str, np.ndarray]:
    tensors = {tensor.name: tensor for tensor in model.proto.graph.initializer}
    return {name: numpy_helper.to_array(tensors[name]) for name in NAMES}


def test_a_weight_becomes_a_read_with_inputs() -> None:
    model = store(builders.mlp())
    onnx.checker.check_model(model.proto.SerializeToString())
    assert input_names(model) == ["x", *NAMES]
    nodes = [node for node in model.proto.graph.node if node.domain == graph.DOMAIN]
    assert [node.op_type for node in nodes] == ["AnalogRead", "AnalogRead"]
    for node in nodes:
        assert list(node.input) == NAMES
        assert {one.name for one in node.attribute} == {"shape", "data_type", "blob", "summary"}
    types = {info.name: info.type.tensor_type for info in model.proto.graph.input}
    assert [types[name].elem_type for name in NAMES] == [7, 7, 1]
    assert all(types[name].HasField("shape") and not types[name].shape.dim for name in NAMES)
    infos = {info.name: info.type.tensor_type for info in model.proto.graph.value_info}
    assert [dim.dim_value for dim in infos["w1"].shape.dim] == [8, 16]
    assert graph.is_compressed(model)


def test_the_defaults_are_those_that_are_given() -> None:
    assert {name: array.item() for name, array in defaults(store(builders.mlp())).items()} == {
        "wl_write_seed": 0, "wl_read_seed": -1, "wl_time_s": 0.0
    }  # fmt: skip
    given = graph.AnalogDefaults(write_seed=2**64 - 3, read_seed=8, time_s=86400.0)
    found = defaults(store(builders.mlp(), analog=given))
    assert {name: (array.item(), array.dtype, array.shape) for name, array in found.items()} == {
        "wl_write_seed": (-3, np.int64, ()),
        "wl_read_seed": (8, np.int64, ()),
        "wl_time_s": (86400.0, np.float32, ()),
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [("write_seed", -1), ("write_seed", 2**64), ("read_seed", -2), ("read_seed", 2**63),
     ("time_s", -1.0), ("time_s", float("nan")), ("time_s", 1e13)],
)  # fmt: skip
def test_defaults_out_of_range(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"cannot read analog weights: {name} must be from"):
        graph.AnalogDefaults(**{name: value})  # type: ignore[arg-type]


def test_the_inputs_are_there_once_for_all() -> None:
    model = store(builders.mlp(), ["w1"])
    replacement = graph.Replacement(b"more", "", codec="analog")
    later = graph.AnalogDefaults(time_s=5.0)
    graph.replace_weights(model, {"w2": replacement}, analog=later)
    assert input_names(model) == ["x", *NAMES]
    assert sum(t.name in NAMES for t in model.proto.graph.initializer) == 3
    assert defaults(model)["wl_time_s"] == 5.0


def test_an_old_model_is_raised_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        model = store(builders.mlp(ir_version=3, opset=8), ["w1"])
    assert "its IR version is raised from 3 to 4" in caplog.text
    assert model.proto.ir_version == 4
    # Initializers that stay inputs could be given other values, and would not be constant.
    assert input_names(model) == ["x", *NAMES]
    assert {t.name for t in model.proto.graph.initializer} == {"b1", "w2", *NAMES}
    caplog.clear()
    store(builders.mlp(ir_version=4, opset=9))
    assert not caplog.records


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_use_is_refused(name: str) -> None:
    def as_initializer(proto: onnx.ModelProto) -> None:
        proto.graph.initializer.append(numpy_helper.from_array(np.array(1), name))

    def as_input(proto: onnx.ModelProto) -> None:
        proto.graph.input.append(builders.value(name, 1))

    def as_output(proto: onnx.ModelProto) -> None:
        proto.graph.node.append(helper.make_node("Identity", ["x"], [name]))

    for change in (as_initializer, as_input, as_output):
        proto = builders.mlp()
        change(proto)
        before = proto.SerializeToString()
        with pytest.raises(InputError, match=f"the name {name} must be free"):
            store(proto)
        assert proto.SerializeToString() == before


def test_a_name_in_use_in_a_subgraph_is_refused() -> None:
    proto = builders.branches()
    branch = proto.graph.node[0].attribute[0].g
    branch.node.insert(0, helper.make_node("Identity", ["x"], ["wl_time_s"]))
    with pytest.raises(InputError, match="got a value of that name in choice/else_branch; rename"):
        store(proto)


def test_weights_of_functions_are_refused_with_the_reason() -> None:
    model = graph.load_model(builders.functions())
    reasons = {one.key: graph.why_not_analog(one) for one in graph.find_weights(model)}
    assert reasons == {
        "w": None,
        "local::Layer/own": "lies in a function, where the seeds of a read cannot reach it",
    }
    replacement = graph.Replacement(b"blob", "", codec="analog")
    with pytest.raises(InputError, match="got one that lies in a function, where the seeds"):
        graph.replace_weights(model, {"local::Layer/own": replacement})
    graph.replace_weights(model, {"w": replacement})
    assert [one.codec for one in graph.find_stored(model)] == ["analog"]


def test_a_function_may_use_the_names() -> None:
    proto = builders.functions()
    proto.functions[0].node[0].output[0] = "wl_time_s"
    proto.functions[0].node[2].input[0] = "wl_time_s"
    assert input_names(store(proto)) == ["x", *NAMES]


@pytest.mark.parametrize("blobs", ["attribute", "initializer"])
def test_reads_are_found_beside_decodes(blobs: str) -> None:
    model = graph.load_model(builders.mlp())
    graph.replace_weights(
        model,
        {
            "w1": graph.Replacement(b"cells" * 300, "analog one", codec="analog"),
            "w2": graph.Replacement(b"codes", "palette", codec="palette"),
        },
        blobs=blobs,  # type: ignore[arg-type]
    )
    stored = {one.name: one for one in graph.find_stored(model)}
    assert {name: one.codec for name, one in stored.items()} == {"w1": "analog", "w2": "palette"}
    assert bytes(stored["w1"].blob) == b"cells" * 300
    assert [one.name for one in graph.find_decoders(model)] == ["w2"]
    assert graph.measure_parts(model).blob_bytes == 1505
    graph.set_cache(model, False)
    reads = [node for node in model.proto.graph.node if node.op_type == "AnalogRead"]
    assert "cache" not in {one.name for one in reads[0].attribute}
    with pytest.raises(ModelError, match="must not be compressed yet"):
        graph.require_uncompressed(model)


@pytest.mark.parametrize("blobs", ["attribute", "initializer"])
@pytest.mark.parametrize("make", [builders.mlp, builders.branches, builders.nested])
def test_restoring_takes_away_all_that_came(make, blobs) -> None:
    proto = make()
    arrays = {one.key: np.array(one.numpy()) for one in graph.find_weights(graph.load_model(proto))}
    model = store(proto, blobs=blobs, metadata={"version": "1"})
    graph.restore_weights(model, lambda one: arrays[one.key])
    restored = graph.to_proto(model)
    onnx.checker.check_model(restored)
    assert input_names(model) == [info.name for info in make().graph.input]
    assert "wl_" not in str(restored.graph)
    assert not graph.is_compressed(model)
    assert not any(one.domain == graph.DOMAIN for one in restored.opset_import)
    assert not graph.read_metadata(model)
    found = {one.key: one.numpy() for one in graph.find_weights(graph.load_model(restored))}
    assert {key: array.tobytes() for key, array in found.items()} == {
        key: array.tobytes() for key, array in arrays.items()
    }


def test_reads_may_stay_when_decodes_are_restored() -> None:
    proto = builders.mlp()
    proto.functions.extend(builders.functions().functions)
    model = store(proto, ["w1"], metadata={"version": "1"})
    graph.replace_weights(model, {"w2": graph.Replacement(b"codes", "", codec="palette")},
                          metadata={"version": "1"})  # fmt: skip
    graph.restore_weights(model, lambda _: np.zeros((4, 16), np.float32), keeps_analog=True)
    assert [one.codec for one in graph.find_stored(model)] == ["analog"]
    assert input_names(model) == ["x", *NAMES]
    assert any(one.domain == graph.DOMAIN for one in model.proto.opset_import)
    assert graph.read_metadata(model) == {"version": "1"}


def test_stripping_keeps_the_inputs() -> None:
    model = store(builders.mlp())
    graph.strip_model(model)
    assert input_names(model) == ["x", *NAMES]
    assert {t.name for t in model.proto.graph.initializer} >= set(NAMES)


def test_an_input_of_another_type_is_not_ours() -> None:
    model = store(builders.mlp(), ["w1"])
    info = next(one for one in model.proto.graph.input if one.name == "wl_time_s")
    info.type.tensor_type.elem_type = TensorProto.DOUBLE
    with pytest.raises(InputError, match="the name wl_time_s must be free"):
        graph.replace_weights(model, {"w2": graph.Replacement(b"x", "", codec="analog")})
