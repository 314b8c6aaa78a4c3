from __future__ import annotations

import numpy as np
import pytest

from wl_onnx.errors import InputError
from wl_onnx.kernels.compensation import (
    SymbolRates,
    classify_lines,
    codebook_products,
    count_symbols,
    decide_block,
    decide_block_again,
)


def make_symbols(**changes: object) -> SymbolRates:
    fields = {
        "codebook": np.array([-1.0, 0.0, 1.0]),
        "rates": np.zeros((2, 1, 3)),
        "row_classes": np.array([0, 1]),
        "column_classes": np.zeros(4, np.int64),
        "row_weights": np.ones(2),
    }
    return SymbolRates(**(fields | changes))  # type: ignore[arg-type]


def test_only_the_block_is_written() -> None:
    codes, errors = np.full((1, 2, 4), 9, np.int32), np.full((1, 2, 4), 9.0)
    targets = np.array([[[0.8, -0.1], [-3.0, 0.6]]])
    decide_block(targets, np.eye(2)[None], 1, make_symbols(), codes, errors)
    assert codes.tolist() == [[[9, 2, 1, 9], [9, 0, 2, 9]]]
    np.testing.assert_allclose(errors, [[[9, -0.2, -0.1, 9], [9, -2, -0.4, 9]]])


def test_targets_that_are_no_numbers_give_a_symbol_all_the_same() -> None:
    codes, errors = np.empty((1, 2, 4), np.int32), np.empty((1, 2, 4))
    targets = np.array([[[np.nan, 0, np.inf, 0], [0, -np.inf, 0, np.nan]]])
    decide_block(targets, np.eye(4)[None], 0, make_symbols(), codes, errors)
    assert ((codes >= 0) & (codes < 3)).all()


def test_codes_and_classes_out_of_range() -> None:
    codes, errors, block = np.zeros((1, 2, 4), np.int32), np.zeros((1, 2, 4)), np.zeros((1, 2, 4))
    square = np.eye(4)[None]
    with pytest.raises(ValueError, match="row classes must be from 0 to 1, got 2 at 1"):
        decide_block(block, square, 0, make_symbols(row_classes=np.array([0, 2])), codes, errors)
    symbols = make_symbols(column_classes=np.full(4, -1))
    with pytest.raises(ValueError, match="column classes must be from 0 to 0, got -1 at 0"):
        decide_block_again(block, square, 0, symbols, codes, errors)
    codes[0, 1, 2] = 3
    with pytest.raises(ValueError, match="codes must be from 0 to 2, got 3"):
        decide_block_again(block, square, 0, make_symbols(), codes, errors)
    with pytest.raises(InputError, match="cannot count symbols: codes must be from 0 to"):
        count_symbols(codes[0], np.zeros(4, np.int64), 1, 3, axis=1)
    with pytest.raises(InputError, match="cannot count symbols: codes must be from 0 to"):
        count_symbols(codes[0] - 4, np.zeros(2, np.int64), 1, 3, axis=0)
    with pytest.raises(InputError, match="cannot count symbols: classes must be below 1, got 1"):
        count_symbols(codes[0], np.ones(4, np.int64), 1, 4, axis=1)
    with pytest.raises(InputError, match="cannot fit a codebook: codes must be below 3"):
        codebook_products(codes, np.ones(2), square, 3)
    with pytest.raises(ValueError, match="classes must be below 2, got 2"):
        classify_lines(np.ones((1, 1, 2)), np.array([2]), 2, rounds=1)


def test_shapes_that_do_not_go_together() -> None:
    codes, errors = np.zeros((1, 2, 4), np.int32), np.zeros((1, 2, 4))
    for width, first in ((3, 2), (5, 0), (1, 4)):
        block, square = np.zeros((1, 2, width)), np.eye(width)[None]
        with pytest.raises(ValueError, match="shapes of a block"):
            decide_block(block, square, first, make_symbols(), codes, errors)
    with pytest.raises(ValueError, match="shapes of codes, weights"):
        codebook_products(codes, np.ones(3), np.eye(4)[None], 3)
    with pytest.raises(ValueError, match="a class for each line"):
        classify_lines(np.ones((3, 1, 2)), np.zeros(2, np.int64), 2, rounds=1)
