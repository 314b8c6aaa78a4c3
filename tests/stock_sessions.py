"""Sessions as a stock onnxruntime opens them, with the operator library registered."""

from __future__ import annotations

import onnxruntime
from onnx import ModelProto, TensorProto

from wl_onnx.runtime import get_library_path

TYPES = [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16]


def open_stock(
    model: ModelProto, *, threads: int = 1, config: str | None = None
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    if config is not None:
        options.add_session_config_entry("com.wl_onnx.cache", config)
    options.register_custom_ops_library(get_library_path())
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, ["CPUExecutionProvider"], enable_fallback=0
    )
