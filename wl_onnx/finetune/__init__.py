"""An ONNX graph as a torch module to train, and the way back; needs the extra `finetune`."""

from wl_onnx.finetune.bridge import initializer_names, to_onnx, to_torch

__all__ = ["initializer_names", "to_onnx", "to_torch"]
