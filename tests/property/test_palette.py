from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.palettes import entropy_bytes, random_codes
from wl_onnx.codecs import palette

settings.register_profile("palette", derandomize=True, deadline=None, max_examples=200)
PROFILE = settings.get_profile("palette")


@st.composite
def encodings(draw: st.DrawFn, max_weights: int = 20_000) -> dict[str, Any]:
    """Arguments of `encode`: codes at random, with dead lines, or any hypothesis likes."""
    num_clusters = draw(st.one_of(st.integers(1, 40), st.integers(1, 4096)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    row_length = draw(st.one_of(st.none(), st.integers(1, 500)))
    if draw(st.booleans()):
        codes = random_codes(rng, draw(st.integers(1, max_weights)), num_clusters, row_length)
    else:
        some = st.integers(0, num_clusters - 1)
        codes = np.array(draw(st.lists(some, min_size=1, max_size=60)))
    codebook = rng.normal(size=num_clusters)
    if draw(st.booleans()):
        codebook = np.arange(num_clusters) * 0.25 - 3
    return {
        "codes": codes,
        "codebook": codebook.astype(np.float32),
        "row_length": row_length,
        "codebook_type": draw(st.sampled_from(["float16", "float32"])),
    }


@PROFILE
@given(encodings())
def test_codes_come_back(arguments: dict[str, Any]) -> None:
    blob = palette.encode(**arguments)
    np.testing.assert_array_equal(palette.decode_codes(blob), arguments["codes"])
    stored = arguments["codebook"].astype(arguments["codebook_type"]).astype(np.float32)
    np.testing.assert_array_equal(palette.decode(blob), stored[arguments["codes"]])


@PROFILE
@given(encodings(max_weights=300_000), st.integers(2, 5))
def test_threads_change_nothing(arguments: dict[str, Any], threads: int) -> None:
    blob = palette.encode(**arguments)
    assert palette.encode(**arguments, threads=threads) == blob
    np.testing.assert_array_equal(palette.decode_codes(blob, threads=threads), arguments["codes"])


@PROFILE
@given(encodings())
def test_size_is_within_the_bound(arguments: dict[str, Any]) -> None:
    blob = palette.encode(**arguments)
    width = 2 if arguments["codebook_type"] == "float16" else 4
    codebook_bytes = arguments["codebook"].size * width
    # The model takes less than a byte for each symbol that occurs and for each 4 that do not.
    used = np.unique(arguments["codes"]).size
    model_bytes = 8 + 1.5 * used + arguments["codebook"].size / 4
    bound = 1.03 * entropy_bytes(arguments["codes"])
    assert len(blob) <= 32 + 7 + codebook_bytes + model_bytes + bound + 8


@PROFILE
@given(encodings())
def test_classes_never_make_a_blob_larger(arguments: dict[str, Any]) -> None:
    blob = palette.encode(**arguments)
    plain = palette.encode(**{**arguments, "row_length": None})
    assert len(blob) <= len(plain) + 8
