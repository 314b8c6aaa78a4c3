"""Compressing to a portable file: what is chosen, what is reported, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import wl_onnx
from tests.compressions import arrays_of, tensors_of
from tests.portable_files import (
    FUNCTIONS,
    OURS,
    all_nodes,
    draw_feeds,
    fold,
    open_plain,
    same_bits,
)
from wl_onnx import Recipe, compress, decompress
from wl_onnx.errors import InputError
from wl_onnx.recipe import Rule

PALETTE = Recipe(codec="palette")


def metadata_of(model: onnx.ModelProto) -> dict[str, str]:
    return {one.key.removeprefix(f"{OURS}."): one.value for one in model.metadata_props}


def record_of(model: onnx.ModelProto) -> dict[str, dict[str, object]]:
    weights = json.loads(metadata_of(model)["portable"])["weights"]
    return {weight["name"]: weight for weight in weights}


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("codec", [None, "bloomier", "palette", "auto"])
def test_a_stock_session_runs_what_is_written(
    small_mlp: onnx.ModelProto, tmp_path: Path, codec: str | None, inline: bool
) -> None:
    path = tmp_path / "portable.onnx"
    recipe = Recipe(codec=codec, min_elements=1)
    result = compress(small_mlp, path, recipe=recipe, portable=True, inline=inline)
    assert OURS not in {node.domain for node in all_nodes(result.model)}
    assert bool(result.model.functions) != inline
    assert {f.domain for f in result.model.functions} <= {FUNCTIONS}
    dense = decompress(path)
    feeds = draw_feeds(open_plain(path))
    first, second = open_plain(path).run(None, feeds), open_plain(dense).run(None, feeds)
    assert same_bits(first[0], second[0])
    report = result.report
    assert report["file"]["compressed_bytes"] == path.stat().st_size
    blobs = [one for one in report["tensors"] if one["codec"] != "none"]
    assert 8 * report["file"]["blob_bytes"] == sum(one["size_bits"] for one in blobs)


def test_errors_in_the_report_are_those_of_the_decoded_weights(
    small_mlp: onnx.ModelProto,
) -> None:
    before = arrays_of(small_mlp)
    for codec in ("bloomier", "palette"):
        result = compress(small_mlp, recipe=Recipe(codec=codec), portable=True)
        for name, folded in fold(result.model, record_of(result.model)).items():
            share = np.square(folded - before[name]).sum() / np.square(before[name]).sum()
            assert tensors_of(result)[name]["error_share"] == pytest.approx(share, rel=1e-4)
            assert share <= 0.02


def test_filters_are_xor_unless_the_recipe_names_a_layout(small_mlp: onnx.ModelProto) -> None:
    result = compress(small_mlp, portable=True)
    assert tensors_of(result)["w0"]["layout"] == "xor"
    assert json.loads(metadata_of(result.model)["recipe"])["layout"] == "xor"
    assert tensors_of(compress(small_mlp))["w0"]["layout"] == "ribbon"
    named = Recipe(rules=(Rule("w0", (("layout", "ribbon"),)),))
    ribbon = compress(small_mlp, recipe=named, portable=True)
    assert tensors_of(ribbon)["w0"]["layout"] == "ribbon"


def test_palettes_are_made_for_whole_bits(small_mlp: onnx.ModelProto) -> None:
    """The fewest bits at which k-means keeps within the share, against Lloyd's algorithm."""
    result = compress(small_mlp, recipe=PALETTE, portable=True)
    report = tensors_of(result)["w0"]
    clusters = report["clusters"]
    assert 8 < clusters <= 16
    values = arrays_of(small_mlp)["w0"].reshape(-1).astype(np.float64)
    assert _error_of_k_means(values, 8) > 0.02
    assert report["error_share"] <= min(0.02, 1.05 * _error_of_k_means(values, 16))
    # Four bits for each of 4,096 weights, and sixteen float16 centroids.
    assert report["size_bits"] == 4 * 4096 + 16 * clusters


def _error_of_k_means(values: np.ndarray, clusters: int) -> float:
    centroids = np.quantile(values, (np.arange(clusters) + 0.5) / clusters)
    for _ in range(200):
        nearest = np.abs(values[:, None] - centroids).argmin(axis=1)
        for index in range(clusters):
            if (nearest == index).any():
                centroids[index] = values[nearest == index].mean()
    error = np.abs(values[:, None] - centroids).min(axis=1)
    return float(np.square(error).sum() / np.square(values).sum())


def test_zeros_stay_zeros(small_mlp: onnx.ModelProto) -> None:
    for recipe in (PALETTE, Recipe(codec="palette", sparsity=0.75, clusters=16)):
        model = onnx.ModelProto()
        model.CopyFrom(small_mlp)
        tensor = model.graph.initializer[0]
        values = np.array(onnx.numpy_helper.to_array(tensor))
        values[np.abs(values) < 0.7] = 0
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        result = compress(model, recipe=recipe, portable=True)
        decoded = fold(result.model, ["w0"])["w0"]
        assert not decoded[values == 0].any()
        if recipe.sparsity == 0.75:
            # 0 is one of the sixteen centroids, so that they take four bits.
            assert np.unique(decoded).size <= 16
            assert np.count_nonzero(decoded) == 1024


