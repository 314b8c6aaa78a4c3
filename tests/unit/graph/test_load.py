from __future__ import annotations

import random

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.unit.graph import builders
from wl_onnx.errors import InputError, ModelError
from wl_onnx.graph import find_weights, load_model, require_uncompressed


def error_of(model, kind=ModelError, **kwargs) -> str:
    with pytest.raises(kind) as caught:
        load_model(model, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("cannot ")
    return text


def test_a_path_and_a_proto_give_the_same_model(tmp_path):
    proto = builders.mlp()
    onnx.save(proto, tmp_path / "m.onnx")
    assert load_model(tmp_path / "m.onnx").proto == load_model(proto).proto == proto
    assert load_model(str(tmp_path / "m.onnx")).path == tmp_path / "m.onnx"


def test_a_proto_is_copied():
    proto = builders.mlp()
    load_model(proto).proto.graph.Clear()
    assert proto == builders.mlp()


def test_a_model_with_map_outputs_is_loaded():
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(7, helper.make_tensor_type_proto(1, None))
    )
    zip_map = helper.make_node(
        "ZipMap", ["p"], ["z"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]
    )
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["p"]), zip_map],
        "g",
        [builders.value("x", 1, 2)],
        [helper.make_value_info("z", kind)],
        [builders.weight("w", 2, 2)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    proto = builders.model(graph, opset_imports=opsets)
    assert [site.key for site in find_weights(load_model(proto))] == ["w"]


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b"", "got an empty file"),
        (b"this is a text, not a model\n" * 9, "of another format"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "got a Git LFS pointer"),
        (random.Random(1).randbytes(4096), "of another format"),
        (b"\x08\x07", "must have a graph, got none"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, data, got):
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    assert got in error_of(path)


def test_a_directory_and_a_missing_file_are_refused(tmp_path):
    assert "got a directory" in error_of(tmp_path)
    assert "got no such file" in error_of(tmp_path / "none.onnx", InputError)


@pytest.mark.parametrize("build", [builders.mlp, builders.branches, builders.functions])
def test_every_prefix_is_refused_or_lacks_nothing_that_is_used(tmp_path, build):
    proto = build()
    data = proto.SerializeToString()
    path = tmp_path / "m.onnx"
    accepted = []
    for length in range(len(data)):
        path.write_bytes(data[:length])
        try:
            accepted.append(load_model(path).proto)
        except ModelError as error:
            assert "\n" not in str(error)  # noqa: PT017 - most prefixes raise, not all
    # What follows the graph in the file cannot be missed: operator sets, metadata, functions.
    assert len(accepted) <= 4
    assert all(prefix.graph == proto.graph for prefix in accepted)


def without_nodes(proto):
    del proto.graph.node[:]
    del proto.graph.initializer[:]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda p: p.graph.initializer[0].dims.append(2), "must match its data (1024 bytes"),
        (lambda p: p.graph.initializer[0].dims.__setitem__(0, -8), "must match its data"),
        (lambda p: p.graph.initializer[0].ClearField("raw_data"), "(128 values), got 0"),
        (lambda p: p.graph.ClearField("output"), "must have an output"),
        (lambda p: p.ClearField("opset_import"), "must have an operator set"),
        (lambda p: p.ClearField("ir_version"), "must have an IR version"),
        (without_nodes, "must have nodes or initializers"),
        (lambda p: p.graph.node[0].input.__setitem__(1, "lost"), "of node first must be given"),
        (lambda p: p.graph.node[3].output.__setitem__(0, "lost"), "outputs must be given"),
        (lambda p: p.graph.node[1].output.__setitem__(0, "h"), "given once, got h"),
        (lambda p: p.graph.initializer[0].ClearField("name"), "without a name"),
    ],
)
def test_structural_damage_is_named(change, part):
    proto = builders.mlp()
    change(proto)
    assert part in error_of(proto)


def test_external_data_is_mapped_not_read(external_model):
    sites = {site.key: site for site in find_weights(load_model(external_model))}
    expected = builders.arrays_of(builders.mlp())
    assert isinstance(sites["w1"].numpy().base, np.memmap)
    for key, site in sites.items():
        np.testing.assert_array_equal(site.numpy(), expected[key])


def test_external_data_is_checked_when_the_model_is_loaded(external_model):
    data = external_model.parent / "weights.bin"
    data.write_bytes(data.read_bytes()[:-1])
    assert "the file is cut short" in error_of(external_model)
    data.unlink()
    assert "got no such file" in error_of(external_model)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "a/../../secret.bin", ""])
def test_external_data_outside_the_folder_is_refused(external_model, location):
    (external_model.parent.parent / "secret.bin").write_bytes(bytes(4096))
    proto = onnx.load(external_model, load_external_data=False)
    proto.graph.initializer[0].external_data[0].value = location
    onnx.save(proto, external_model)
    assert "must lie in the model's folder" in error_of(external_model)


def test_links_may_lead_to_where_the_model_itself_lies_and_no_further(external_model, tmp_path):
    links = tmp_path / "links"
    links.mkdir()
    (links / "model.onnx").symlink_to(external_model)
    (links / "weights.bin").symlink_to(external_model.parent / "weights.bin")
    assert len(find_weights(load_model(links / "model.onnx"))) == 2
    (tmp_path / "elsewhere").write_bytes(bytes(1 << 16))
    (links / "weights.bin").unlink()
    (links / "weights.bin").symlink_to(tmp_path / "elsewhere")
    assert "must lie in the model's folder" in error_of(links / "model.onnx")


@pytest.mark.parametrize(
    ("key", "text"), [("offset", "-4"), ("length", "8"), ("offset", "x"), ("length", "1e3")]
)
def test_external_entries_that_lie_are_refused(external_model, key, text):
    proto = onnx.load(external_model, load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        if entry.key == key:
            entry.value = text
    onnx.save(proto, external_model)
    assert "cannot read tensor w1" in error_of(external_model)


def test_a_compressed_model_is_recognised_wherever_its_nodes_lie(compress):
    for build in (builders.mlp, builders.nested, builders.functions):
        model = load_model(build())
        require_uncompressed(model)
        compress(model)
        with pytest.raises(ModelError, match="must not be compressed yet"):
            require_uncompressed(model)
