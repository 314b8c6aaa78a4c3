"""Which parameters a tensor gets."""

from wl_onnx.planning.auto import Choice, choose

__all__ = ["Choice", "choose"]
