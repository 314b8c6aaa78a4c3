"""Portable files: weights that standard operators decode, in any onnxruntime."""

from wl_onnx.portable.budget import FOLDING_BUDGET_BYTES
from wl_onnx.portable.extraction import PortableWeight, find_portable
from wl_onnx.portable.making import PortableModel, make_portable, measure_blob
from wl_onnx.portable.restoration import restore_dense, restore_operators
from wl_onnx.portable.upgrade import upgrade_model

__all__ = [
    "FOLDING_BUDGET_BYTES",
    "PortableModel",
    "PortableWeight",
    "find_portable",
    "make_portable",
    "measure_blob",
    "restore_dense",
    "restore_operators",
    "upgrade_model",
]
