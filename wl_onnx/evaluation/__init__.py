"""What a compressed model holds, and how it compares with its original."""

from __future__ import annotations

from wl_onnx.evaluation.data import Feeds, load_feeds, load_npz, random_feeds
from wl_onnx.evaluation.fidelity import ORIGINAL, compare
from wl_onnx.evaluation.inspection import inspect
from wl_onnx.evaluation.metrics import Accumulator, top1

__all__ = [
    "ORIGINAL",
    "Accumulator",
    "Feeds",
    "compare",
    "inspect",
    "load_feeds",
    "load_npz",
    "random_feeds",
    "top1",
]
