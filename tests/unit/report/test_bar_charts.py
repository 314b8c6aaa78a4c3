from __future__ import annotations

import dataclasses

import pytest

from tests.pages import Node, read_page, width_of
from wl_onnx.report.bar_charts import draw_bar, draw_cells, draw_size
from wl_onnx.report.facts import CODEBOOK, OVERHEAD, WEIGHTS, TensorFacts

TENSOR = TensorFacts(
    name="w",
    codec="bloomier",
    shape=(100, 100),
    original_shape=(100, 100),
    num_weights=10_000,
    original_bytes=40_000,
    size_bits=8 * 1000,
    parts={WEIGHTS: 900, CODEBOOK: 30, OVERHEAD: 70},
    information_bound_bits=8 * 850,
    lossless_bound_bits=8 * 1200.0,
    num_nonzero=1000,
    sparsity=0.9,
    clusters=15,
    bits=7,
    layout="ribbon",
    epsilon=0.01,
    error_share=0.02,
    false_positives=900,
    cells=None,
    digital_bits=None,
    reason=None,
)


def parts(svg: str) -> dict[str, Node]:
    return {one.classes[1]: one.all("rect")[0] for one in read_page(svg).all("g", "part")}


def test_segments_are_as_wide_as_their_bytes_and_stand_side_by_side() -> None:
    drawn = parts(draw_size(TENSOR, 2000))
    start = 0.0
    for kind, count in TENSOR.parts.items():
        assert width_of(drawn[kind]) == pytest.approx(count / 2000, abs=1e-6)
        assert float(drawn[kind].attributes["x"].rstrip("%")) == pytest.approx(100 * start)
        start += count / 2000


def test_bounds_stand_where_they_are() -> None:
    root = read_page(draw_size(TENSOR, 2000))
    for kind, bits in (("filter", 8 * 850), ("lossless", 8 * 1200)):
        (mark,) = root.all("g", f"{kind}-bound")
        place = float(mark.all("line")[0].attributes["x1"].rstrip("%"))
        assert place == pytest.approx(100 * bits / 8 / 2000)
    assert "no filter below 850" in root.all("svg")[0].attributes["aria-label"]


def test_no_bounds_no_marks() -> None:
    bare = dataclasses.replace(TENSOR, information_bound_bits=None, lossless_bound_bits=None)
    assert not read_page(draw_size(bare, 2000)).all("g", "bound")


def test_digital_bits_are_counted_in_cells() -> None:
    stored = dataclasses.replace(TENSOR, codec="analog", cells=6000, digital_bits=1800)
    drawn = parts(draw_cells(stored, 10_000, 1.8))
    assert width_of(drawn["analog"]) == pytest.approx(0.6)
    assert width_of(drawn["digital"]) == pytest.approx(0.1)
    drawn = parts(draw_cells(TENSOR, 10_000, 1.6))  # 8,000 bits in a palette or filter
    assert width_of(drawn["digital"]) == pytest.approx(0.5)


def test_names_in_titles_are_text() -> None:
    name = '"]]><script>alert(1)</script>'
    root = read_page(draw_size(dataclasses.replace(TENSOR, name=name), 1))
    assert not root.all("script")
    assert root.all("svg")[0].attributes["aria-label"].startswith(name)
    assert read_page(draw_bar(name, [("weights", 1, name)], 2)).all("title")[0].text == name
