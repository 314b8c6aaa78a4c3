from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from tests.portables import TYPES, build_model, check_bits, random_filter, run_stock
from wl_onnx.codecs import bloomier, palette
from wl_onnx.kernels import reference
from wl_onnx.portable.codebooks import numpy_type
from wl_onnx.portable.form import make_form, restore_blob

settings.register_profile("portable", derandomize=True, deadline=None, max_examples=60)
PROFILE = settings.get_profile("portable")


@given(
    seed=st.integers(0, 2**32 - 1),
    layout=st.sampled_from([1, 2]),
    hash_=st.sampled_from([1, 1, 2]),
    bits=st.integers(1, 16),
    num_groups=st.integers(1, 12),
    max_units=st.sampled_from([8, 9, 70, 4096]),
    dead=st.sampled_from([0.0, 0.3]),
    data_type=st.sampled_from(TYPES),
)
@settings(PROFILE)
def test_filters_decode_to_the_same_bits(
    seed: int,
    layout: int,
    hash_: int,
    bits: int,
    num_groups: int,
    max_units: int,
    dead: float,
    data_type: int,
) -> None:
    rng = np.random.default_rng(seed)
    blob = random_filter(
        rng,
        layout=layout,
        hash_=hash_,
        bits=bits,
        num_groups=num_groups,
        max_units=max_units,
        dead=dead,
        codebook_type=str(rng.choice(["f2", "f4"])),
    )
    shape = (bloomier.inspect(blob).num_weights,)
    form = make_form("bloomier", blob, shape=shape, data_type=data_type)
    assert restore_blob("bloomier", form.tensors, form.fields, shape=shape) == blob
    model = build_model(form, shape, data_type, function=bool(seed % 2))
    check_bits(run_stock(model), reference.decode(blob, numpy_type(data_type)))


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.lists(st.integers(1, 12), max_size=4).map(tuple),
    num_clusters=st.one_of(st.integers(1, 20), st.integers(1, 4096)),
)
@settings(PROFILE)
def test_palettes_decode_to_the_same_bits(
    seed: int, shape: tuple[int, ...], num_clusters: int
) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, num_clusters, int(np.prod(shape)))
    blob = palette.encode(codes, codebook=rng.normal(size=num_clusters))
    form = make_form("palette", blob, shape=shape, data_type=TensorProto.FLOAT)
    model = build_model(form, shape, TensorProto.FLOAT, function=False)
    check_bits(run_stock(model), palette.decode(blob).reshape(shape))
    back = restore_blob("palette", form.tensors, form.fields, shape=shape)
    np.testing.assert_array_equal(palette.decode(back), palette.decode(blob))
