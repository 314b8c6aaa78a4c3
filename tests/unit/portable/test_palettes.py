from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.portables import TYPES, build_model, check_bits, run_reference, run_stock
from wl_onnx.codecs import palette
from wl_onnx.errors import InputError
from wl_onnx.portable.codebooks import numpy_type
from wl_onnx.portable.form import make_form, make_palette_form, restore_blob

FLOAT = TensorProto.FLOAT


@pytest.mark.parametrize("num_clusters", [1, 2, 3, 7, 16, 17, 64, 100, 256, 257, 700, 4096])
@pytest.mark.parametrize("count", [1, 9, 1000])
def test_every_number_of_centroids(num_clusters: int, count: int) -> None:
    rng = np.random.default_rng(num_clusters)
    codes = rng.integers(0, num_clusters, count)
    blob = palette.encode(codes, codebook=rng.normal(size=num_clusters))
    form = make_form("palette", blob, shape=(count,), data_type=FLOAT)
    model = build_model(form, (count,), FLOAT, function=True)
    check_bits(run_stock(model), palette.decode(blob))
    check_bits(run_reference(model), palette.decode(blob))
    back = restore_blob("palette", form.tensors, form.fields, shape=(count,))
    np.testing.assert_array_equal(palette.decode(back), palette.decode(blob))
    np.testing.assert_array_equal(palette.decode_codes(back), codes)


@pytest.mark.parametrize("data_type", TYPES)
@pytest.mark.parametrize("codebook_type", ["float16", "float32"])
def test_element_types(data_type: int, codebook_type: str) -> None:
    codes = np.arange(30) * 7 % 5
    codebook = np.float32([1 / 3, -0.1, 0.0, -0.0, 1e-7])
    blob = palette.encode(codes, codebook=codebook, codebook_type=codebook_type)
    form = make_form("palette", blob, shape=(5, 6), data_type=data_type)
    model = build_model(form, (5, 6), data_type, function=False)
    wanted = palette.decode(blob).astype(numpy_type(data_type)).reshape(5, 6)
    check_bits(run_stock(model), wanted)
    check_bits(run_reference(model), wanted)
    back = restore_blob("palette", form.tensors, form.fields, shape=(5, 6))
    check_bits(palette.decode(back), palette.decode(blob))


def test_nothing_is_left_to_decode(tmp_path: Path) -> None:
    codes = np.arange(3000) % 11
    form = make_palette_form(codes, np.arange(11) / 8, shape=(30, 100), data_type=FLOAT)
    model = build_model(form, (30, 100), FLOAT, function=True)
    wanted = np.float32(codes / 8).reshape(30, 100)
    check_bits(run_stock(model, saved=tmp_path / "folded.onnx"), wanted)
    assert [node.op_type for node in onnx.load(tmp_path / "folded.onnx").graph.node] == []
    check_bits(run_stock(model, optimized=False), wanted)


def test_an_index_takes_as_few_bits_as_it_can() -> None:
    codes = np.arange(8000) % 5
    form = make_palette_form(codes, np.arange(5), shape=(8000,), data_type=FLOAT)
    assert form.tensors["cells"].nbytes == 3000
    assert form.folding_bytes < 25 * 8000


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="codes must be integers below 2, got others"):
        make_palette_form([0, 2], [1.0, 2.0], shape=(2,), data_type=FLOAT)
    with pytest.raises(InputError, match="codes must be integers below 2, got others"):
        make_palette_form([0.0, 1.0], [1.0, 2.0], shape=(2,), data_type=FLOAT)
    with pytest.raises(InputError, match="codebook must be 1 to 4096 finite centroids"):
        make_palette_form([0, 0], [np.inf], shape=(2,), data_type=FLOAT)
    with pytest.raises(InputError, match=r"its shape must have 2 weights, got \[3\]"):
        make_palette_form([0, 0], [1.0], shape=(3,), data_type=FLOAT)


@pytest.mark.parametrize("data_type", TYPES)
@pytest.mark.parametrize(
    ("count", "common", "num_clusters"),
    [(9000, 0, 17), (8192, 5, 6), (30_003, 1, 2), (9000, 3, 300)],
)
def test_a_common_centroid_takes_a_bit(
    count: int, common: int, num_clusters: int, data_type: int
) -> None:
    rng = np.random.default_rng(count)
    codes = np.where(rng.random(count) < 0.1, rng.integers(0, num_clusters, count), common)
    codebook = rng.normal(size=num_clusters)
    blob = palette.encode(codes, codebook=codebook)
    shape = (3, count // 3) if count % 3 == 0 else (count,)
    form = make_form("palette", blob, shape=shape, data_type=data_type)
    assert ("mask" in form.tensors) == (num_clusters > 2)
    assert form.size_bytes < count * ((num_clusters - 1).bit_length() + 1) / 8
    model = build_model(form, shape, data_type, function=True)
    wanted = palette.decode(blob).astype(numpy_type(data_type)).reshape(shape)
    check_bits(run_stock(model), wanted)
    check_bits(run_stock(model, optimized=False), wanted)
    check_bits(run_reference(model), wanted)
    back = restore_blob("palette", form.tensors, form.fields, shape=shape)
    np.testing.assert_array_equal(palette.decode_codes(back), codes)
    check_bits(palette.decode(back), palette.decode(blob))
