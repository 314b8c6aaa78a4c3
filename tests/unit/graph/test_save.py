from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.unit.graph import builders
from wl_onnx.errors import InputError, ModelError
from wl_onnx.graph import check_output, find_decoders, load_model, save_model, to_proto
from wl_onnx.graph import save as save_module


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_inline_model_is_one_file_and_unchanged(tmp_path):
    save_model(load_model(builders.mlp()), tmp_path / "m.onnx")
    assert files_in(tmp_path) == ["m.onnx"]
    assert onnx.load(tmp_path / "m.onnx") == builders.mlp()


def test_external_data_is_copied_beside_the_output(external_model, tmp_path):
    model = load_model(external_model)
    before = model.proto.SerializeToString()
    (tmp_path / "out").mkdir()
    save_model(model, tmp_path / "out" / "m.onnx")
    assert files_in(tmp_path / "out") == ["m.onnx", "m.onnx.data"]
    expected = builders.arrays_of(builders.mlp())
    loaded = builders.arrays_of(onnx.load(tmp_path / "out" / "m.onnx"))
    assert loaded.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(loaded[name], array)
    assert load_model(external_model).proto.SerializeToString() == before
    assert to_proto(model).graph.initializer[0].raw_data == expected["w1"].tobytes()


def test_what_was_inline_stays_inline_beside_external_data(external_model, tmp_path):
    proto = onnx.load(external_model, load_external_data=False)
    proto.graph.initializer[1].CopyFrom(builders.weight("b1", 16))
    onnx.save(proto, external_model)
    save_model(load_model(external_model), tmp_path / "m.onnx")
    saved = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    assert [bool(t.external_data) for t in saved.graph.initializer] == [True, False, True]


def test_tensors_that_share_bytes_still_share_them(external_model, tmp_path):
    proto = onnx.load(external_model, load_external_data=False)
    twin = proto.graph.initializer.add()
    twin.CopyFrom(proto.graph.initializer[0])
    twin.name = "twin"
    onnx.save(proto, external_model)
    save_model(load_model(external_model), tmp_path / "m.onnx")
    size = (tmp_path / "m.onnx.data").stat().st_size
    assert size < (external_model.parent / "weights.bin").stat().st_size + 128


@pytest.mark.parametrize("blobs", ["attribute", "initializer"])
def test_blob_initializers_above_a_kilobyte_are_external(blobs, tmp_path, compress):
    model = load_model(builders.mlp())
    compress(model, blobs, 513)
    save_model(model, tmp_path / "m.onnx")
    data = tmp_path / "m.onnx.data"
    assert data.exists() == (blobs == "initializer")
    loaded = load_model(tmp_path / "m.onnx")
    assert [bytes(d.blob) for d in find_decoders(loaded)] == [b"w1" * 513, b"w2" * 513]
    if blobs == "initializer":
        assert isinstance(find_decoders(loaded)[0].blob, memoryview)
    other = tmp_path / "small.onnx"
    model = load_model(builders.mlp())
    compress(model, blobs, 512)
    save_model(model, other)
    assert not (tmp_path / "small.onnx.data").exists()


def test_the_same_model_gives_the_same_bytes(tmp_path, compress):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        model = load_model(builders.mlp())
        compress(model, "initializer", 600)
        save_model(model, tmp_path / name / "m.onnx")
    for file in ("m.onnx", "m.onnx.data"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_inline_tensors_beyond_the_limit_become_external(tmp_path, monkeypatch):
    proto = builders.mlp()
    proto.graph.initializer[0].CopyFrom(builders.weight("w1", 8, 1600))
    monkeypatch.setattr(save_module, "INLINE_LIMIT_BYTES", 4000)
    model = load_model(proto)
    save_model(model, tmp_path / "m.onnx")
    saved = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    assert [bool(t.external_data) for t in saved.graph.initializer] == [True, False, False]
    loaded = onnx.load(tmp_path / "m.onnx")
    np.testing.assert_array_equal(builders.arrays_of(loaded)["w1"], builders.arrays_of(proto)["w1"])
    with pytest.raises(ModelError, match="must take at most 4000 bytes"):
        to_proto(model)


@pytest.mark.parametrize("existing", ["m.onnx", "m.onnx.data"])
def test_existing_files_are_replaced_only_by_force(external_model, tmp_path, existing):
    (tmp_path / existing).write_bytes(b"mine")
    model = load_model(external_model)
    with pytest.raises(InputError, match=f"cannot write .*{existing}: the output must not exist"):
        save_model(model, tmp_path / "m.onnx")
    assert (tmp_path / existing).read_bytes() == b"mine"
    save_model(model, tmp_path / "m.onnx", force=True)
    onnx.load(tmp_path / "m.onnx")


def test_the_input_is_never_overwritten(external_model):
    model = load_model(external_model)
    folder = external_model.parent
    (folder / "link.onnx").symlink_to(external_model)
    (folder / "weights.bin").rename(folder / "other.onnx.data")
    proto = onnx.load(external_model, load_external_data=False)
    for tensor in proto.graph.initializer:
        tensor.external_data[0].value = "other.onnx.data"
    onnx.save(proto, external_model)
    model = load_model(external_model)
    for output in ("model.onnx", "./model.onnx", "link.onnx", "other.onnx", "other.onnx.data"):
        with pytest.raises(InputError, match="must not overwrite the input"):
            save_model(model, folder / output, force=True)
    os.link(external_model, folder / "hard.onnx")
    with pytest.raises(InputError, match="must not overwrite the input"):
        check_output(folder / "hard.onnx", source=model, force=True)


def test_outputs_that_cannot_be_are_refused(tmp_path):
    model = load_model(builders.mlp())
    (tmp_path / "file").write_bytes(b"")
    for output, part in (
        (tmp_path, "must be a file, got a directory"),
        (tmp_path / "none" / "m.onnx", "its folder must exist"),
        (tmp_path / "file" / "m.onnx", "its folder must exist"),
    ):
        with pytest.raises(InputError, match=part):
            save_model(model, output)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("method", ["replace", "write_bytes", "open"])
def test_a_failure_leaves_nothing_behind(external_model, tmp_path, monkeypatch, error, method):
    out = tmp_path / "out"
    out.mkdir()
    model = load_model(external_model)
    real = getattr(Path, method)

    def fail(self: Path, *args, **kwargs):
        if ".m.onnx" in self.name:
            if method == "open":
                real(self, *args, **kwargs).close()
            elif method == "write_bytes":
                real(self, args[0][:10])
            if method != "replace" or "data" not in self.name:
                raise error
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, method, fail)
    expected = InputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match="No space left" if expected is InputError else None):
        save_model(model, out / "m.onnx")
    monkeypatch.undo()
    assert files_in(out) == []
    save_model(model, out / "m.onnx")
    onnx.load(out / "m.onnx")
