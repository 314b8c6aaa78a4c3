"""ONNX graphs as torch modules to train, treatments for one's own, and the way back.

Needs the extra `finetune`.
"""

from wl_onnx.finetune.attach import attach, detach, export_state
from wl_onnx.finetune.bridge import initializer_names, to_onnx, to_torch
from wl_onnx.finetune.treatments import Cluster, Freeze, Mask, Noise

__all__ = [
    "Cluster",
    "Freeze",
    "Mask",
    "Noise",
    "attach",
    "detach",
    "export_state",
    "initializer_names",
    "to_onnx",
    "to_torch",
]
