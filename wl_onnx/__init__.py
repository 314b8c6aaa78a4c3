"""Post-training compression of ONNX models: weights in blobs that onnxruntime decodes."""

from wl_onnx.analog.storage import Storage
from wl_onnx.compress import compress, decompress
from wl_onnx.convert import convert
from wl_onnx.errors import (
    BlobError,
    EncodeError,
    InputError,
    LibraryError,
    ModelError,
    TrainingError,
    WlOnnxError,
)
from wl_onnx.recipe import Recipe, load_recipe
from wl_onnx.result import Result
from wl_onnx.runtime import InferenceSession, get_library_path
from wl_onnx.store import read_weights, store
from wl_onnx.version import __version__

__all__ = [
    "BlobError",
    "EncodeError",
    "InferenceSession",
    "InputError",
    "LibraryError",
    "ModelError",
    "Recipe",
    "Result",
    "Storage",
    "TrainingError",
    "WlOnnxError",
    "__version__",
    "compress",
    "convert",
    "decompress",
    "get_library_path",
    "load_recipe",
    "read_weights",
    "store",
]
