"""The main job against NumPy and onnx: what a report says, and what stays as it was."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import wl_onnx
from tests.compressions import GIVEN, arrays_of, blobs_of, tensors_of
from wl_onnx import Recipe, compress, decompress
from wl_onnx.errors import EncodeError, InputError, ModelError
from wl_onnx.evaluation import inspect

DESIGNED_KEYS = {
    "name": str,
    "op_types": (list, tuple),
    "codec": str,
    "shape": (list, tuple),
    "num_weights": int,
    "num_nonzero": int,
    "size_bits": int,
    "information_bound_bits": int,
    "lossless_bound_bits": float,
    "false_positive_rate": float,
    "epsilon": float,
}


def smallest(weights: np.ndarray, share: float) -> np.ndarray:
    """Where magnitude pruning puts a zero, by sorting."""
    order = np.argsort(np.abs(weights), axis=None, kind="stable")
    mask = np.zeros(weights.size, bool)
    mask[order[: round(share * weights.size)]] = True
    return mask


@pytest.mark.parametrize("layout", ["ribbon", "xor"])
@pytest.mark.parametrize("codebook", ["float16", "float32"])
def test_the_report_agrees_with_numpy(
    model: onnx.ModelProto, weights: list[np.ndarray], layout: str, codebook: str
) -> None:
    recipe = dataclasses.replace(GIVEN, layout=layout, codebook=codebook)
    result = compress(model, recipe=recipe)
    decoded = arrays_of(decompress(result.model))
    blobs = blobs_of(result.model)
    for name, before in zip(("w0", "w1"), weights, strict=True):
        report = tensors_of(result)[name]
        before, after = before.reshape(-1).astype(np.float64), decoded[name].reshape(-1)
        pruned = smallest(before, 0.9)
        stored, wrong = ~pruned, pruned & (after != 0)
        num_stored = int(stored.sum())
        energy = (before**2).sum()

        assert (after[stored] != 0).all()
        assert report["num_nonzero"] == num_stored
        assert report["sparsity"] == pytest.approx(0.9)
        assert report["size_bits"] == 8 * len(blobs[name])
        assert report["original_bits"] == 32 * before.size
        assert report["information_bound_bits"] == num_stored * 8
        assert report["false_positive_rate"] == 16 / 2**8
        error_share = ((before - after) ** 2).sum() / energy
        assert report["error_share"] == pytest.approx(error_share, rel=1e-9)
        epsilon = (after[wrong].astype(np.float64) ** 2).sum() / energy
        assert report["epsilon"] == pytest.approx(epsilon, rel=1e-9)

        centroids, usage = np.unique(after[stored], return_counts=True)
        assert len(centroids) == report["clusters"] == 16
        shares = usage / num_stored
        places = math.log2(math.comb(before.size, num_stored))
        values = -num_stored * (shares * np.log2(shares)).sum()
        assert report["lossless_bound_bits"] == pytest.approx(places + values, rel=1e-9)
        assert report["information_bound_bits"] <= report["size_bits"]
        assert (report["layout"], report["bits"]) == (layout, 8)
        assert report["meets_share"] is None
        assert report["reason"] is None

        # Each centroid is the mean of all weights that decode to it, so no other fits better.
        for centroid in centroids:
            mean = before[after == centroid].mean()
            assert centroid == pytest.approx(mean, rel=1e-3 if codebook == "float16" else 1e-6)


def test_sizes_are_those_of_the_files(model: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(model, tmp_path / "m.onnx")
    result = compress(tmp_path / "m.onnx", tmp_path / "small.onnx", recipe=GIVEN)
    stored = onnx.load(tmp_path / "small.onnx")
    assert stored == result.model
    file_bytes = (tmp_path / "small.onnx").stat().st_size
    original = sum(array.nbytes for array in arrays_of(model).values())
    left = sum(array.nbytes for array in arrays_of(stored).values())
    blob_bytes = sum(map(len, blobs_of(stored).values()))
    compressed = left + blob_bytes
    assert result.report["file"] == {
        "original_bytes": (tmp_path / "m.onnx").stat().st_size,
        "compressed_bytes": file_bytes,
        "blob_bytes": blob_bytes,
        "initializer_bytes": left,
        "graph_bytes": file_bytes - compressed,
    }
    assert result.report["weights"] == {
        "original_bytes": original,
        "compressed_bytes": compressed,
        "ratio": pytest.approx(original / compressed),
    }


def test_sizes_with_external_data(model: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(model, tmp_path / "m.onnx")
    recipe = dataclasses.replace(GIVEN, blobs="initializer")
    result = compress(tmp_path / "m.onnx", tmp_path / "small.onnx", recipe=recipe)
    stored = onnx.load(tmp_path / "small.onnx", load_external_data=False)
    external = [t for t in stored.graph.initializer if t.external_data]
    assert [t.name for t in external] == ["w0.blob"]  # the other takes less than 1 KiB
    data_bytes = (tmp_path / "small.onnx.data").stat().st_size
    assert data_bytes == tensors_of(result)["w0"]["size_bits"] / 8
    file_bytes = (tmp_path / "small.onnx").stat().st_size + data_bytes
    # Where the data lies is written with other digits before the file has a name.
    assert result.report["file"]["compressed_bytes"] == pytest.approx(file_bytes, abs=100)
    assert compress(model, recipe=recipe).report["weights"] == result.report["weights"]


def test_strip_drops_what_does_not_compute(model: onnx.ModelProto, tmp_path: Path) -> None:
    idle = np.ones(3000, np.float32)
    documented = onnx.ModelProto()
    documented.CopyFrom(model)
    documented.graph.initializer.append(numpy_helper.from_array(idle, "idle"))
    documented.graph.node[0].doc_string = "a long text " * 100
    plain = compress(documented, recipe=GIVEN)
    result = compress(documented, tmp_path / "s.onnx", recipe=GIVEN, strip=True)
    assert blobs_of(result.model) == blobs_of(plain.model)
    assert "idle" not in arrays_of(result.model)
    assert b"a long text" not in result.model.SerializeToString()
    assert {entry.key.rsplit(".", 1)[0] for entry in result.model.metadata_props} == {"com.wl_onnx"}
    before, after = plain.report, result.report
    assert after["file"]["original_bytes"] == documented.ByteSize()
    assert after["file"]["compressed_bytes"] == (tmp_path / "s.onnx").stat().st_size
    assert after["weights"]["original_bytes"] == before["weights"]["original_bytes"]
    saved = before["weights"]["compressed_bytes"] - after["weights"]["compressed_bytes"]
    assert saved == idle.nbytes
    assert before["file"]["graph_bytes"] - after["file"]["graph_bytes"] > 1200


def test_strip_also_where_no_weight_shrinks(model: onnx.ModelProto) -> None:
    result = compress(model, recipe=Recipe(min_elements=1 << 30), strip=True)
    assert not result.model.doc_string
    assert not result.model.metadata_props
    assert arrays_of(result.model).keys() == arrays_of(model).keys()


def test_report_has_the_keys_that_programs_rely_on(model: onnx.ModelProto) -> None:
    result = compress(model, recipe=GIVEN)
    assert list(result.report) == ["file", "weights", "tensors"]
    assert list(result.report["file"]) == [
        "original_bytes",
        "compressed_bytes",
        "blob_bytes",
        "initializer_bytes",
        "graph_bytes",
    ]
    assert list(result.report["weights"]) == ["original_bytes", "compressed_bytes", "ratio"]
    for report in (result.report, inspect(result.model)):
        for tensor in report["tensors"]:
            for key, kind in DESIGNED_KEYS.items():
                assert isinstance(tensor[key], kind), key
        assert json.loads(json.dumps(report, allow_nan=False))["tensors"][0]["shape"] == [80, 120]


def test_what_is_no_weight_stays_as_it_is(model: onnx.ModelProto) -> None:
    small = compress(model, recipe=GIVEN).model
    assert small.ir_version == model.ir_version
    assert small.doc_string == model.doc_string
    assert small.producer_name == model.producer_name
    assert list(small.opset_import)[:-1] == list(model.opset_import)
    ours = small.opset_import[-1]
    assert (ours.domain, ours.version) == ("com.wl_onnx", 1)
    assert small.metadata_props[0] == model.metadata_props[0]
    pairs = {entry.key: entry.value for entry in small.metadata_props}
    assert pairs.keys() - {"author"} == {
        f"com.wl_onnx.{name}"
        for name in ("version", "recipe", "source_sha256", "source_bytes", "seed", "errors")
    }
    assert list(small.graph.input) == list(model.graph.input)
    assert list(small.graph.output) == list(model.graph.output)
    assert [n for n in small.graph.node if n.domain == ""] == list(model.graph.node)
    before, after = arrays_of(model), arrays_of(small)
    assert after.keys() == {"b0", "b1"}
    for name, array in after.items():
        np.testing.assert_array_equal(array, before[name])

    dense = decompress(small)
    for field in ("ir_version", "opset_import", "metadata_props", "doc_string", "functions"):
        assert getattr(dense, field) == getattr(model, field), field
    assert list(dense.graph.node) == list(model.graph.node)
    assert arrays_of(dense).keys() == before.keys()


def test_the_models_given_are_not_changed(model: onnx.ModelProto) -> None:
    before = model.SerializeToString(deterministic=True)
    small = compress(model, recipe=GIVEN).model
    assert model.SerializeToString(deterministic=True) == before
    between = small.SerializeToString(deterministic=True)
    decompress(small)
    assert small.SerializeToString(deterministic=True) == between


def test_the_same_bytes_every_time(model: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(model, tmp_path / "m.onnx")
    written = set()
    for index, threads in enumerate((1, 2, 1, 0, 5)):
        path = tmp_path / f"small{index}.onnx"
        compress(tmp_path / "m.onnx", path, recipe=Recipe(threads=threads, layout="xor"))
        written.add(path.read_bytes())
    assert len(written) == 1
    other = compress(tmp_path / "m.onnx", recipe=Recipe(seed=1, layout="xor")).model
    assert blobs_of(other) != blobs_of(onnx.ModelProto.FromString(written.pop()))


def test_progress_counts_weights(model: onnx.ModelProto) -> None:
    calls: list[tuple[str, int, int]] = []
    compress(model, recipe=GIVEN, progress=lambda *call: calls.append(call))
    assert calls == [("w0", 0, 16800), ("w1", 9600, 16800), ("w1", 16800, 16800)]


def test_metadata_names_the_source_and_the_recipe(model: onnx.ModelProto, tmp_path: Path) -> None:
    import hashlib

    onnx.save(model, tmp_path / "m.onnx")
    small = compress(tmp_path / "m.onnx", recipe=dataclasses.replace(GIVEN, seed=7)).model
    pairs = {entry.key.removeprefix("com.wl_onnx."): entry.value for entry in small.metadata_props}
    digest = hashlib.sha256((tmp_path / "m.onnx").read_bytes()).hexdigest()
    assert pairs["source_sha256"] == digest
    assert pairs["seed"] == "7"
    assert pairs["version"] == wl_onnx.__version__
    recipe = json.loads(pairs["recipe"])
    assert "threads" not in recipe
    assert recipe["sparsity"] == 0.9


def test_a_hash_that_keys_defeat(
    model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from wl_onnx.codecs import bloomier

    encode = bloomier.encode

    def refuse_tabulation(*arguments: Any, **options: Any) -> bytes:
        if options["hash"] == "tabulation":
            raise EncodeError("cannot encode weights: no table exists")
        return encode(*arguments, **options)

    monkeypatch.setattr(bloomier, "encode", refuse_tabulation)
    with caplog.at_level("WARNING", "wl_onnx"):
        result = compress(model, recipe=GIVEN)
    assert {t["hash"] for t in result.report["tensors"]} == {"murmur3"}
    assert "w0: its indices defeat tabulation hashing; murmur3 is used instead" in caplog.text
    with pytest.raises(EncodeError, match=r"^cannot encode .*weight w0"):
        compress(model, recipe=dataclasses.replace(GIVEN, hash="tabulation"))


def test_errors_of_the_python_interface(model: onnx.ModelProto, tmp_path: Path) -> None:
    small = compress(model, recipe=GIVEN).model
    with pytest.raises(ModelError, match=r"^cannot compress mlp: .* must not be compressed yet"):
        compress(small)
    with pytest.raises(InputError, match=r"^cannot decompress mlp: it must be a compressed model"):
        decompress(model)
    with pytest.raises(InputError, match="folder must exist"):
        compress(model, tmp_path / "absent" / "out.onnx")
    with pytest.raises(InputError, match=r"nix must match .* among w0, w1$"):
        compress(model, recipe=Recipe(include=("w0", "nix")))
    with pytest.raises(InputError, match="no such file"):
        compress(tmp_path / "absent.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_weights(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("x", 1, ["n"])
    result_value = helper.make_tensor_value_info("y", 1, ["n"])
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g", [value], [result_value]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    result = compress(model)
    assert result.model == model
    assert result.report["tensors"] == []
    assert result.report["weights"]["original_bytes"] == 0
    with pytest.raises(InputError, match="got no match among none"):
        compress(model, recipe=Recipe(include=("*",)))
