"""Sessions of models that are in memory, changed or not."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnxruntime
from onnx import ModelProto

from wl_onnx.errors import ModelError, WlOnnxError
from wl_onnx.graph import CompressibleModel, fits_in_proto, load_model, save_model, to_proto
from wl_onnx.runtime.session import InferenceSession

__all__ = ["open_model"]


def open_model(model: CompressibleModel | ModelProto, *, threads: int = 0) -> InferenceSession:
    """A session on the CPU, its weights decoded, of a model as it is now.

    Args:
        model: what is opened; left as it is. External data of a ModelProto is relative to the
            working folder.
        threads: threads within an operator; 0 leaves onnxruntime's default.

    Raises:
        ModelError: the model is damaged, or onnxruntime does not load it.
        BlobError: a blob is damaged.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    loaded = load_model(model) if isinstance(model, ModelProto) else model
    providers = ["CPUExecutionProvider"]
    try:
        if fits_in_proto(loaded):
            return InferenceSession(to_proto(loaded), options, providers)
        # Where a system keeps files that are open, the folder outlives the session's creation.
        with tempfile.TemporaryDirectory(prefix="wl_onnx-", ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "model.onnx"
            save_model(loaded, path)
            return InferenceSession(path, options, providers)
    except WlOnnxError:
        raise
    except Exception as error:  # onnxruntime's exceptions have no public base
        raise ModelError(
            f"cannot open {loaded.name}: it must be a model that onnxruntime loads, got: "
            f"{(str(error).strip().splitlines() or [type(error).__name__])[0]}"
        ) from error
