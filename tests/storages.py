"""What the tests of analog storage share: reading a stored model with its operators alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from tests.stock_sessions import open_stock


def run_stored(
    model: onnx.ModelProto,
    feeds: dict[str, np.ndarray],
    *,
    output: str = "y",
    write_seed: int | None = None,
    read_seed: int | None = None,
    time_s: float | None = None,
) -> np.ndarray:
    """An output of one run, as float64; a weight may be such an output."""
    if output not in {one.name for one in model.graph.output}:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        copy.graph.output.append(onnx.helper.make_empty_tensor_value_info(output))
        model = copy
    given: dict[str, Any] = {
        "wl_write_seed": None if write_seed is None else np.array(write_seed, np.int64),
        "wl_read_seed": None if read_seed is None else np.array(read_seed, np.int64),
        "wl_time_s": None if time_s is None else np.array(time_s, np.float32),
    }
    known = {name: value for name, value in given.items() if value is not None}
    session = open_stock(model)
    return np.asarray(session.run([output], {**feeds, **known})[0], np.float64)
