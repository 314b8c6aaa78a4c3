from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from wl_onnx.errors import ModelError
from wl_onnx.graph.tensors import fill_raw, read_inline

KINDS = ["FLOAT", "FLOAT16", "DOUBLE", "BOOL"] + [
    f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("raw", [False, True])
def test_numbers_are_read_from_the_field_that_they_are_in(kind: str, raw: bool) -> None:
    data_type = getattr(TensorProto, kind)
    dtype = helper.tensor_dtype_to_np_dtype(data_type)
    numbers = [[0, 1, 2], [3, 4, 100]] if kind[0] == "U" or kind == "BOOL" else [[0, -1, 5]] * 2
    array = np.array(numbers, dtype)
    tensor = numpy_helper.from_array(array, "t")
    if not raw:
        tensor = helper.make_tensor("t", data_type, array.shape, array.reshape(-1).tolist())
        assert not tensor.HasField("raw_data")
    read = read_inline(tensor)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, array)
    fill_raw(tensor, array[:1])
    tensor.dims[0] = 1
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), array[:1])


def test_too_few_integers_are_refused() -> None:
    tensor = helper.make_tensor("t", TensorProto.INT64, [2], [3, 4])
    tensor.dims[0] = 3
    with pytest.raises(ModelError, match=r"cannot read tensor t: .* \(3 values\), got 2"):
        read_inline(tensor)
