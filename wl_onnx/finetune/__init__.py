"""ONNX graphs as torch modules to train, treatments for one's own, and the way back.

Needs the extra `finetune`.
"""

from wl_onnx.finetune.attach import attach, detach, export_state
from wl_onnx.finetune.bridge import initializer_names, to_onnx, to_torch
from wl_onnx.finetune.treatments import Cluster, Freeze, Mask

__all__ = [
    "Cluster",
    "Freeze",
    "Mask",
    "attach",
    "detach",
    "export_state",
    "initializer_names",
    "to_onnx",
    "to_torch",
]
