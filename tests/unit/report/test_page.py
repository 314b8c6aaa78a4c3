from __future__ import annotations

import builtins
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import wl_onnx
from tests.analog_models import store_in_pairs
from tests.pages import Node, read_page, width_of
from wl_onnx import InputError, LibraryError, Recipe, evaluation
from wl_onnx.report import Report, write_report
from wl_onnx.report.page import MAX_SHOWN
from wl_onnx.report.wording import TIMES

Pages = Callable[..., tuple[Report, Node, str]]
HOSTILE = ("<script>alert(1)</script>", "\"]]>'><img src=x onerror=alert(1)>")
FILTERS = Recipe(codec="bloomier", sparsity=0.9, clusters=12, bits=6)


def number(text: str) -> float:
    return float(text.replace(",", ""))


def test_the_numbers_are_those_of_inspect(
    make_page: Pages, compress_file: Callable[..., onnx.ModelProto], small_mlp: onnx.ModelProto
) -> None:
    compressed = compress_file(small_mlp, recipe=FILTERS)
    report, page, _ = make_page(small_mlp, compressed)
    told = evaluation.inspect(compressed)
    assert report.original.tensor_bytes == told["weights"]["original_bytes"]
    assert report.compressed.tensor_bytes == told["weights"]["compressed_bytes"]
    tiles = {tile.all("span")[0].text: tile for tile in page.all("div", "tile")}
    assert tiles["Weights"].all("b")[0].text == f"{told['weights']['ratio']:.3g}{TIMES}"
    table = page.by_id("sizes").all("table")[0]
    names = [cell.text for cell in table.all("thead")[0].all("th")]
    rows = {row[0]: dict(zip(names, row, strict=True)) for row in table.rows()}
    for tensor in told["tensors"]:
        row = rows[tensor["name"]]
        assert number(row["after"]) == round(tensor["size_bits"] / 8)
        assert number(row["before"]) == tensor["original_bits"] / 8
        assert row["codec"] == tensor["codec"]
        assert number(row["filter bound"]) == round(tensor["information_bound_bits"] / 8)
        assert number(row["entropy"]) == pytest.approx(tensor["lossless_bound_bits"] / 8, abs=0.5)
        assert number(row["centroids"]) == tensor["clusters"]
        assert number(row["whole error"]) == pytest.approx(tensor["error_share"], rel=5e-3)


def test_bars_are_as_wide_as_their_bytes(
    make_page: Pages, compress_file: Callable[..., onnx.ModelProto], small_mlp: onnx.ModelProto
) -> None:
    report, page, _ = make_page(small_mlp, compress_file(small_mlp, recipe=FILTERS))
    bars = page.by_id("sizes").all("li")
    widths = {}
    for bar in bars:
        if names := bar.all("span", "name"):
            parts = bar.all("g", "part")
            widths[names[0].text] = sum(width_of(part.all("rect")[0]) for part in parts)
    sizes = {tensor.name: tensor.size_bits for tensor in report.tensors}
    assert set(widths) == set(sizes)
    assert len(sizes) > 1
    largest = max(sizes, key=lambda name: sizes[name])
    for name, width in widths.items():
        assert width / widths[largest] == pytest.approx(sizes[name] / sizes[largest], rel=1e-4)


@pytest.mark.parametrize("codec", ["bloomier", "palette"])
def test_names_are_text_everywhere(
    make_page: Pages, compress_file: Callable[..., onnx.ModelProto],
    make_mlp: Callable[..., onnx.ModelProto], codec: str,
) -> None:  # fmt: skip
    rng = np.random.default_rng(0)
    weights = [rng.laplace(size=(64, 64)).astype(np.float32) for _ in HOSTILE]
    model = make_mlp(*weights, names=HOSTILE)
    compressed = compress_file(model, recipe=Recipe(codec=codec))
    for entry in compressed.metadata_props:
        if entry.key.endswith("version"):
            entry.value = HOSTILE[0]
    _, page, text = make_page(model, compressed)
    for word in ("<script", "<img src=x", "]]>'>"):
        assert word not in text
    names = [one.text for one in page.by_id("sizes").all("span", "name")]
    assert sorted(names) == sorted(HOSTILE)
    assert page.by_id("origin").text.count(HOSTILE[0]) == 1
    assert not any(n.startswith("on") for node in page.all("img") for n in node.attributes)


