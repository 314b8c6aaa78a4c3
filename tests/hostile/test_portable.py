"""Damaged portable weights: whatever stands in a file, one clear error or a valid blob."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from tests.blobs import outcome, several_blocks
from wl_onnx.codecs import bloomier, palette
from wl_onnx.errors import BlobError
from wl_onnx.portable.form import PortableForm, make_form, restore_blob

FLOAT = 1
ODD: list[Any] = [None, True, -1, 0, 1, 2.5, 2**40, "", "x", [], [0], [300], [[0]], {}, b"1"]


Case = tuple[PortableForm, tuple[int, ...], bytes]


def filter_form(layout: int, *, single: bool = False) -> Case:
    if single:
        name = {1: "ribbon", 2: "xor"}[layout]
        blob = bloomier.encode(
            [3, 7], [0, 1], num_weights=2000, codebook=[-1.0, 0.5], bits=4, layout=name
        )
    else:
        blob = several_blocks(layout, 1)
    shape = (bloomier.inspect(blob).num_weights,)
    return make_form("bloomier", blob, shape=shape, data_type=FLOAT), shape, blob


def palette_form(num_clusters: int = 5) -> Case:
    codes = np.arange(600) % num_clusters
    blob = palette.encode(codes, codebook=np.arange(num_clusters) / 3)
    return make_form("palette", blob, shape=(20, 30), data_type=FLOAT), (20, 30), blob


def sparse_palette_form() -> Case:
    codes = np.where(np.arange(9000) % 13 == 0, np.arange(9000) % 9, 4)
    blob = palette.encode(codes, codebook=np.arange(9) / 3)
    form = make_form("palette", blob, shape=(90, 100), data_type=FLOAT)
    assert "mask" in form.tensors
    return form, (90, 100), blob


FORMS = {
    "xor": filter_form(2),
    "xor, one block": filter_form(2, single=True),
    "ribbon": filter_form(1),
    "palette": palette_form(),
    "palette of one": palette_form(1),
    "palette with a mask": sparse_palette_form(),
}


def restore(form: PortableForm, shape: tuple[int, ...]) -> object:
    """The blob, checked by its own reader; or BlobError."""
    found = outcome(lambda: restore_blob(form.codec, form.tensors, form.fields, shape=shape))
    if isinstance(found, bytes):
        inspect = bloomier.inspect if form.codec == "bloomier" else palette.inspect
        assert inspect(found).num_weights == np.prod(shape)
    return found


@pytest.fixture(params=list(FORMS))
def case(request: pytest.FixtureRequest) -> Case:
    return copy.deepcopy(FORMS[request.param])


def test_what_is_whole_comes_back(case: Case) -> None:
    form, shape, blob = case
    found = restore(form, shape)
    assert isinstance(found, bytes)
    if form.codec == "bloomier":
        assert found == blob


def test_every_field_is_checked(case: Case) -> None:
    form, shape, blob = case
    for name, right in list(form.fields.items()):
        for value in [*ODD, right * 2 if isinstance(right, (int, str, list)) else None]:
            form.fields[name] = value
            found = restore(form, shape)
            assert found is BlobError or found != blob or value == right, (name, value)
        del form.fields[name]
        assert restore(form, shape) is BlobError, name
        form.fields[name] = right
    form.fields["other"] = 1
    assert restore(form, shape) is BlobError


def test_every_tensor_is_checked(case: Case) -> None:
    form, shape, blob = case
    for role, right in list(form.tensors.items()):
        wrong: list[Any] = [
            None,
            right.tolist(),
            right[..., :-1],
            np.concatenate([right, right], axis=-1),
            right[None],
            right.astype(np.float64),
            right[..., :0],
        ]
        for value in wrong:
            form.tensors[role] = value
            found = restore(form, shape)
            # Other centroids make another blob of the same kind.
            assert found is BlobError or (role == "codebook" and found != blob), (role, value)
        del form.tensors[role]
        assert restore(form, shape) is BlobError, role
        form.tensors[role] = right
    form.tensors["other"] = np.zeros(1, np.uint8)
    assert restore(form, shape) is BlobError


@pytest.mark.parametrize("layout", [1, 2])
def test_every_number_of_a_block_is_checked(layout: int) -> None:
    form, shape, blob = copy.deepcopy(filter_form(layout))
    blocks = form.tensors["blocks"]
    for place in np.ndindex(blocks.shape):
        right = blocks[place]
        for value in (-(2**31), -1, 0, 1, 7, 4097, 2**31 - 1):
            blocks[place] = value
            found = restore(form, shape)
            assert found is BlobError or found != blob or value == right, (place, value)
        blocks[place] = right
    assert restore(form, shape) == blob


def test_centroids_and_codes_out_of_range_are_refused() -> None:
    form, shape, _ = copy.deepcopy(FORMS["palette"])
    form.tensors["codebook"][1] = np.nan
    assert restore(form, shape) is BlobError
    form, shape, _ = copy.deepcopy(FORMS["palette"])
    form.tensors["cells"][:] = 255
    assert restore(form, shape) is BlobError


def test_no_memory_is_taken_for_what_is_not_there(
    case: Case,
) -> None:
    form, _, _ = case
    for shape in ((2**31,), (0,), (-1, -5), (2**32,), (2.0,), ("a",), (2**16, 2**15)):
        found = outcome(
            lambda shape=shape: restore_blob(form.codec, form.tensors, form.fields, shape=shape)
        )
        # A filter of few keys may well be as large as it says: no byte stands for a weight.
        is_large = shape in ((2**31,), (2**16, 2**15)) and form.codec == "bloomier"
        assert found is BlobError or (is_large and len(found) < 10_000), shape


def test_another_codec_is_refused() -> None:
    form, shape, _ = FORMS["xor"]
    for codec in ("palette", "analog", "", None, 1):
        found = outcome(
            lambda codec=codec: restore_blob(codec, form.tensors, form.fields, shape=shape)
        )
        assert found is BlobError