def test_auto_compares_what_the_portable_file_would_take(small_mlp: onnx.ModelProto) -> None:
    sizes = {
        codec: tensors_of(compress(small_mlp, recipe=Recipe(codec=codec), portable=True))["w0"]
        for codec in ("bloomier", "palette")
    }
    chosen = tensors_of(compress(small_mlp, recipe=Recipe(codec="auto"), portable=True))["w0"]
    assert sizes["palette"]["size_bits"] < sizes["bloomier"]["size_bits"]
    assert chosen["codec"] == "palette"
    assert chosen["size_bits"] == sizes["palette"]["size_bits"]


def test_a_weight_that_would_grow_stays_as_it_was(small_mlp: onnx.ModelProto) -> None:
    recipe = Recipe(codec="bloomier", min_elements=1)
    result = compress(small_mlp, recipe=recipe, portable=True)
    assert tensors_of(result)["w1"]["codec"] == "none"
    assert "would not shrink: 4096 bytes would become " in tensors_of(result)["w1"]["reason"]
    kept = arrays_of(result.model)["w1"]
    assert same_bits(kept, arrays_of(small_mlp)["w1"])
    grown = Recipe(codec="bloomier", min_elements=1, allow_growth=True)
    result = compress(small_mlp, recipe=grown, portable=True)
    assert set(record_of(result.model)) == {"w0", "w1"}


def test_a_model_of_which_nothing_shrinks_is_not_touched(small_mlp: onnx.ModelProto) -> None:
    recipe = Recipe(codec="bloomier", include=("w1",))
    result = compress(small_mlp, recipe=recipe, portable=True)
    assert result.model == small_mlp


def test_with_data_sizes_are_those_of_the_portable_file(
    small_mlp: onnx.ModelProto, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    feeds = [{"x": rng.normal(size=(8, 64)).astype(np.float32)} for _ in range(8)]
    path = tmp_path / "portable.onnx"
    result = compress(small_mlp, path, data=feeds, min_snr=20, max_trials=3, portable=True)
    report = result.report
    assert report["search"]["snr_db"] >= 20
    assert report["file"]["compressed_bytes"] == path.stat().st_size
    record = record_of(result.model)
    stored = {t.name: len(t.raw_data) for t in result.model.graph.initializer}
    for name, tensor in tensors_of(result).items():
        if name in record:
            held = sum(stored[one] for one in record[name]["tensors"].values())
            assert tensor["codec"] == record[name]["codec"]
            assert tensor["size_bits"] == 8 * held
        else:
            assert tensor["codec"] == "none"
            assert tensor["size_bits"] == tensor["original_bits"]
            assert tensor["reason"]
    # The very result that was validated: the same search, as operators, decodes to it.
    operators = compress(
        small_mlp, recipe=Recipe(layout="xor"), data=feeds, min_snr=20, max_trials=3
    )
    expected = arrays_of(decompress(operators.model))
    decoded = arrays_of(decompress(path))
    assert all(same_bits(decoded[name], expected[name]) for name in expected)


def test_a_plan_is_carried_out(small_mlp: onnx.ModelProto) -> None:
    first = compress(small_mlp, recipe=PALETTE, portable=True)
    again = compress(small_mlp, plan=first.plan, portable=True)
    assert record_of(again.model) == record_of(first.model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inline": True}, "cannot use inline: it must come with portable, got True alone"),
        ({"folding_budget": 5}, "cannot use folding_budget: it must come with portable, got 5"),
        ({"portable": True, "folding_budget": 0}, "folding_budget must be at least 1 byte, got 0"),
        ({"portable": True, "target_size": 9999, "data": []}, "target_size must be left out"),
        (
            {"portable": True, "recipe": Recipe(layout="prefix")},
            "cannot compress to a portable file: layout must be xor or ribbon, got prefix",
        ),
        (
            {"portable": True, "recipe": Recipe(rules=(Rule("w1", (("layout", "prefix"),)),))},
            "cannot compress to a portable file: layout must be xor or ribbon, got prefix",
        ),
        ({"portable": True, "folding_budget": 99}, "must take a session at most 99 bytes, got "),
    ],
)
def test_what_is_refused(
    small_mlp: onnx.ModelProto, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        compress(small_mlp, tmp_path / "out.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_sessions_of_ours_open_portable_files_in_every_mode(
    small_mlp: onnx.ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "portable.onnx"
    compress(small_mlp, path, portable=True)
    feeds = draw_feeds(open_plain(path))
    expected = open_plain(path).run(None, feeds)[0]
    for mode in ("materialize", "cached", "streaming"):
        session = wl_onnx.InferenceSession(path, mode=mode)
        np.testing.assert_allclose(session.run(None, feeds)[0], expected, rtol=1e-5, atol=1e-5)