def test_the_page_needs_nothing_from_elsewhere(
    make_page: Pages, compress_file: Callable[..., onnx.ModelProto], small_mlp: onnx.ModelProto
) -> None:
    _, page, text = make_page(small_mlp, compress_file(small_mlp, recipe=FILTERS))
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    for tag in ("script", "link", "iframe", "object", "embed", "base"):
        assert not page.all(tag)
    for image in page.all("img"):
        assert image.attributes["src"].startswith("data:image/png;base64,")
        assert image.attributes["alt"]
    for picture in page.all("svg"):
        attributes = picture.attributes
        assert attributes.get("aria-label") or attributes.get("aria-hidden") or "x" in attributes
    identifiers = re.findall(r' id="([^"]*)"', text)
    assert len(set(identifiers)) == len(identifiers)


def test_the_same_input_gives_the_same_page(
    make_page: Pages, compress_file: Callable[..., onnx.ModelProto], small_mlp: onnx.ModelProto
) -> None:
    stored = store_in_pairs(small_mlp)
    for compressed in (compress_file(small_mlp, recipe=FILTERS), stored):
        texts = {make_page(small_mlp, compressed, seed=3)[2] for _ in range(2)}
        assert len(texts) == 1
    assert make_page(small_mlp, stored, seed=4)[2] not in texts


def test_many_tensors_are_folded(
    make_page: Pages, compress_file: Callable[..., onnx.ModelProto],
    make_mlp: Callable[..., onnx.ModelProto],
) -> None:  # fmt: skip
    rng = np.random.default_rng(0)
    count = 300
    weights = [rng.laplace(size=(16, 16)).astype(np.float32) for _ in range(count)]
    model = make_mlp(*weights)
    recipe = Recipe(codec="palette", min_elements=1, allow_growth=True)
    report, page, _ = make_page(model, compress_file(model, recipe=recipe))
    sizes = page.by_id("sizes")
    folded = sizes.all("details")[0]
    assert folded.all("summary")[0].text.startswith(f"{count - MAX_SHOWN} smaller tensors")
    assert len(folded.all("span", "name")) == count - MAX_SHOWN
    assert len(sizes.all("span", "name")) == count
    assert len(sizes.all("table")[0].rows()) == count
    assert len(report.histograms) == 6
    order = [tensor.size_bits for tensor in report.tensors]
    assert order == sorted(order, reverse=True)


def test_nothing_compressed(make_page: Pages, small_mlp: onnx.ModelProto) -> None:
    report, page, text = make_page(small_mlp, small_mlp)
    assert "No weight is compressed" in text
    assert report.weight_map is None
    assert not report.histograms
    assert {tensor.codec for tensor in report.tensors} == {"none"}
    assert "does not say what it was made from" in page.by_id("origin").text


def test_no_weights_at_all(make_page: Pages) -> None:
    value = onnx.helper.make_tensor_value_info("x", 1, [2])
    result = onnx.helper.make_tensor_value_info("y", 1, [2])
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [value], [result]))
    report, page, _ = make_page(model, model)
    assert report.tensors == ()
    assert not page.all("img")


def test_analog_cells_are_counted(make_page: Pages, small_mlp: onnx.ModelProto) -> None:
    compressed = store_in_pairs(small_mlp, num_cells=2)
    report, page, _ = make_page(small_mlp, compressed)
    assert report.cells_per_weight == pytest.approx(evaluation.cell_count.cells_per_weight(
        wl_onnx.graph.load_model(compressed)))  # fmt: skip
    rows = {row[0]: row for row in page.by_id("sizes").all("table")[0].rows()}
    for tensor in evaluation.inspect(compressed)["tensors"]:
        assert f"{tensor['cells']:,}" in rows[tensor["name"]]
    assert report.weight_map is not None
    assert report.weight_map.kind == "error"
    assert "one read" in page.by_id("map").text


