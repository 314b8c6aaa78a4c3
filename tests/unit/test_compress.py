"""The main job against NumPy and onnx: what a report says, and what stays as it was."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import wl_onnx
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
GIVEN = Recipe(sparsity=0.9, clusters=16, bits=8)


@pytest.fixture(scope="module")
def weights() -> list[np.ndarray]:
    rng = np.random.default_rng(11)
    return [
        rng.laplace(size=(80, 120)).astype(np.float32),
        rng.normal(size=(120, 60)).astype(np.float32),
    ]


@pytest.fixture(scope="module")
def model(make_mlp: Callable[..., onnx.ModelProto], weights: list[np.ndarray]) -> onnx.ModelProto:
    proto = make_mlp(*weights)
    helper.set_model_props(proto, {"author": "someone"})
    proto.doc_string = "a model"
    proto.opset_import.add(domain="com.microsoft", version=1)
    return proto


def arrays_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def tensors_of(result: wl_onnx.Result) -> dict[str, dict[str, Any]]:
    return {tensor["name"]: tensor for tensor in result.report["tensors"]}


def blobs_of(model: onnx.ModelProto) -> dict[str, bytes]:
    return {
        node.output[0]: attribute.t.raw_data
        for node in model.graph.node
        for attribute in node.attribute
        if node.domain == "com.wl_onnx" and attribute.name == "blob"
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
    assert result.report["file"] == {
        "original_bytes": (tmp_path / "m.onnx").stat().st_size,
        "compressed_bytes": (tmp_path / "small.onnx").stat().st_size,
    }
    original = sum(array.nbytes for array in arrays_of(model).values())
    compressed = sum(array.nbytes for array in arrays_of(stored).values())
    compressed += sum(map(len, blobs_of(stored).values()))
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


def test_report_has_the_keys_that_programs_rely_on(model: onnx.ModelProto) -> None:
    result = compress(model, recipe=GIVEN)
    assert list(result.report) == ["file", "weights", "tensors"]
    assert list(result.report["file"]) == ["original_bytes", "compressed_bytes"]
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
        for name in ("version", "recipe", "source_sha256", "source_bytes", "seed")
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


@pytest.mark.parametrize("threads", [1, 2])
def test_the_default_keeps_within_the_share(
    find_model: Callable[[str], Path], threads: int
) -> None:
    path = find_model("lenet5")
    before = arrays_of(onnx.load(path))
    for share in (0.02, 0.05, 0.3):
        result = compress(path, recipe=Recipe(error_share=share, threads=threads))
        after = arrays_of(decompress(result.model))
        encoded = [t for t in result.report["tensors"] if t["codec"] == "bloomier"]
        assert encoded
        for tensor in encoded:
            weights = before[tensor["name"]].astype(np.float64)
            error = ((weights - after[tensor["name"]]) ** 2).sum() / (weights**2).sum()
            assert error <= share * (1 + 1e-9)
            assert tensor["meets_share"] is True
            assert tensor["size_bits"] < tensor["original_bits"]


def test_a_share_that_no_choice_keeps_within_leaves_the_weight(model: onnx.ModelProto) -> None:
    result = compress(model, recipe=Recipe(error_share=1e-4))
    assert result.model == model
    for tensor in result.report["tensors"]:
        assert tensor["codec"] == "none"
        assert tensor["reason"].startswith("keeps within error_share 0.0001 with no choice")
        assert tensor["reason"].endswith("16 clusters are too few")
    # What is given is done as given, and the report says what it costs.
    given = compress(model, recipe=Recipe(error_share=1e-4, sparsity=0.5))
    assert [tensor["meets_share"] for tensor in given.report["tensors"]] == [False, False]


def test_a_larger_share_is_never_larger(find_model: Callable[[str], Path]) -> None:
    path = find_model("lenet5")
    sizes = [
        compress(path, recipe=Recipe(error_share=share)).report["weights"]["compressed_bytes"]
        for share in (0.01, 0.02, 0.05, 0.1, 0.3)
    ]
    assert sizes == sorted(sizes, reverse=True)


def test_a_second_pass_over_the_decompressed_model_changes_nothing(
    model: onnx.ModelProto,
) -> None:
    recipe = Recipe(sparsity=0.0, clusters=32, bits=6)
    once = compress(model, recipe=recipe).model
    twice = compress(decompress(once), recipe=recipe).model
    assert blobs_of(twice) == blobs_of(once)
    default = compress(model).model
    again = compress(decompress(default))
    assert again.report["weights"]["ratio"] > 1
    assert all(t["meets_share"] for t in again.report["tensors"])


def test_no_tensor_that_would_grow_is_stored(
    make_mlp: Callable[..., onnx.ModelProto], caplog: pytest.LogCaptureFixture
) -> None:
    weights = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    model = make_mlp(weights, weights[:, :4])
    recipe = Recipe(sparsity=0.0, clusters=256, min_elements=1)
    with caplog.at_level("WARNING", "wl_onnx"):
        result = compress(model, recipe=recipe)
    assert result.model == model
    assert "no weight of mlp shrinks: the model is kept as it is" in caplog.text
    for tensor in result.report["tensors"]:
        assert tensor["codec"] == "none"
        assert tensor["reason"].startswith("would not shrink: ")
    assert result.report["weights"]["ratio"] == 1
    grown = compress(model, recipe=dataclasses.replace(recipe, allow_growth=True))
    assert {t["codec"] for t in grown.report["tensors"]} == {"bloomier"}
    assert grown.model.ByteSize() > model.ByteSize()


@pytest.mark.parametrize("size", range(4, 24))
def test_no_file_grows(make_mlp: Callable[..., onnx.ModelProto], size: int) -> None:
    weights = np.random.default_rng(size).normal(size=(size, size)).astype(np.float32)
    model = make_mlp(weights)
    result = compress(model, recipe=Recipe(min_elements=1))
    assert result.report["file"]["compressed_bytes"] == result.model.ByteSize()
    if result.report["tensors"][0]["codec"] == "none":
        assert result.model == model
        assert result.report["tensors"][0]["reason"]
        assert result.report["weights"]["ratio"] == 1
    else:
        assert result.model.ByteSize() < model.ByteSize()


def test_a_model_that_does_not_shrink_is_written_as_it_is(
    make_mlp: Callable[..., onnx.ModelProto], tmp_path: Path
) -> None:
    model = make_mlp(np.ones((4, 4), np.float32))
    onnx.save(model, tmp_path / "m.onnx")
    compress(tmp_path / "m.onnx", tmp_path / "out.onnx")
    assert onnx.load(tmp_path / "out.onnx") == model


@pytest.mark.parametrize("distinct", [0, 1, 2, 3, 8, 16])
@pytest.mark.parametrize("density", [0.05, 1.0])
def test_weights_of_few_values_come_back_exactly(
    make_mlp: Callable[..., onnx.ModelProto], distinct: int, density: float
) -> None:
    rng = np.random.default_rng(distinct)
    values = (
        np.arange(1, distinct + 1, dtype=np.float32)
        * np.array([1, -1], np.float32)[np.arange(distinct) % 2]
    )
    weights = np.zeros(64 * 64, np.float32)
    if distinct:
        places = rng.choice(weights.size, round(density * weights.size), replace=False)
        weights[places] = rng.choice(values, places.size)
    weights = weights.reshape(64, 64)
    share = 1e-9 if density == 1.0 else 0.02
    result = compress(make_mlp(weights), recipe=Recipe(error_share=share))
    (tensor,) = result.report["tensors"]
    assert tensor["codec"] == "bloomier"
    if density == 1.0 or distinct == 0:
        assert tensor["clusters"] == max(1, distinct)
        assert tensor["bits"] == max(1, math.ceil(math.log2(max(1, distinct))))
        np.testing.assert_array_equal(arrays_of(decompress(result.model))["w0"], weights)
    else:
        assert tensor["error_share"] <= share


@pytest.mark.parametrize(
    ("dtype", "data_type"),
    [(np.float16, 10), (ml_dtypes.bfloat16, 16), (np.float64, 11), (np.float32, 1)],
)
def test_every_float_type_comes_back_as_it_was(
    make_mlp: Callable[..., onnx.ModelProto], dtype: Any, data_type: int
) -> None:
    weights = np.random.default_rng(0).normal(size=(64, 64)).astype(dtype)
    result = compress(make_mlp(weights), recipe=GIVEN)
    (tensor,) = result.report["tensors"]
    assert tensor["original_bits"] == 8 * weights.nbytes
    (restored,) = (t for t in decompress(result.model).graph.initializer if t.name == "w0")
    assert restored.data_type == data_type
    decoded = numpy_helper.to_array(restored).astype(np.float64)
    before = weights.astype(np.float64)
    share = ((before - decoded) ** 2).sum() / (before**2).sum()
    assert share == pytest.approx(tensor["error_share"], rel=1e-2)


def test_include_exclude_rules_and_size_say_why(model: onnx.ModelProto) -> None:
    rule = wl_onnx.recipe.Rule("w1", (("skip", True),))
    for recipe, expected in (
        (Recipe(include=("w0",)), {"w0": None, "w1": "is not selected by include and exclude"}),
        (Recipe(exclude=("*1",)), {"w0": None, "w1": "is not selected by include and exclude"}),
        (Recipe(rules=(rule,)), {"w0": None, "w1": "is skipped by a rule"}),
        (Recipe(min_elements=8000), {"w0": None, "w1": "has fewer than 8000 elements"}),
    ):
        result = compress(model, recipe=recipe)
        assert {t["name"]: t["reason"] for t in result.report["tensors"]} == expected
        assert blobs_of(result.model).keys() == {"w0"}


def test_a_rule_applies_to_its_tensor_alone(model: onnx.ModelProto) -> None:
    rule = wl_onnx.recipe.Rule("w1", (("clusters", 4), ("bits", 3), ("layout", "xor")))
    tensors = tensors_of(compress(model, recipe=dataclasses.replace(GIVEN, rules=(rule,))))
    assert [tensors["w0"][key] for key in ("clusters", "bits", "layout")] == [16, 8, "ribbon"]
    assert [tensors["w1"][key] for key in ("clusters", "bits", "layout")] == [4, 3, "xor"]


def test_a_global_threshold(model: onnx.ModelProto, weights: list[np.ndarray]) -> None:
    recipe = dataclasses.replace(GIVEN, prune_scope="global")
    tensors = tensors_of(compress(model, recipe=recipe))
    magnitudes = np.sort(np.abs(np.concatenate([array.reshape(-1) for array in weights])))
    threshold = magnitudes[round(0.9 * magnitudes.size)]
    for name, array in zip(("w0", "w1"), weights, strict=True):
        assert tensors[name]["num_nonzero"] == (np.abs(array) >= threshold).sum()
    automatic = compress(model, recipe=dataclasses.replace(recipe, bits="auto", error_share=0.9))
    for name, array in zip(("w0", "w1"), weights, strict=True):
        tensor = tensors_of(automatic)[name]
        assert tensor["num_nonzero"] == (np.abs(array) >= threshold).sum()
        assert tensor["meets_share"] is True


def test_a_global_threshold_that_leaves_a_tensor_empty(
    make_mlp: Callable[..., onnx.ModelProto], weights: list[np.ndarray]
) -> None:
    model = make_mlp(weights[0], 1e-6 * weights[1])
    recipe = Recipe(sparsity=0.5, prune_scope="global")
    tensors = tensors_of(compress(model, recipe=recipe))
    assert tensors["w1"]["num_nonzero"] == 0
    assert tensors["w0"]["num_nonzero"] == 8400


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
