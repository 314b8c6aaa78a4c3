from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cells import random_tensor
from wl_onnx.codecs import cells
from wl_onnx.codecs.cells import CellTensor

settings.register_profile("cells", derandomize=True, deadline=None, max_examples=150)
PROFILE = settings.get_profile("cells")


@st.composite
def tensors(draw: st.DrawFn, max_weights: int = 4000) -> CellTensor:
    """Tensors with something of everything."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return random_tensor(rng, num_weights=draw(st.integers(1, max_weights)))


@PROFILE
@given(tensors())
def test_everything_comes_back(tensor: CellTensor) -> None:
    blob = cells.encode(tensor)
    found = cells.parse(blob)
    for field in dataclasses.fields(CellTensor):
        before, after = getattr(tensor, field.name), getattr(found, field.name)
        if field.name == "symbols":
            assert list(after) == list(before)
        elif field.name.endswith("_exponents"):
            if before is not None:
                np.testing.assert_array_equal(after.exponents, before.exponents)
                assert after.inner == before.inner
        elif isinstance(before, np.ndarray):
            np.testing.assert_array_equal(after, before)
        else:
            assert after == before, field.name
    assert cells.encode(found) == cells.encode(cells.parse(cells.encode(found)))
    assert cells.encode(tensor, threads=2) == blob


@PROFILE
@given(tensors())
def test_counts_are_those_of_the_tensor(tensor: CellTensor) -> None:
    blob = cells.encode(tensor)
    info = cells.inspect(blob)
    labels = np.zeros(tensor.num_weights, int) if tensor.labels is None else tensor.labels
    of_symbol = np.array([symbol.cells for symbol in tensor.symbols])[labels]
    exponents = np.full(tensor.num_weights, 16)
    for lines in (tensor.row_exponents, tensor.column_exponents):
        if lines is not None:
            place = np.arange(tensor.num_weights) // lines.inner % lines.exponents.size
            exponents += lines.exponents[place].astype(int) - 8
    spread = np.clip(np.floor(of_symbol * 2.0 ** ((exponents - 16) / 2) + 0.5), 1, 64)
    signs = 2 if tensor.is_pair else 1
    assert info.num_cells == signs * int(spread[of_symbol > 0].sum())
    assert info.num_stored == int((of_symbol > 0).sum())
    assert info.symbol_counts == tuple(np.bincount(labels, minlength=len(tensor.symbols)))
    levels_bits = 8 * info.num_stored * signs * (1 if tensor.write_bits <= 8 else 2)
    assert info.digital_bits < 8 * len(blob) - levels_bits
    assert info.label_bits <= info.digital_bits


@PROFILE
@given(tensors(), st.integers(0, 2**63 - 1), st.integers(2, 4))
def test_the_same_seeds_give_the_same_weights(tensor: CellTensor, seed: int, threads: int) -> None:
    blob = cells.encode(tensor)
    one = cells.read(blob, read_seed=seed, threads=1)
    np.testing.assert_array_equal(cells.read(blob, read_seed=seed, threads=threads), one)
    given_all = cells.read(
        blob, read_seed=seed, write_seed=tensor.write_seed, time_s=tensor.time_s, threads=1
    )
    np.testing.assert_array_equal(given_all, one)


@PROFILE
@given(tensors())
def test_weights_without_cells_are_exact(tensor: CellTensor) -> None:
    if tensor.labels is None:
        return
    blob = cells.encode(tensor)
    bare = np.array([symbol.cells == 0 for symbol in tensor.symbols])[tensor.labels]
    targets = cells.decode(blob)
    np.testing.assert_array_equal(cells.read(blob)[bare], targets[bare])
    np.testing.assert_array_equal(cells.read(blob, time_s=1e7)[bare], targets[bare])