def test_of_a_bundle_each_tensor_has_its_share(
    make_page: Pages, compress_file: Callable[..., onnx.ModelProto], small_mlp: onnx.ModelProto
) -> None:
    data = {"x": np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)}
    compressed = compress_file(small_mlp, data=data, min_snr=15, max_trials=2)
    report, _, _ = make_page(small_mlp, compressed)
    told = {tensor["name"]: tensor for tensor in evaluation.inspect(compressed)["tensors"]}
    bundled = [tensor for tensor in report.tensors if tensor.codec == "bundle"]
    assert bundled
    for tensor in bundled:
        assert sum(tensor.parts.values()) == told[tensor.name]["size_bits"] / 8


def test_a_page_that_is_there_is_kept(
    make_page: Pages, small_mlp: onnx.ModelProto, tmp_path: Path
) -> None:
    make_page(small_mlp, small_mlp)
    paths = tmp_path / "before.onnx", tmp_path / "after.onnx"
    for output, message in (
        (tmp_path / "page.html", "the report must not exist"),
        (tmp_path, "the report must be a file, got a directory"),
        (tmp_path / "no" / "page.html", "its folder must exist"),
        (paths[1], "the report must have a path of its own"),
    ):
        with pytest.raises(InputError, match=message):
            write_report(*paths, output)
    with pytest.raises(InputError, match="the seed must be in"):
        write_report(*paths, tmp_path / "p.html", seed=-1)


def test_without_jinja_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, small_mlp: onnx.ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(small_mlp, path)
    real = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "jinja2":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(LibraryError, match=r'jinja2 must be installed.*"wl-onnx\[report\]"'):
        write_report(path, path, tmp_path / "p.html")
    assert [one.name for one in tmp_path.iterdir()] == ["m.onnx"]


def test_a_page_is_well_formed_and_has_its_sections(
    make_page: Pages, compress_file: Callable[..., onnx.ModelProto], small_mlp: onnx.ModelProto
) -> None:
    _, page, text = make_page(small_mlp, compress_file(small_mlp, recipe=FILTERS))
    for name in ("in-short", "sizes", "values", "map", "outputs", "costs", "origin", "how"):
        assert page.by_id(name).tag == "section"
    assert text.startswith("<!DOCTYPE html>")
    assert read_page(text).all("html")[0].attributes["lang"] == "en"


def test_a_portable_file_is_told_as_the_one_that_it_came_from(
    make_page: Pages, compress_file: Callable[..., onnx.ModelProto], small_mlp: onnx.ModelProto
) -> None:
    recipe = Recipe(codec="bloomier", sparsity=0.9, clusters=12, bits=6, layout="xor")
    operators, _, _ = make_page(small_mlp, compress_file(small_mlp, recipe=recipe))
    compressed = compress_file(small_mlp, recipe=recipe, portable=True)
    portable, page, _ = make_page(small_mlp, compressed)
    assert (operators.is_portable, portable.is_portable) == (False, True)
    assert "decoded by standard operators" in page.all("header")[0].text
    sizes = {one["name"]: one["size_bits"] for one in evaluation.inspect(compressed)["tensors"]}
    same = {one.name: one for one in operators.tensors}
    for tensor in portable.tensors:
        assert tensor.size_bits == sizes[tensor.name] == 8 * sum(tensor.parts.values())
        if tensor.codec != "none":  # the other weight would not shrink
            assert tensor.false_positives == same[tensor.name].false_positives
    assert {tensor.codec for tensor in portable.tensors} == {"bloomier", "none"}
    assert portable.weight_map == operators.weight_map
    with pytest.raises(InputError, match="its original must not be compressed"):
        make_page(compressed, small_mlp)
