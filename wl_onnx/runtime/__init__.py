"""Running models in onnxruntime."""

from wl_onnx.runtime.library import get_library_path
from wl_onnx.runtime.session import InferenceSession

__all__ = ["InferenceSession", "get_library_path"]
